INSERT INTO notifications.outbox_bodies (event_id, body)
SELECT * FROM unnest($1::text[], $2::bytea[])
ON CONFLICT (event_id) DO NOTHING
