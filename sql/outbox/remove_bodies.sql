DELETE FROM notifications.outbox_bodies AS b
WHERE b.event_id = ANY ($1::text[])
  AND NOT EXISTS (SELECT FROM notifications.outbox AS o WHERE o.event_id = b.event_id)
