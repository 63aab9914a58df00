-- Of those that failed just now: who has had no success for so long.
SELECT id, opaque_id, url, failing_since, nonce
FROM notifications.subscriptions
WHERE id = ANY ($1::bigint[]) AND state IN ('pending', 'active') AND failing_since <= now() - make_interval(secs => $2)
