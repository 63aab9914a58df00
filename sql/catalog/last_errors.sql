-- The latest attempts that failed, of what is owed and of what was given up.
SELECT event_id, last_attempt_at, attempts, last_error
FROM notifications.outbox
WHERE subscription = $1 AND last_attempt_at IS NOT NULL AND last_error IS NOT NULL
ORDER BY last_attempt_at DESC, seq DESC
LIMIT $2
