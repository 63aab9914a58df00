-- $3 and $4, its integration and organization, are null for a table that belongs to none.
written AS (
    INSERT INTO notifications.relations
        (source, relation_oid, integration, organization, state, schema_name, table_name, primary_key, remote_key)
    VALUES ($1, $2, $3, $4, 'unassigned', $5, $6, $7, $8)
    ON CONFLICT (source, relation_oid) DO NOTHING
    RETURNING 1
)
