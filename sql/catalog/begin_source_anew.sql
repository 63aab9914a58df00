-- The epoch is raised, so that a daemon that still holds the old one writes nothing more. The starts are set to the
-- lowest position: the new slot holds nothing from before them, and the new log's positions may be lower than the old ones.
before AS (
    SELECT flush_lsn FROM notifications.sources WHERE name = $1
),
written AS (
    UPDATE notifications.sources SET
        slot = $2, publication = $3, publication_oid = $4, epoch = epoch + 1, system_identifier = $5::text::numeric,
        timeline = $6, commit_lsn = $7, next_index = 0, commit_xid = NULL, flush_lsn = $7,
        anchor_commit_lsn = NULL, anchor_end_lsn = NULL, anchor_xid = NULL, anchor_committed_at = NULL,
        checkpointed_at = now(), refused = NULL,
        stuck_commit_lsn = NULL, stuck_xid = NULL, stuck_committed_at = NULL, stuck_because = NULL
    WHERE name = $1
    RETURNING 1
),
recorded AS (
    INSERT INTO notifications.gaps (source, reason, from_lsn, to_lsn)
    SELECT $1, $8, before.flush_lsn, $7 FROM before, written
),
restarted AS (
    UPDATE notifications.subscription_starts SET start_lsn = '0/0' FROM written
    WHERE source = $1 AND start_lsn IS NOT NULL
),
-- Positions, and with them the ids of events, may be used again: what was delivered before says nothing about them.
outdated AS (
    DELETE FROM notifications.outbox o USING written WHERE o.source = $1 AND o.state = 'delivered'
)
