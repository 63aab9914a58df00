-- Nothing is updated where the epoch is stale: another daemon has taken the slot.
UPDATE notifications.sources
SET timeline = $3, commit_lsn = $4, next_index = $5, commit_xid = $6, flush_lsn = $7,
    anchor_commit_lsn = $8, anchor_end_lsn = $9, anchor_xid = $10, anchor_committed_at = $11,
    checkpointed_at = clock_timestamp()
WHERE name = $1 AND epoch = $2
