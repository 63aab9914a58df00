-- A new beginning: the old starts go, and the old nonce with them, so that no message of before is taken for the new one's.
written AS (
    UPDATE notifications.subscriptions SET
        state = 'pending', nonce = $2, halted_at = NULL, halted_because = NULL, failing_since = NULL,
        due_from = now()
    WHERE opaque_id = $1 AND state = 'deactivated'
    RETURNING id
),
ended AS (
    DELETE FROM notifications.subscription_starts t USING written WHERE t.subscription = written.id
)
