-- Everything about one subscription but its secrets.
SELECT s.id, s.opaque_id, s.organization, s.integration, s.url, s.state, s.nonce, s.created_at, s.batch_size, s.batch_linger_ms,
    s.last_success_at, s.last_failure_at, s.failing_since, s.halted_at, s.halted_because,
    (SELECT json_object_agg(t.source, t.start_lsn::text ORDER BY t.source)::text
     FROM notifications.subscription_starts t WHERE t.subscription = s.id) AS starts,
    (SELECT max(p.expires_at) FROM notifications.previous_secrets p
     WHERE p.subscription = s.id AND p.expires_at > now()) AS rotating_until,
    (SELECT count(*) FROM notifications.previous_secrets p
     WHERE p.subscription = s.id AND p.expires_at > now()) AS previous_secrets,
    o.pending, o.failed, o.oldest_pending
FROM notifications.subscriptions s
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state = 'owed') AS pending,
        count(*) FILTER (WHERE state = 'failed') AS failed,
        min(committed_at) FILTER (WHERE state = 'owed') AS oldest_pending
    FROM notifications.outbox WHERE subscription = s.id
) o
WHERE s.opaque_id = $1 AND s.state <> 'deleted'
