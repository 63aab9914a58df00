-- The whole catalog in one statement, hence in one snapshot of the database: each row is one item, as JSON.
-- {schema} is the quoted schema of organizations and service_integrations. WebhookDB's optional columns are read
-- through to_jsonb, so that a table without them is no error.
SELECT kind, item::text
FROM (
    SELECT 'revision' AS kind, 0::bigint AS place, json_build_object('value', value) AS item
    FROM notifications.revision
    UNION ALL
    SELECT 'source', 0, json_build_object(
        'name', name, 'slot', slot, 'publication', publication,
        'publication_oid', publication_oid::bigint, 'system_identifier', system_identifier::text)
    FROM notifications.sources
    UNION ALL
    SELECT 'organization', o.id, json_build_object(
        'key', o.key, 'name', coalesce(o.name, o.key),
        'schema', coalesce(nullif(to_jsonb(o) ->> 'replication_schema', ''), 'public'))
    FROM {schema}.organizations o
    WHERE o.key IS NOT NULL
    UNION ALL
    SELECT 'integration', i.id, json_build_object(
        'opaque_id', i.opaque_id, 'organization', o.key, 'service_name', i.service_name, 'table_name', i.table_name,
        'schema', coalesce(f.schema_name, nullif(to_jsonb(o) ->> 'replication_schema', ''), 'public'),
        'source', f.source)
    FROM {schema}.service_integrations i
    JOIN {schema}.organizations o ON o.id = i.organization_id
    LEFT JOIN notifications.integration_facts f ON f.integration = i.opaque_id
    WHERE o.key IS NOT NULL AND i.table_name IS NOT NULL
    UNION ALL
    SELECT 'relation', 0, json_build_object(
        'source', source, 'oid', relation_oid::bigint, 'integration', integration, 'organization', organization,
        'state', state, 'schema_name', schema_name, 'table_name', table_name,
        'primary_key', primary_key, 'remote_key', remote_key,
        'publishing_xid', publishing_xid,
        'published_at', (extract(epoch FROM published_at) * 1000000)::bigint)
    FROM notifications.relations
    UNION ALL
    SELECT 'subscription', s.id, json_build_object(
        'id', s.id, 'opaque_id', s.opaque_id, 'organization', s.organization, 'integration', s.integration,
        'url', s.url, 'secret', s.secret, 'secret_encrypted', s.secret_encrypted,
        'previous_secrets', (SELECT json_agg(json_build_object(
                'secret', p.secret, 'secret_encrypted', p.secret_encrypted,
                'expires_at', (extract(epoch FROM p.expires_at) * 1000000)::bigint) ORDER BY p.id DESC)
            FROM notifications.previous_secrets p WHERE p.subscription = s.id),
        'batch_size', s.batch_size, 'batch_linger_ms', s.batch_linger_ms,
        'state', s.state, 'nonce', s.nonce,
        'created_at', (extract(epoch FROM s.created_at) * 1000000)::bigint,
        'starts', (SELECT json_object_agg(t.source, t.start_lsn::text)
                   FROM notifications.subscription_starts t WHERE t.subscription = s.id))
    FROM notifications.subscriptions s
) items
ORDER BY kind, place
