-- What the daemon's role needs and does not have, statement by statement: it reads the log and, where the catalog is here (the
-- variable catalog_schema is not empty then), keeps what it knows in a schema of its own. WebhookDB's own tables in
-- catalog_schema, which say what belongs to whom, are read and never altered.
WITH wanted AS (
    SELECT r.oid, r.rolname, r.rolreplication OR r.rolsuper AS may_replicate
    FROM pg_catalog.pg_roles r WHERE r.rolname = :'role'
),
own AS (
    SELECT c.oid, n.oid AS schema_oid, n.nspname
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :'catalog_schema' AND c.relname IN ('organizations', 'service_integrations') AND c.relkind = 'r'
)
SELECT statement
FROM (
    SELECT 1 AS place, pg_catalog.format('ALTER ROLE %I REPLICATION', w.rolname) AS statement
    FROM wanted w WHERE NOT w.may_replicate
    UNION ALL
    SELECT 2, pg_catalog.format('GRANT CONNECT ON DATABASE %I TO %I', pg_catalog.current_database(), w.rolname)
    FROM wanted w WHERE NOT pg_catalog.has_database_privilege(w.oid, pg_catalog.current_database(), 'CONNECT')
    UNION ALL
    SELECT 3, pg_catalog.format('CREATE SCHEMA notifications AUTHORIZATION %I', w.rolname)
    FROM wanted w
    WHERE :'catalog_schema' <> '' AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'notifications')
    UNION ALL
    SELECT DISTINCT 4, pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', o.nspname, w.rolname)
    FROM wanted w, own o WHERE NOT pg_catalog.has_schema_privilege(w.oid, o.schema_oid, 'USAGE')
    UNION ALL
    SELECT 5, pg_catalog.format('GRANT SELECT ON %s TO %I', o.oid::regclass, w.rolname)
    FROM wanted w, own o WHERE NOT pg_catalog.has_table_privilege(w.oid, o.oid, 'SELECT')
) AS statements
ORDER BY place, statement
\gexec
