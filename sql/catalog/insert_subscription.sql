-- $7: the sources in whose logs its start will be marked.
written AS (
    INSERT INTO notifications.subscriptions (opaque_id, organization, integration, url, secret, state, nonce)
    VALUES ($1, $2, $3, $4, $5, 'pending', $6)
    RETURNING id
),
awaited AS (
    INSERT INTO notifications.subscription_starts (subscription, source)
    SELECT written.id, source FROM written, unnest($7::text[]) AS source
)
