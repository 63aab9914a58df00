-- As WebhookDB makes its tables: a bigserial key of its own, the remote key, a few columns, the resource itself.
CREATE TABLE stripe_charge_v1_fdcc (
    pk bigserial PRIMARY KEY,
    stripe_id text UNIQUE NOT NULL,
    amount integer,
    status text,
    created timestamptz,
    updated timestamptz,
    data jsonb NOT NULL
);
