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
)
