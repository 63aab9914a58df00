-- In the order given, which is the order of the log; what is there already stays as it is.
INSERT INTO notifications.outbox
    (subscription, source, event_id, commit_lsn, index, committed_at, relation_oid, keys, first_due_at, next_attempt_at)
SELECT o.subscription, $1, o.event_id, o.commit_lsn, o.index, o.committed_at, o.relation_oid, o.keys::bigint[], now(), now()
FROM unnest($2::bigint[], $3::text[], $4::pg_lsn[], $5::bigint[], $6::timestamptz[], $7::oid[], $8::text[])
    AS o (subscription, event_id, commit_lsn, index, committed_at, relation_oid, keys)
ON CONFLICT (event_id, subscription) DO NOTHING
RETURNING event_id, subscription, seq
