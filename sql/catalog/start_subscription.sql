-- Idempotent: a message that is read again, or emitted again, does not move the start. A paused one gets its start and
-- stays paused; a deactivated one begins anew when it is enabled. What a deactivation left out ends at the new start.
wanted AS (
    SELECT id FROM notifications.subscriptions
    WHERE opaque_id = $1 AND nonce = $2 AND state IN ('pending', 'active', 'paused')
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
),
closed AS (
    UPDATE notifications.gaps g SET to_lsn = $4 FROM written
    WHERE g.subscription = $1 AND g.source = $3 AND g.to_lsn IS NULL
)
