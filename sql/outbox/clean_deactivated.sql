-- What was owed to subscriptions that have been deactivated for so long.
DELETE FROM notifications.outbox AS o
USING notifications.subscriptions AS s
WHERE o.source = $1 AND o.subscription = s.id AND o.state = 'owed'
  AND s.state = 'deactivated' AND s.halted_at < now() - make_interval(secs => $2)
RETURNING o.event_id
