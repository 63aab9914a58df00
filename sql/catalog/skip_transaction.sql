-- The checkpoint moves past the one transaction that the server cannot send, and only from it: all before it is settled. The
-- transaction becomes the anchor: a slot that a crash takes back must come past exactly it again. The epoch is raised, so
-- that a daemon that stands still there begins again from here.
written AS (
    UPDATE notifications.sources SET
        epoch = epoch + 1, commit_lsn = $3, next_index = 0, commit_xid = NULL, flush_lsn = $3,
        anchor_commit_lsn = stuck_commit_lsn, anchor_end_lsn = $3, anchor_xid = stuck_xid,
        anchor_committed_at = stuck_committed_at, checkpointed_at = now(),
        stuck_commit_lsn = NULL, stuck_xid = NULL, stuck_committed_at = NULL, stuck_because = NULL
    WHERE name = $1 AND stuck_commit_lsn = $2 AND commit_lsn = $2
    RETURNING 1
),
recorded AS (
    INSERT INTO notifications.gaps (source, reason, from_lsn, to_lsn, skipped_commit_lsn)
    SELECT $1, $4, $2, $3, $2 FROM written
)
