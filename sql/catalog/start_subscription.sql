-- Idempotent: a message that is read again, or emitted again, does not move the start. What a deactivation left out ends at
-- the new start; a deactivated one begins anew when it is enabled.
wanted AS (
    SELECT id FROM notifications.subscriptions
    WHERE opaque_id = $1 AND nonce = $2 AND state IN ('pending', 'active', 'paused')
),
written AS (
    UPDATE notifications.subscription_starts t SET start_lsn = $4 FROM wanted
    WHERE t.subscription = wanted.id AND t.source = $3 AND t.start_lsn IS NULL
    RETURNING t.subscription
),
closed AS (
    UPDATE notifications.gaps g SET to_lsn = $4 FROM written
    WHERE g.subscription = $1 AND g.source = $3 AND g.to_lsn IS NULL
)
