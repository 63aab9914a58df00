-- As WebhookDB handles a webhook: a row that is not newer changes nothing.
INSERT INTO stripe_charge_v1_fdcc (stripe_id, amount, status, created, updated, data)
VALUES ($1::text, $2::integer, $3::text, now(), clock_timestamp(),
        jsonb_build_object('id', $1::text, 'object', 'charge', 'amount', $2::integer, 'status', $3::text))
ON CONFLICT (stripe_id) DO UPDATE SET
    amount = excluded.amount, status = excluded.status, updated = excluded.updated, data = excluded.data
WHERE stripe_charge_v1_fdcc.updated < excluded.updated
