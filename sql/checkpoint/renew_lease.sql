-- Only the holder of the epoch has a lease. Nothing waits for it to be on disk: it is worth nothing after a crash.
WITH asynchronous AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO notifications.leases
    (source, daemon, epoch, host, pid, since, renewed_at, released, revision, received_lsn, caught_up_at, held_back,
     sealed_secrets)
SELECT s.name, $3, s.epoch, $4, $5, now(), clock_timestamp(), false, $6, $7, $8, $9, $10
FROM notifications.sources AS s, asynchronous
WHERE s.name = $1 AND s.epoch = $2
ON CONFLICT (source) DO UPDATE
SET daemon = excluded.daemon, epoch = excluded.epoch, host = excluded.host, pid = excluded.pid,
    since = CASE WHEN leases.daemon = excluded.daemon THEN leases.since ELSE excluded.since END,
    renewed_at = excluded.renewed_at, released = false, revision = excluded.revision,
    received_lsn = excluded.received_lsn, caught_up_at = excluded.caught_up_at,
    held_back = excluded.held_back, sealed_secrets = excluded.sealed_secrets
