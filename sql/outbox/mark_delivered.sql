-- What the checkpoint has not passed may be read from the log again: it is kept, marked, so that it is not sent again.
UPDATE notifications.outbox AS o
SET state = 'delivered'
FROM unnest($2::bigint[], $3::text[]) AS u (subscription, event_id), notifications.sources AS s
WHERE o.event_id = u.event_id AND o.subscription = u.subscription
  AND s.name = $1 AND (o.commit_lsn, o.index) >= (s.commit_lsn, s.next_index)
