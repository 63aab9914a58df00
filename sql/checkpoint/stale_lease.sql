-- Who holds a lease that was not renewed for so long.
SELECT host, pid FROM notifications.leases
WHERE source = $1 AND NOT released AND renewed_at < clock_timestamp() - make_interval(secs => $2)
