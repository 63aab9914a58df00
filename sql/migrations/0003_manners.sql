-- The lease is renewed each second. To autovacuum that is a busy table: it would analyze it every minute, for ever, and
-- write more log by that than the renewals themselves. Its one row needs no statistics, and page pruning keeps it small; it
-- is vacuumed where a long transaction has kept that from happening.
ALTER TABLE notifications.leases SET (
    autovacuum_analyze_threshold = 2147483647,
    autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0.0
);
