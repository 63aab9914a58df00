-- Bodies come along until they fill the page's share of memory; the others are read when their time comes. What could not
-- be sent while the subscription was paused or deactivated counts as due from when it was served again.
SELECT p.seq, p.event_id, p.commit_lsn, p.index, p.committed_at, p.relation_oid, p.keys, p.attempts, p.due_in, p.age, p.body_bytes,
    CASE WHEN p.bytes <= $4 THEN b.body END AS body
FROM (
    SELECT o.*,
        CASE WHEN o.last_attempt_at < s.due_from THEN 0
            ELSE greatest(extract(epoch FROM o.next_attempt_at - now()), 0)
        END::double precision AS due_in,
        greatest(extract(epoch FROM now() - greatest(o.first_due_at, s.due_from)), 0)::double precision AS age,
        coalesce(octet_length(c.body), 0) AS body_bytes,
        sum(octet_length(c.body)) OVER (ORDER BY o.seq) AS bytes
    FROM (
        SELECT * FROM notifications.outbox
        WHERE subscription = $1 AND source = $5 AND seq > $2 AND state = 'owed'
        ORDER BY seq
        LIMIT $3
    ) AS o
    JOIN notifications.subscriptions AS s ON s.id = o.subscription
    LEFT JOIN notifications.outbox_bodies AS c USING (event_id)
) AS p
LEFT JOIN notifications.outbox_bodies AS b USING (event_id)
ORDER BY p.seq
