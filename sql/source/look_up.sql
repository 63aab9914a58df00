-- One look at the source for all integrations: for each one, the table that it is known by (its OID) and the table of its
-- name. $1: the publication; $2, $3, $4: arrays of one length: known OID or null, schema, name.
SELECT
    w.known,
    known_names.nspname::text AS known_schema,
    known.relname::text AS known_name,
    EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = known.oid)
        AS known_published,
    named.oid AS named,
    p.oid AS publication,
    pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint AS oldest_xid
FROM unnest($2::oid[], $3::text[], $4::text[]) WITH ORDINALITY AS w (known, schema, name, place)
LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $1
LEFT JOIN pg_catalog.pg_class known ON known.oid = w.known
LEFT JOIN pg_catalog.pg_namespace known_names ON known_names.oid = known.relnamespace
LEFT JOIN pg_catalog.pg_namespace named_in ON named_in.nspname = w.schema
LEFT JOIN pg_catalog.pg_class named
    ON named.relnamespace = named_in.oid AND named.relname = w.name AND named.relkind IN ('r', 'p')
ORDER BY w.place
