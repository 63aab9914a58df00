SELECT s.commit_lsn, s.flush_lsn, s.stuck_commit_lsn, s.stuck_because, l.received_lsn,
    extract(epoch FROM clock_timestamp() - s.checkpointed_at)::double precision AS checkpoint_age,
    extract(epoch FROM clock_timestamp() - l.caught_up_at)::double precision AS read_age
FROM notifications.sources s
LEFT JOIN notifications.leases l ON l.source = s.name
WHERE s.name = $1
