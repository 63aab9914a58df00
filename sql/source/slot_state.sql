-- One replication slot, whoever reads from it, and how much log it holds back; every column as text, since the same query
-- goes over the replication connection. $1: the slot's name.
-- Columns that only some versions have are read by way of jsonb: they are NULL where there is no such column.
SELECT s.plugin::text,
       s.slot_type,
       s.database::text,
       s.temporary::text,
       s.active_pid::text,
       s.restart_lsn::text,
       s.confirmed_flush_lsn::text,
       s.wal_status,
       s.safe_wal_size::text,
       s.two_phase::text,
       j.slot ->> 'invalidation_reason',
       j.slot ->> 'conflicting',
       j.slot ->> 'failover',
       j.slot ->> 'inactive_since',
       w.current_lsn::text,
       pg_catalog.pg_wal_lsn_diff(w.current_lsn, s.restart_lsn)::bigint::text,
       a.application_name,
       pg_catalog.host(a.client_addr)
FROM pg_catalog.pg_replication_slots AS s
CROSS JOIN LATERAL (SELECT pg_catalog.to_jsonb(s) AS slot) AS j
CROSS JOIN (
    SELECT CASE
        WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
        ELSE pg_catalog.pg_current_wal_lsn()
    END AS current_lsn
) AS w
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = s.active_pid
WHERE s.slot_name = $1
