-- What this program needs of WebhookDB's tables, under WebhookDB's names. {schema} is a quoted identifier.
CREATE TABLE {schema}.organizations (
    id serial PRIMARY KEY,
    name text NOT NULL,
    key text NOT NULL UNIQUE,
    replication_schema text NOT NULL DEFAULT 'public'
);
CREATE TABLE {schema}.service_integrations (
    id serial PRIMARY KEY,
    organization_id integer NOT NULL REFERENCES {schema}.organizations,
    opaque_id text NOT NULL UNIQUE,
    service_name text NOT NULL,
    table_name text NOT NULL,
    UNIQUE (organization_id, table_name)
);
