-- $2: another URL, or null. $3: whether batches change, $4, $5: to this size and linger.
written AS (
    UPDATE notifications.subscriptions SET
        url = coalesce($2, url),
        failing_since = CASE WHEN $2 IS NULL THEN failing_since END,
        batch_size = CASE WHEN $3 THEN $4 ELSE batch_size END,
        batch_linger_ms = CASE WHEN $3 THEN $5 ELSE batch_linger_ms END
    WHERE opaque_id = $1 AND state <> 'deleted' RETURNING id
)
