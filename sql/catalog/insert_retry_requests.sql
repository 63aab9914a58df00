WITH purged AS (
    DELETE FROM notifications.retry_requests WHERE requested_at < now() - interval '1 hour'
),
made AS (
    INSERT INTO notifications.retry_requests (subscription, event_id) SELECT $1, unnest($2::text[])
    RETURNING id, event_id
)
SELECT id, event_id, pg_catalog.pg_notify('webhookdb_notifications', 'retry')::text FROM made
