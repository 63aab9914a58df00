-- By whose rights the functions in the schema $1 act, where this role may call every one of them.
SELECT r.rolname::text
FROM pg_catalog.pg_namespace n
JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
WHERE n.nspname = $1 AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND 3 = (
    SELECT pg_catalog.count(*)
    FROM pg_catalog.pg_proc f
    WHERE f.pronamespace = n.oid AND f.proname IN ('set_identity', 'add_table', 'drop_table')
      AND f.prosecdef AND f.proowner = n.nspowner AND pg_catalog.has_function_privilege(f.oid, 'EXECUTE')
)
