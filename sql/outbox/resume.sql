-- Per subscription: how many rows it is owed, and up to where the log may bring again what is here. And, one by one, which of
-- that is resolved. One statement, so that both are of one moment.
SELECT o.subscription,
    count(*) FILTER (WHERE o.state = 'owed') AS owed,
    max(o.commit_lsn) FILTER (WHERE (o.commit_lsn, o.index) >= ($2, $3)) AS replay_until,
    NULL AS resolved
FROM notifications.outbox AS o
WHERE o.source = $1
GROUP BY o.subscription
UNION ALL
SELECT o.subscription, NULL, NULL, o.event_id
FROM notifications.outbox AS o
WHERE o.source = $1 AND o.state <> 'owed' AND (o.commit_lsn, o.index) >= ($2, $3)
