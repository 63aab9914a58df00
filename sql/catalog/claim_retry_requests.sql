-- SKIP LOCKED: two daemons that claim at once share the requests between them. $2: seconds for which an asker is believed
-- to wait still. What belongs to another source ($3) is left to whoever may write its outbox.
WITH claimed AS (
    UPDATE notifications.retry_requests SET claimed_by = $1
    WHERE id IN (
        SELECT r.id FROM notifications.retry_requests r
        WHERE r.claimed_by IS NULL AND r.requested_at > now() - make_interval(secs => $2)
          AND NOT EXISTS (
              SELECT FROM notifications.outbox o
              WHERE o.event_id = r.event_id AND o.subscription = r.subscription AND o.source <> $3
          )
        ORDER BY r.id
        LIMIT $4
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id, subscription, event_id
)
SELECT c.id, c.subscription, c.event_id, o.attempts, octet_length(b.body) AS bytes, o.relation_oid, o.commit_lsn, o.index
FROM claimed c
LEFT JOIN notifications.outbox o
    ON o.event_id = c.event_id AND o.subscription = c.subscription AND o.state <> 'delivered'
LEFT JOIN notifications.outbox_bodies b ON b.event_id = o.event_id
ORDER BY c.id
