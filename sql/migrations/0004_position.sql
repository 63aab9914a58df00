-- Where a source stands still because its server cannot put a transaction into words, and which were skipped for that.

ALTER TABLE notifications.sources
    ADD COLUMN stuck_commit_lsn pg_lsn,         -- of the transaction that cannot be sent, from when on until it is passed
    ADD COLUMN stuck_xid bigint,
    ADD COLUMN stuck_committed_at timestamptz,
    ADD COLUMN stuck_because text;              -- what the server said

-- A gap may be one transaction.
ALTER TABLE notifications.gaps
    ADD COLUMN skipped_commit_lsn pg_lsn;       -- null: everything from from_lsn to to_lsn may be missing
