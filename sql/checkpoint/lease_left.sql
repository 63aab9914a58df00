-- For how many seconds another daemon may still believe in its lease; null where no lease is known.
SELECT CASE WHEN released OR daemon = $2 THEN 0
    ELSE greatest(extract(epoch FROM renewed_at - clock_timestamp()) + $3::double precision, 0) END::double precision
FROM notifications.leases
WHERE source = $1
