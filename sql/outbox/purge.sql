DELETE FROM notifications.outbox WHERE subscription = $1 AND source = $2 RETURNING event_id
