-- Prepares a database for webhookdb-notifications, for a DBA to run with psql alone, as a superuser (or as the owner of the
-- tables, with REPLICATION). Run it in the database that holds the integrations' tables:
--
--     psql -d webhookdb -v role=whdb -v tables='{public.stripe_charge_v1_fdcc}' -f setup-replication.sql
--
-- It may be run any number of times: what is there already is left as it is. `webhookdb setup` then finds what this script
-- made, and needs no more rights than REPLICATION, SELECT and a schema of its own.

-- Stop at the first error: half a preparation must not look like a whole one. The exit status is 3 then.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;

-- The role that the daemon logs in as.
\if :{?role} \else \set role whdb \endif
-- The names in the daemon's config, [[source]].
\if :{?publication} \else \set publication webhookdb_notifications \endif
\if :{?slot} \else \set slot webhookdb_notifications \endif
-- key: the unique index of the column beside the primary key, so that a delete can name its external id;
-- full: whole old rows, at a price in log volume; keep: leave the tables as they are.
\if :{?replica_identity} \else \set replica_identity key \endif
-- The schema of WebhookDB's organizations and service_integrations; empty where they are in another database.
\if :{?catalog_schema} \else \set catalog_schema public \endif
-- Where new tables of integrations may come to be, as an array literal: matters only where WebhookDB's own tables are elsewhere.
\if :{?schemas} \else \set schemas {public} \endif
-- The integrations' tables, as an array literal: '{public.a,public.b}'. More can be added by running this again.
\if :{?tables} \else \set tables {} \endif

-- ---------------------------------------------------------------------------------------------------------------
-- What can't be repaired from here is checked first, so that a refusal leaves nothing behind.

SELECT current_setting('wal_level') <> 'logical' AS wal_level_is_wrong \gset
\if :wal_level_is_wrong
    \warn 'wal_level must be logical: ALTER SYSTEM SET wal_level = logical; then restart Postgres.'
    DO $$ BEGIN RAISE EXCEPTION 'wal_level is not logical'; END $$;
\endif

SELECT current_setting('server_encoding') <> 'UTF8' AS encoding_is_wrong \gset
\if :encoding_is_wrong
    \warn 'The database must be encoded as UTF8: move the data to a database with ENCODING ''UTF8''.'
    DO $$ BEGIN RAISE EXCEPTION 'the database is not encoded as UTF8'; END $$;
\endif

SELECT pg_is_in_recovery() AS is_standby \gset
\if :is_standby
    \warn 'This server is a standby: run the script on its primary.'
    DO $$ BEGIN RAISE EXCEPTION 'the server is a standby'; END $$;
\endif

SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') AS role_is_missing \gset
\if :role_is_missing
    \warn 'There is no role' :role '- create it with a password of your own: CREATE ROLE … LOGIN REPLICATION PASSWORD …;'
    DO $$ BEGIN RAISE EXCEPTION 'the role does not exist'; END $$;
\endif

SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = :'slot')
    AND (SELECT count(*) FROM pg_replication_slots) >= current_setting('max_replication_slots')::int AS no_slot_is_free
\gset
\if :no_slot_is_free
    \warn 'All replication slots are in use: raise max_replication_slots (restart needed), or drop one that nobody uses.'
    DO $$ BEGIN RAISE EXCEPTION 'no replication slot is free'; END $$;
\endif

SELECT EXISTS (
    SELECT FROM pg_replication_slots
    WHERE slot_name = :'slot'
      AND (plugin IS DISTINCT FROM 'pgoutput' OR database IS DISTINCT FROM current_database())
) AS slot_is_foreign \gset
\if :slot_is_foreign
    \warn 'The slot' :slot 'exists, but is of another plugin or database: choose another name.'
    DO $$ BEGIN RAISE EXCEPTION 'the replication slot can not be used'; END $$;
\endif

-- A slot that is older than its publication can't be read, ever.
SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = :'slot')
    AND NOT EXISTS (SELECT FROM pg_publication WHERE pubname = :'publication') AS slot_is_older \gset
\if :slot_is_older
    \warn 'The slot' :slot 'exists, but the publication does not: drop the slot if nobody uses it, and run this again.'
    DO $$ BEGIN RAISE EXCEPTION 'the replication slot is older than the publication'; END $$;
\endif

SELECT coalesce((SELECT puballtables FROM pg_publication WHERE pubname = :'publication'), false) AS all_tables \gset
\if :all_tables
    \warn 'The publication is FOR ALL TABLES: that makes UPDATE and DELETE fail in tables without a replica identity.'
    DO $$ BEGIN RAISE EXCEPTION 'the publication is FOR ALL TABLES'; END $$;
\endif

-- Fails by itself, naming the table, where one does not exist.
SELECT count(t::regclass) AS number_of_tables FROM unnest(:'tables'::text[]) AS t \gset

-- ---------------------------------------------------------------------------------------------------------------
-- What is dangerous, but not wrong.

SELECT current_setting('synchronous_standby_names') LIKE '%*%' AS is_synchronous \gset
\if :is_synchronous
    \warn 'synchronous_standby_names is *: applications would wait for the daemon, which therefore refuses to read.'
    \warn 'Name the real standbys there instead.'
\endif
SELECT current_setting('max_slot_wal_keep_size') = '-1' AS is_unbounded \gset
\if :is_unbounded
    \warn 'max_slot_wal_keep_size is -1: while the daemon is down, the server keeps its log without bound.'
\endif

-- ---------------------------------------------------------------------------------------------------------------
-- The role.

\ir admin/role.sql

-- ---------------------------------------------------------------------------------------------------------------
-- The publication comes before the slot, and is only ever altered: a slot that is older than its publication, or a
-- publication that was dropped and made again, can't be read past that point.

-- From version 18 on stored generated columns can be published, and have to be under REPLICA IDENTITY FULL.
SELECT format('CREATE PUBLICATION %I WITH (publish_via_partition_root = true%s)', :'publication',
    CASE WHEN current_setting('server_version_num')::int >= 180000 THEN ', publish_generated_columns = stored' END)
WHERE NOT EXISTS (SELECT FROM pg_publication WHERE pubname = :'publication')
\gexec

-- The tables with all their partitions (the identity does not recurse), and what each is to be identified by: the unique,
-- not-null, immediate index on one column beside the primary key, not counting the partition key; of several, the first by
-- column order.
CREATE TEMPORARY VIEW pg_temp.wanted AS
SELECT DISTINCT c.oid AS root, p.relid::oid AS oid
FROM unnest(:'tables'::text[]) AS t
JOIN pg_class c ON c.oid = t::regclass
CROSS JOIN LATERAL pg_partition_tree(c.oid) AS p
WHERE c.relkind = 'p' AND (p.isleaf OR p.relid = c.oid)
UNION
SELECT c.oid, c.oid FROM unnest(:'tables'::text[]) AS t JOIN pg_class c ON c.oid = t::regclass WHERE c.relkind = 'r';

CREATE TEMPORARY VIEW pg_temp.keys AS
SELECT x.indrelid, x.indexrelid, x.indisprimary, x.indisreplident,
    bool_and(a.attnotnull) AS is_not_null,
    array_agg(a.attname ORDER BY a.attname) AS columns,
    array_agg(a.attnum ORDER BY a.attnum) FILTER (WHERE NOT a.attnum = ANY (coalesce(p.partattrs::int2[], '{}'))) AS own
FROM pg_index x
LEFT JOIN pg_partitioned_table p ON p.partrelid = x.indrelid
CROSS JOIN LATERAL unnest(x.indkey::int2[]) WITH ORDINALITY AS k (number, place)
JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number
WHERE x.indisunique AND x.indimmediate AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL
  AND k.place <= x.indnkeyatts
GROUP BY x.indexrelid, x.indrelid, x.indisprimary, x.indisreplident;

CREATE TEMPORARY VIEW pg_temp.remote_keys AS
SELECT DISTINCT ON (k.indrelid) k.indrelid AS root, k.columns
FROM pg_temp.keys k
WHERE NOT k.indisprimary AND k.is_not_null AND cardinality(k.own) = 1
  AND NOT EXISTS (SELECT FROM pg_temp.keys pk WHERE pk.indrelid = k.indrelid AND pk.indisprimary AND pk.own = k.own)
ORDER BY k.indrelid, k.own[1], k.indexrelid;

-- Short lock timeouts: whoever waits for a lock holds up everybody who comes after. If one runs out, run the script again.
SET lock_timeout = '2s';

SELECT format('ALTER TABLE ONLY %s REPLICA IDENTITY FULL', w.oid::regclass)
FROM pg_temp.wanted w JOIN pg_class c ON c.oid = w.oid
WHERE :'replica_identity' = 'full' AND c.relreplident <> 'f'
\gexec

-- Whoever chose FULL before wants whole old rows, and these name the external id too.
SELECT format('ALTER TABLE ONLY %s REPLICA IDENTITY USING INDEX %I', w.oid::regclass, i.relname)
FROM pg_temp.wanted w
JOIN pg_class c ON c.oid = w.oid
JOIN pg_temp.remote_keys r ON r.root = w.root
CROSS JOIN LATERAL (
    SELECT k.indexrelid, k.indisreplident FROM pg_temp.keys k
    WHERE k.indrelid = w.oid AND k.is_not_null AND k.columns = r.columns
    ORDER BY k.indisreplident DESC, k.indexrelid LIMIT 1
) AS k
JOIN pg_class i ON i.oid = k.indexrelid
WHERE :'replica_identity' = 'key' AND c.relreplident <> 'f' AND NOT (c.relreplident = 'i' AND k.indisreplident)
\gexec

-- Never publish a table whose own UPDATE and DELETE would then fail: without any usable identity it gets its primary key,
-- or FULL where it has none.
CREATE TEMPORARY VIEW pg_temp.unusable AS
SELECT w.root, w.oid, EXISTS (SELECT FROM pg_index x WHERE x.indrelid = w.oid AND x.indisprimary) AS has_primary_key
FROM pg_temp.wanted w JOIN pg_class c ON c.oid = w.oid
WHERE CASE c.relreplident
    WHEN 'd' THEN NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = w.oid AND x.indisprimary)
    WHEN 'i' THEN NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = w.oid AND x.indisreplident)
    ELSE c.relreplident = 'n'
END;

SELECT format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', oid::regclass,
              CASE WHEN has_primary_key THEN 'DEFAULT' ELSE 'FULL' END)
FROM pg_temp.unusable
WHERE :'replica_identity' = 'key'
\gexec

SELECT EXISTS (SELECT FROM pg_temp.unusable) AS some_are_unusable,
    coalesce((SELECT string_agg(oid::regclass::text, ', ') FROM pg_temp.unusable), '') AS unusable_tables \gset
\if :some_are_unusable
    \warn 'Not published, since their own UPDATE and DELETE would fail without a replica identity:' :unusable_tables
\endif

SELECT format('ALTER PUBLICATION %I ADD TABLE ONLY %s', :'publication', w.root::regclass)
FROM (SELECT DISTINCT root FROM pg_temp.wanted) w
WHERE NOT EXISTS (SELECT FROM pg_temp.unusable u WHERE u.root = w.root)
  AND NOT EXISTS (
      SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
      WHERE p.pubname = :'publication' AND r.prrelid = w.root)
\gexec

-- ---------------------------------------------------------------------------------------------------------------
-- What lets the role publish tables to come.

\ir admin/publisher.sql

-- ---------------------------------------------------------------------------------------------------------------
-- The slot, last. Making it waits for the transactions that are open now.

SET lock_timeout = 0;
SET statement_timeout = '60s';
SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = :'slot') AS slot_is_missing \gset
\if :slot_is_missing
    -- Not from within PL/pgSQL (a DO block): there this fails where a table is made or altered at the same time.
    SELECT lsn AS slot_lsn FROM pg_create_logical_replication_slot(:'slot', 'pgoutput') \gset
\endif
RESET statement_timeout;

\echo 'Prepared: role' :role ', publication' :publication ', slot' :slot ', tables' :tables
\echo 'Now run: webhookdb setup'
