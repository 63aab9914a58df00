-- What failed before the pause does not count against the endpoint any more: the pause was no failure of its.
written AS (
    UPDATE notifications.subscriptions s SET
        state = CASE
            WHEN EXISTS (
                SELECT FROM notifications.subscription_starts t WHERE t.subscription = s.id AND t.start_lsn IS NULL
            ) THEN 'pending'
            ELSE 'active'
        END,
        halted_at = NULL, halted_because = NULL, failing_since = NULL,
        due_from = now()
    WHERE s.opaque_id = $1 AND s.state = 'paused'
    RETURNING s.id
)
