-- One look at the source for all integrations: for each one, the table that it is known by (its OID) and the table of its
-- name. $1: the publication; $2, $3, $4: arrays of one length: known OID or null, schema, name; $5: the policy for replica
-- identities, key, full or keep.
WITH published AS MATERIALIZED (
    SELECT p.oid AS publication, t.relid
    FROM pg_catalog.pg_publication p, pg_catalog.pg_get_publication_tables(p.pubname::text) t
    WHERE p.pubname = $1
    UNION
    SELECT r.prpubid, r.prrelid
    FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
    WHERE p.pubname = $1
)
SELECT
    w.known,
    known_names.nspname::text AS known_schema,
    known.relname::text AS known_name,
    EXISTS (SELECT FROM published WHERE relid = known.oid) AS known_published,
    -- Whether it, or one of its partitions, has no identity that the policy could mean: a cheap question, asked for every
    -- table, which may be answered yes once too often.
    EXISTS (
        SELECT
        FROM (
            SELECT known.oid
            UNION
            SELECT t.relid::oid FROM pg_catalog.pg_partition_tree(known.oid) t WHERE t.isleaf AND known.relkind = 'p'
        ) AS member (oid)
        JOIN pg_catalog.pg_class m ON m.oid = member.oid
        CROSS JOIN LATERAL (
            SELECT
                coalesce(bool_or(x.indisprimary), false) AS has_primary_key,
                coalesce(bool_or(x.indisreplident), false) AS has_identity,
                coalesce(bool_or(NOT x.indisprimary AND NOT EXISTS (
                    SELECT FROM pg_catalog.pg_attribute a
                    WHERE a.attrelid = m.oid AND a.attnum = ANY (x.indkey::int2[]) AND NOT a.attnotnull)), false)
                    AS has_other_key
            FROM pg_catalog.pg_index x
            WHERE x.indrelid = m.oid AND x.indisunique AND x.indimmediate AND x.indisvalid
              AND x.indpred IS NULL AND x.indexprs IS NULL
        ) AS keys
        WHERE CASE m.relreplident
            WHEN 'f' THEN false
            WHEN 'n' THEN true
            WHEN 'i' THEN $5 = 'full' OR NOT has_identity
            ELSE $5 = 'full' OR NOT has_primary_key OR ($5 = 'key' AND has_other_key)
        END
    ) AS identity_in_doubt,
    -- A table that was turned into a partition of another one, which has taken its name.
    EXISTS (
        SELECT FROM pg_catalog.pg_partition_ancestors(known.oid) a WHERE a.relid::oid = named.oid AND named.oid <> known.oid
    ) AS known_is_partition_of_named,
    named.oid AS named,
    p.oid AS publication
FROM unnest($2::oid[], $3::text[], $4::text[]) WITH ORDINALITY AS w (known, schema, name, place)
LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $1
LEFT JOIN pg_catalog.pg_class known ON known.oid = w.known
LEFT JOIN pg_catalog.pg_namespace known_names ON known_names.oid = known.relnamespace
LEFT JOIN pg_catalog.pg_namespace named_in ON named_in.nspname = w.schema
LEFT JOIN pg_catalog.pg_class named
    ON named.relnamespace = named_in.oid AND named.relname = w.name AND named.relkind IN ('r', 'p')
ORDER BY w.place
