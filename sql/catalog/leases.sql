-- $1: for how many seconds a lease is live after its renewal, by this database's clock.
SELECT source, daemon, epoch, host, pid, since, revision, caught_up_at, held_back, sealed_secrets,
    NOT released AND renewed_at > clock_timestamp() - make_interval(secs => $1) AS live
FROM notifications.leases
ORDER BY source
