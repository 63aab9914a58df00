-- Which migrations this database has seen; the schema itself exists by now.
CREATE TABLE IF NOT EXISTS notifications.migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
