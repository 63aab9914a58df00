DELETE FROM notifications.outbox AS o
USING unnest($1::bigint[], $2::text[]) AS u (subscription, event_id)
WHERE o.event_id = u.event_id AND o.subscription = u.subscription AND o.state = 'owed'
