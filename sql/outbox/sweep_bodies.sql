-- Bodies that no row refers to: their subscription was deleted while no daemon ran.
DELETE FROM notifications.outbox_bodies AS b
WHERE NOT EXISTS (SELECT FROM notifications.outbox AS o WHERE o.event_id = b.event_id)
