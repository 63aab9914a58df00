-- {schema} is the quoted schema of organizations and service_integrations.
added AS (
    INSERT INTO {schema}.service_integrations (organization_id, opaque_id, service_name, table_name)
    SELECT o.id, $2, $3, $4 FROM {schema}.organizations o WHERE o.key = $1
    RETURNING opaque_id
),
written AS (
    INSERT INTO notifications.integration_facts (integration, source, schema_name)
    SELECT opaque_id, $5, $6 FROM added
    RETURNING integration
)
