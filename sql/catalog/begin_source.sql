-- $8, the reason for a gap, is null at the first beginning.
written AS (
    INSERT INTO notifications.sources
        (name, slot, publication, publication_oid, system_identifier, timeline, commit_lsn, flush_lsn)
    SELECT $1, $2, $3, $4, $5::text::numeric, $6, $7, $7 WHERE $8::text IS NULL
    ON CONFLICT (name) DO NOTHING
    RETURNING 1
)
