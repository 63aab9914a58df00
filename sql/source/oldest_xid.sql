-- The oldest transaction of this database that is open and has written: all below it have ended. pg_locks and the
-- database of a session are there for every role to see; a session without a database counts, since it may be ours.
-- Transaction ids of locks have 32 bits: they are completed by how far they are from the next one.
SELECT coalesce(
    pg_catalog.min(((open.xid - now.next % 4294967296 + 6442450944) % 4294967296) - 2147483648 + now.next),
    now.next)
FROM (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint AS next) AS now
LEFT JOIN (
    SELECT l.transactionid::text::bigint AS xid
    FROM pg_catalog.pg_locks l
    JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN pg_catalog.pg_database d ON d.oid = a.datid
    WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted AND l.pid <> pg_catalog.pg_backend_pid()
      AND coalesce(d.datname = pg_catalog.current_database(), true)
    UNION ALL
    SELECT p.transaction::text::bigint FROM pg_catalog.pg_prepared_xacts p
    WHERE p.database = pg_catalog.current_database()
) AS open ON true
GROUP BY now.next
