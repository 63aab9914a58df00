-- The catalog of the notification daemon: everything it knows and owes, in one schema of its own.
-- WebhookDB's own tables (organizations, service_integrations) are read, never altered.

-- Raised by every change of the catalog, in the same transaction: a daemon records in its lease which one it has
-- loaded, and `notification delete` waits for that.
CREATE TABLE notifications.revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    value bigint NOT NULL
);
INSERT INTO notifications.revision (value) VALUES (1);

-- What setup made, so that `setup --drop` removes that and nothing else.
CREATE TABLE notifications.made (
    kind text NOT NULL,             -- schema, table, publication, slot, replica_identity
    source text NOT NULL DEFAULT '',
    name text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, source, name)
);

-- One row for each source: who may write for it (epoch), and how far everything is settled (checkpoint).
CREATE TABLE notifications.sources (
    name text PRIMARY KEY,
    slot text NOT NULL,
    publication text NOT NULL,
    publication_oid oid NOT NULL,   -- a publication dropped and made again has another
    epoch bigint NOT NULL DEFAULT 0,
    system_identifier numeric(20) NOT NULL,
    timeline bigint NOT NULL,
    -- Every change below (commit_lsn, next_index) is settled. commit_xid is the transaction's, where next_index > 0.
    commit_lsn pg_lsn NOT NULL,
    next_index bigint NOT NULL DEFAULT 0,
    commit_xid bigint,
    -- What the slot may be told; the slot is never ahead of it.
    flush_lsn pg_lsn NOT NULL,
    -- The last settled commit that held something published; a slot that is behind must show exactly it again.
    anchor_commit_lsn pg_lsn,
    anchor_end_lsn pg_lsn,
    anchor_xid bigint,
    anchor_committed_at timestamptz,
    checkpointed_at timestamptz NOT NULL DEFAULT now(),
    -- Why the daemon found that the server's history is not the checkpoint's; what setup cannot see by itself.
    refused text
) WITH (fillfactor = 50);           -- updated often: keep the updates heap-only

-- Recorded ways past what the daemon refuses to pass by itself.
CREATE TABLE notifications.gaps (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    reason text NOT NULL,
    from_lsn pg_lsn,
    to_lsn pg_lsn,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

-- Who serves a source now. Unlogged: renewed every second, and worth nothing after a crash.
CREATE UNLOGGED TABLE notifications.leases (
    source text PRIMARY KEY,
    daemon text NOT NULL,           -- random, new with each process
    epoch bigint NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    renewed_at timestamptz NOT NULL DEFAULT now(),
    released boolean NOT NULL DEFAULT false,
    revision bigint NOT NULL DEFAULT 0,
    received_lsn pg_lsn,
    caught_up_at timestamptz            -- all log that was there then is read
) WITH (fillfactor = 50);

-- Our own facts about an integration; WebhookDB's table does not hold them.
CREATE TABLE notifications.integration_facts (
    integration text PRIMARY KEY,   -- opaque id
    source text NOT NULL,
    schema_name text                -- null: the organization's
);

-- What is published, by OID, so that a rename loses nothing.
CREATE TABLE notifications.relations (
    source text NOT NULL,
    relation_oid oid NOT NULL,
    integration text,               -- opaque id; null: unassigned
    organization text,              -- key; kept beside the integration for tombstones
    state text NOT NULL CHECK (state IN ('publishing', 'published', 'removed', 'unassigned')),
    schema_name text NOT NULL,      -- as when last seen, for people
    table_name text NOT NULL,
    primary_key smallint[] NOT NULL DEFAULT '{}',   -- column numbers
    remote_key smallint[] NOT NULL DEFAULT '{}',    -- column number of the external id
    publishing_xid bigint,          -- while publishing: transactions below it may be missing from the stream in part
    published_at timestamptz,       -- set once it is in the publication and every transaction older than that has ended
    PRIMARY KEY (source, relation_oid)
);
-- One table, one integration.
CREATE UNIQUE INDEX relations_integration ON notifications.relations (source, integration)
    WHERE integration IS NOT NULL AND state <> 'removed';

CREATE TABLE notifications.subscriptions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    opaque_id text NOT NULL UNIQUE,
    organization text,              -- key
    integration text,               -- opaque id
    url text NOT NULL,
    secret text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'active', 'paused', 'deactivated', 'deleted')),
    nonce text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_success_at timestamptz,
    last_failure_at timestamptz,
    CHECK (num_nonnulls(organization, integration) = 1)
);

-- From which commit on a subscription is due; written by the router when it meets the subscription's message.
CREATE TABLE notifications.subscription_starts (
    subscription bigint NOT NULL REFERENCES notifications.subscriptions ON DELETE CASCADE,
    source text NOT NULL,
    start_lsn pg_lsn NOT NULL,
    PRIMARY KEY (subscription, source)
);

-- What is owed and could not go yet; `failed` rows are what was given up, kept for `retention`; `delivered` rows are
-- above the checkpoint and would otherwise be sent again when the log is read again.
CREATE TABLE notifications.outbox (
    subscription bigint NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,        -- the order of the log, per subscription
    source text NOT NULL,
    event_id text NOT NULL,
    commit_lsn pg_lsn NOT NULL,
    index bigint NOT NULL,
    committed_at timestamptz NOT NULL,
    relation_oid oid NOT NULL,
    keys bigint[],                                  -- null: keeps its order with its whole table
    state text NOT NULL DEFAULT 'owed' CHECK (state IN ('owed', 'delivered', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    first_due_at timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    last_attempt_at timestamptz,
    last_error text,
    PRIMARY KEY (subscription, seq)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX outbox_event ON notifications.outbox (event_id, subscription);
CREATE INDEX outbox_resolved ON notifications.outbox (source) WHERE state <> 'owed';

-- A body is the same for every subscription: stored once.
CREATE TABLE notifications.outbox_bodies (
    event_id text PRIMARY KEY,
    body bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- `notification test`: asked by the command line, claimed and answered by one live daemon.
CREATE TABLE notifications.test_requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription bigint NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    claimed_by text,
    delivered boolean,              -- null: not answered yet
    error text
);
