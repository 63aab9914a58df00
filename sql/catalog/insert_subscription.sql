-- $5, $6: the secret, and whether it is encrypted. $8: the sources in whose logs its start will be marked. $9, $10: the size of
-- a batch and its linger in milliseconds.
written AS (
    INSERT INTO notifications.subscriptions (opaque_id, organization, integration, url, secret, secret_encrypted, state, nonce,
        batch_size, batch_linger_ms)
    VALUES ($1, $2, $3, $4, $5, $6, 'pending', $7, $9, $10)
    RETURNING id
),
awaited AS (
    INSERT INTO notifications.subscription_starts (subscription, source)
    SELECT written.id, source FROM written, unnest($8::text[]) AS source
)
