WITH purged AS (
    DELETE FROM notifications.test_requests WHERE requested_at < now() - interval '1 hour'
),
made AS (
    INSERT INTO notifications.test_requests (subscription) VALUES ($1) RETURNING id
)
SELECT id, pg_catalog.pg_notify('webhookdb_notifications', 'test')::text FROM made
