-- Idempotent: a message that is read again, or emitted again, does not move the start.
wanted AS (
    SELECT id FROM notifications.subscriptions WHERE opaque_id = $1 AND nonce = $2 AND state <> 'deleted'
),
written AS (
    INSERT INTO notifications.subscription_starts (subscription, source, start_lsn)
    SELECT id, $3, $4 FROM wanted
    ON CONFLICT (subscription, source) DO NOTHING
    RETURNING subscription
),
activated AS (
    UPDATE notifications.subscriptions s SET state = 'active' FROM written
    WHERE s.id = written.subscription AND s.state = 'pending'
)
