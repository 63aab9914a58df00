-- Nothing is updated where the epoch is stale (another daemon has taken the slot), nor where the record is behind what
-- was persisted under this epoch before ($12, $13, $14): the catalog was restored, and may hold the same epoch again.
-- It is on disk before the slot is told, whatever the role's settings are.
WITH durable AS (SELECT set_config('synchronous_commit', 'on', true))
UPDATE notifications.sources
SET timeline = $3, commit_lsn = $4, next_index = $5, commit_xid = $6, flush_lsn = $7,
    anchor_commit_lsn = $8, anchor_end_lsn = $9, anchor_xid = $10, anchor_committed_at = $11,
    checkpointed_at = clock_timestamp(),
    -- A checkpoint that moves shows that the history is the right one.
    refused = CASE WHEN (commit_lsn, next_index, flush_lsn) = ($4, $5, $7) THEN refused END,
    stuck_commit_lsn = CASE WHEN stuck_commit_lsn >= $4 THEN stuck_commit_lsn END,
    stuck_xid = CASE WHEN stuck_commit_lsn >= $4 THEN stuck_xid END,
    stuck_committed_at = CASE WHEN stuck_commit_lsn >= $4 THEN stuck_committed_at END,
    stuck_because = CASE WHEN stuck_commit_lsn >= $4 THEN stuck_because END
FROM durable
WHERE name = $1 AND epoch = $2 AND (commit_lsn, next_index) >= ($12, $13) AND flush_lsn >= $14
