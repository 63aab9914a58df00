written AS (
    INSERT INTO notifications.relations
        (source, relation_oid, integration, organization, state, schema_name, table_name, primary_key, remote_key)
    VALUES ($1, $2, $3, $4, 'publishing', $5, $6, $7, $8)
    ON CONFLICT (source, relation_oid) DO UPDATE SET
        integration = excluded.integration, organization = excluded.organization, state = 'publishing',
        schema_name = excluded.schema_name, table_name = excluded.table_name,
        primary_key = excluded.primary_key, remote_key = excluded.remote_key,
        publishing_xid = NULL, published_at = NULL
    WHERE notifications.relations.state IN ('removed', 'unassigned')
    RETURNING 1
),
-- Where a subscription has no table in this source yet, it is due there from before the table is published ($9): what the
-- publication shows of it is all younger than the subscription.
started AS (
    INSERT INTO notifications.subscription_starts (subscription, source, start_lsn)
    SELECT s.id, $1, $9 FROM written, notifications.subscriptions s
    WHERE (s.integration = $3 OR s.organization = $4) AND s.state IN ('pending', 'active', 'paused')
    ON CONFLICT (subscription, source) DO NOTHING
)
