-- Per subscription: how many rows it is owed, up to where the log may bring again what is here, and which of that
-- is resolved.
SELECT o.subscription,
    count(*) FILTER (WHERE o.state = 'owed') AS owed,
    max(o.commit_lsn) FILTER (WHERE (o.commit_lsn, o.index) >= ($2, $3)) AS replay_until,
    coalesce(array_agg(o.event_id) FILTER (WHERE o.state <> 'owed' AND (o.commit_lsn, o.index) >= ($2, $3)), '{}') AS resolved
FROM notifications.outbox AS o
WHERE o.source = $1
GROUP BY o.subscription
