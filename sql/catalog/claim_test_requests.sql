-- SKIP LOCKED: two daemons that claim at once share the requests between them. $2: seconds that the asker waits.
UPDATE notifications.test_requests SET claimed_by = $1
WHERE id IN (
    SELECT id FROM notifications.test_requests
    WHERE claimed_by IS NULL AND requested_at > now() - make_interval(secs => $2)
    ORDER BY id
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
RETURNING id, subscription
