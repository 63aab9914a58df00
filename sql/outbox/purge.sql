DELETE FROM notifications.outbox WHERE subscription = $1 RETURNING event_id
