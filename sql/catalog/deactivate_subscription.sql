-- What is committed from here on, until it is enabled again, is not kept for it: that gap is recorded. What it is owed by now
-- is kept. What was found out about another URL, or before it was enabled, says nothing about it.
written AS (
    UPDATE notifications.subscriptions SET state = 'deactivated', halted_at = now(), halted_because = $2
    WHERE id = $1 AND state IN ('pending', 'active', 'paused') AND url = $3 AND nonce = $4
    RETURNING id, opaque_id
),
gap AS (
    INSERT INTO notifications.gaps (source, subscription, reason, from_lsn)
    SELECT s.name, w.opaque_id, 'deactivated: ' || $2, s.commit_lsn
    FROM written w
    JOIN notifications.subscription_starts st ON st.subscription = w.id
    JOIN notifications.sources s ON s.name = st.source
)
