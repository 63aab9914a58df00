-- {schema} is the quoted schema of organizations and service_integrations. $2: remove its subscriptions too.
-- The relation stays as a tombstone: the log may still hold changes of its table, and they are passed over.
attached AS (
    SELECT id FROM notifications.subscriptions WHERE integration = $1 AND state <> 'deleted'
),
written AS (
    DELETE FROM {schema}.service_integrations
    WHERE opaque_id = $1 AND ($2 OR NOT EXISTS (SELECT FROM attached))
    RETURNING opaque_id
),
forgotten AS (
    DELETE FROM notifications.integration_facts f USING written WHERE f.integration = written.opaque_id
),
buried AS (
    UPDATE notifications.relations r SET state = 'removed' FROM written
    WHERE r.integration = written.opaque_id AND r.state <> 'removed'
),
ended AS (
    UPDATE notifications.subscriptions s SET state = 'deleted' FROM written
    WHERE s.integration = written.opaque_id AND s.state <> 'deleted'
)
