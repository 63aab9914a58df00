-- A new beginning in the sources $3: the old starts go, and the old nonce with them, so that no message of before is taken for
-- the new one's.
written AS (
    UPDATE notifications.subscriptions SET
        state = 'pending', nonce = $2, halted_at = NULL, halted_because = NULL, failing_since = NULL,
        due_from = now()
    WHERE opaque_id = $1 AND state = 'deactivated'
    RETURNING id
),
ended AS (
    DELETE FROM notifications.subscription_starts t USING written
    WHERE t.subscription = written.id AND t.source <> ALL ($3::text[])
),
awaited AS (
    INSERT INTO notifications.subscription_starts (subscription, source)
    SELECT written.id, source FROM written, unnest($3::text[]) AS source
    ON CONFLICT (subscription, source) DO UPDATE SET start_lsn = NULL
)
