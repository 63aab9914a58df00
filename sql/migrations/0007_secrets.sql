-- Signing secrets may be encrypted, and a subscription is signed for by those that were replaced too, for a while.

ALTER TABLE notifications.subscriptions
    -- false: secret is what was typed. true: it is encrypted, in the form of WebhookDB's own columns.
    ADD COLUMN secret_encrypted boolean NOT NULL DEFAULT false;

CREATE TABLE notifications.previous_secrets (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription bigint NOT NULL REFERENCES notifications.subscriptions ON DELETE CASCADE,
    secret text NOT NULL,
    secret_encrypted boolean NOT NULL,
    replaced_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX previous_secrets_subscription ON notifications.previous_secrets (subscription);

-- How many subscriptions the daemon sends nothing to, since it has not the key of their secrets.
ALTER TABLE notifications.leases ADD COLUMN sealed_secrets bigint NOT NULL DEFAULT 0;
