-- What publishing a table and reading its changes take to know; $1: OIDs. One JSON object for each table that exists.
SELECT json_build_object(
    'oid', c.oid::bigint,
    'schema', n.nspname,
    'name', c.relname,
    'kind', c.relkind::text,
    'persistence', c.relpersistence::text,
    'identity', c.relreplident::text,
    'owned', pg_catalog.pg_has_role(c.relowner, 'USAGE'),
    'owner', pg_catalog.pg_get_userbyid(c.relowner),
    'columns', (
        SELECT coalesce(json_agg(json_build_object(
            'number', a.attnum, 'name', a.attname, 'not_null', a.attnotnull) ORDER BY a.attnum), '[]')
        FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ),
    'virtual_columns', EXISTS (
        SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attgenerated::text = 'v' AND NOT a.attisdropped),
    -- The indexes that could be a replica identity, but for the nullability of their columns.
    'indexes', (
        SELECT coalesce(json_agg(json_build_object(
            'name', i.relname, 'primary', x.indisprimary, 'identity', x.indisreplident,
            'columns', (
                SELECT json_agg(k.number ORDER BY k.place)
                FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k (number, place)
                WHERE k.place <= x.indnkeyatts
            )) ORDER BY x.indexrelid), '[]')
        FROM pg_catalog.pg_index x
        JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
        WHERE x.indrelid = c.oid AND x.indisunique AND x.indimmediate AND x.indisvalid
          AND x.indpred IS NULL AND x.indexprs IS NULL
    ),
    'partition_key', (
        SELECT coalesce(json_agg(k.number), '[]')
        FROM pg_catalog.pg_partitioned_table p, unnest(p.partattrs::int2[]) AS k (number)
        WHERE p.partrelid = c.oid AND k.number > 0
    ),
    'leaves', (
        SELECT coalesce(json_agg(t.relid::oid::bigint), '[]')
        FROM pg_catalog.pg_partition_tree(c.oid) t
        WHERE t.isleaf AND c.relkind = 'p' AND t.relid <> c.oid
    )
)::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY ($1)
ORDER BY c.oid
