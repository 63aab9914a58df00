-- What was given up, the newest change first. A table that is not known any more is named by its OID.
SELECT o.event_id, o.source, o.commit_lsn, o.index, o.committed_at,
    coalesce(r.schema_name || '.' || r.table_name, 'OID ' || o.relation_oid) AS table_name,
    o.attempts, o.last_attempt_at, o.last_error, o.attempt_log::text,
    (SELECT count(*) FROM notifications.outbox WHERE subscription = $1 AND state = 'failed') AS total
FROM notifications.outbox o
LEFT JOIN notifications.relations r ON r.source = o.source AND r.relation_oid = o.relation_oid
WHERE o.subscription = $1 AND o.state = 'failed'
ORDER BY o.seq DESC
LIMIT $2
