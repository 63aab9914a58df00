-- A transaction that the server cannot send, for `status` and for `setup --skip-transaction`.
UPDATE notifications.sources
SET stuck_commit_lsn = $3, stuck_xid = $4, stuck_committed_at = $5, stuck_because = $6
WHERE name = $1 AND epoch = $2
    AND (stuck_commit_lsn, stuck_because) IS DISTINCT FROM ($3, $6)
