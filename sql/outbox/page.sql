-- Bodies come along until they fill the page's share of memory; the others are read when their time comes.
SELECT p.seq, p.event_id, p.commit_lsn, p.index, p.committed_at, p.relation_oid, p.keys, p.attempts, p.due_in, p.age, p.body_bytes,
    CASE WHEN p.bytes <= $4 THEN b.body END AS body
FROM (
    SELECT o.*, greatest(extract(epoch FROM o.next_attempt_at - now()), 0)::double precision AS due_in,
        greatest(extract(epoch FROM now() - o.first_due_at), 0)::double precision AS age,
        coalesce(octet_length(c.body), 0) AS body_bytes,
        sum(octet_length(c.body)) OVER (ORDER BY o.seq) AS bytes
    FROM (
        SELECT * FROM notifications.outbox
        WHERE subscription = $1 AND source = $5 AND seq > $2 AND state = 'owed'
        ORDER BY seq
        LIMIT $3
    ) AS o
    LEFT JOIN notifications.outbox_bodies AS c USING (event_id)
) AS p
LEFT JOIN notifications.outbox_bodies AS b USING (event_id)
ORDER BY p.seq
