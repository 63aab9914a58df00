-- {schema} is the quoted schema of organizations and service_integrations.
SELECT o.key::text, coalesce(nullif(to_jsonb(o) ->> 'replication_schema', ''), 'public'), i.table_name::text
FROM {schema}.service_integrations i
JOIN {schema}.organizations o ON o.id = i.organization_id
WHERE o.key IS NOT NULL AND i.table_name IS NOT NULL
ORDER BY i.id
