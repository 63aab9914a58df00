-- Each subscription with what it is owed and what was given up.
SELECT s.opaque_id, s.url, s.state, s.last_success_at, s.last_failure_at, s.failing_since, s.halted_at, s.halted_because,
    coalesce(o.pending, 0) AS pending, coalesce(o.failed, 0) AS failed
FROM notifications.subscriptions s
LEFT JOIN (
    SELECT subscription,
        count(*) FILTER (WHERE state = 'owed') AS pending,
        count(*) FILTER (WHERE state = 'failed') AS failed
    FROM notifications.outbox GROUP BY subscription
) o ON o.subscription = s.id
WHERE s.state <> 'deleted'
ORDER BY s.id
