-- Whether the catalog has to be loaded again, and whether anybody asks for something, without loading it.
-- What this program writes raises the revision. WebhookDB's tables are changed by others: of these, how many rows there are
-- and a hash of every column that the catalog is made of. {schema} is their quoted schema; the optional column is read
-- through to_jsonb. $1: for how many seconds whoever asks waits for the answer.
SELECT r.value,
    (SELECT count(*) || ':' || coalesce(bit_xor(hash_record_extended(
                (o.id, o.key, o.name, to_jsonb(o) ->> 'replication_schema'), 0)), 0)
     FROM {schema}.organizations o)
    || '/' ||
    (SELECT count(*) || ':' || coalesce(bit_xor(hash_record_extended(
                (i.id, i.organization_id, i.opaque_id, i.service_name, i.table_name), 0)), 0)
     FROM {schema}.service_integrations i),
    EXISTS (SELECT FROM notifications.test_requests
            WHERE claimed_by IS NULL AND requested_at > now() - make_interval(secs => $1))
    OR EXISTS (SELECT FROM notifications.retry_requests
               WHERE claimed_by IS NULL AND requested_at > now() - make_interval(secs => $1))
FROM notifications.revision r
