-- Every secret that is signed with, or was and is still kept. place: 0 of the subscription itself, 1 of one that it replaced.
SELECT 0 AS place, s.id, s.opaque_id, s.secret, s.secret_encrypted
FROM notifications.subscriptions s WHERE s.state <> 'deleted'
UNION ALL
SELECT 1, p.id, s.opaque_id, p.secret, p.secret_encrypted
FROM notifications.previous_secrets p JOIN notifications.subscriptions s ON s.id = p.subscription
WHERE s.state <> 'deleted' AND p.expires_at > now()
ORDER BY place, id
