-- Only a daemon of ours is ended: whoever else reads from the slot was put there by somebody.
SELECT pg_catalog.pg_terminate_backend(s.active_pid)
FROM pg_catalog.pg_replication_slots s
JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid
WHERE s.slot_name = $1 AND s.active_pid = $2 AND a.application_name = $3
