-- What gives this role the rights that it lacks in the catalog. $1: the schema of organizations and service_integrations.
SELECT statement
FROM (
    -- Who is a member of the owner may do what the owner may, in tables that later versions add too.
    SELECT 1 AS place, pg_catalog.format('GRANT %I TO %I', pg_catalog.pg_get_userbyid(n.nspowner), current_user) AS statement
    FROM pg_catalog.pg_namespace n
    WHERE n.nspname = 'notifications' AND NOT pg_catalog.pg_has_role(n.nspowner, 'USAGE')
    UNION ALL
    SELECT 2, pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, current_user)
    FROM pg_catalog.pg_namespace n
    WHERE n.nspname = $1 AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    UNION ALL
    SELECT 3, pg_catalog.format('GRANT SELECT ON %I.%I TO %I', n.nspname, c.relname, current_user)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname IN ('organizations', 'service_integrations')
      AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')
) AS statements
ORDER BY place, statement
