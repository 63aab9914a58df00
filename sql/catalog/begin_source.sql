written AS (
    INSERT INTO notifications.sources
        (name, slot, publication, publication_oid, system_identifier, timeline, commit_lsn, flush_lsn)
    VALUES ($1, $2, $3, $4, $5::text::numeric, $6, $7, $7)
    ON CONFLICT (name) DO NOTHING
    RETURNING 1
)
