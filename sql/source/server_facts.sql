-- What the server is and what room it has, in one row.
SELECT pg_catalog.current_setting('server_version_num')::integer AS version_num,
       pg_catalog.current_setting('wal_level') AS wal_level,
       pg_catalog.current_setting('max_replication_slots')::integer AS max_replication_slots,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots) AS used_replication_slots,
       pg_catalog.current_setting('max_wal_senders')::integer AS max_wal_senders,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication) AS used_wal_senders,
       pg_catalog.current_setting('server_encoding') AS server_encoding,
       pg_catalog.current_setting('synchronous_standby_names') AS synchronous_standby_names,
       (SELECT s.setting::bigint FROM pg_catalog.pg_settings AS s WHERE s.name = 'max_slot_wal_keep_size')
           AS max_slot_wal_keep_size_megabytes,
       (SELECT s.setting::bigint FROM pg_catalog.pg_settings AS s WHERE s.name = 'wal_sender_timeout')
           AS wal_sender_timeout_milliseconds,
       pg_catalog.pg_is_in_recovery() AS in_recovery,
       pg_catalog.current_setting('hot_standby_feedback')::boolean AS hot_standby_feedback,
       pg_catalog.current_setting('primary_slot_name') AS primary_slot_name,
       coalesce(pg_catalog.current_setting('synchronized_standby_slots', true), '') AS synchronized_standby_slots,
       pg_catalog.current_database()::text AS database,
       r.rolname::text AS role,
       r.rolreplication AS may_replicate,
       r.rolsuper AS superuser,
       CASE
           WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
               THEN (SELECT c.system_identifier FROM pg_catalog.pg_control_system() AS c)
       END AS system_identifier
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = current_user
