-- A publication and everything that it publishes now, as one JSON object.
SELECT json_build_object(
    'oid', p.oid::bigint,
    'all_tables', p.puballtables,
    'via_partition_root', p.pubviaroot,
    'complete', p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate,
    -- Before version 18 there is no such column.
    'generated_columns', coalesce(to_jsonb(p) ->> 'pubgencols' = 's', true),
    'owned', pg_catalog.pg_has_role(p.pubowner, 'USAGE'),
    'tables', (
        SELECT coalesce(json_agg(json_build_object(
            'oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname) ORDER BY c.oid), '[]')
        FROM pg_catalog.pg_get_publication_tables(p.pubname::text) t
        JOIN pg_catalog.pg_class c ON c.oid = t.relid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    )
)::text
FROM pg_catalog.pg_publication p
WHERE p.pubname = $1
