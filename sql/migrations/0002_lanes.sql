-- What the daemon keeps of a subscription that fails, is paused or deactivated, and of each attempt that failed.

ALTER TABLE notifications.subscriptions
    ADD COLUMN failing_since timestamptz,   -- the first failure since the last success
    ADD COLUMN halted_at timestamptz,       -- paused or deactivated since then
    ADD COLUMN halted_because text,         -- in words, for people
    ADD COLUMN due_from timestamptz;        -- resumed or enabled then: what is owed counts as due from there on

-- A gap may be one subscription's alone.
ALTER TABLE notifications.gaps
    ADD COLUMN subscription text;           -- opaque id; null: of every subscription

-- Of each failed attempt: {"attempt": 1, "at": "2026-11-24T12:00:00.123456Z", "outcome": "refused", "status": 500,
-- "duration": 0.012, "reason": "…", "answer": "its first 1 KB", "by_hand": false}; status and answer may be null.
ALTER TABLE notifications.outbox
    ADD COLUMN attempt_log jsonb NOT NULL DEFAULT '[]';

-- `notification retry`: asked by the command line, claimed and answered by one live daemon.
CREATE TABLE notifications.retry_requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription bigint NOT NULL,
    event_id text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    claimed_by text,
    delivered boolean,              -- null: not answered yet
    error text
);
