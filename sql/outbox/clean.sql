-- What is resolved and the checkpoint has passed, so that the log does not bring it again: marks, and failures that were kept
-- for long enough.
DELETE FROM notifications.outbox AS o
USING notifications.sources AS s
WHERE o.source = $1 AND s.name = o.source AND o.state <> 'owed'
  AND (o.commit_lsn, o.index) < (s.commit_lsn, s.next_index)
  AND (o.state = 'delivered' OR o.last_attempt_at < now() - make_interval(secs => $2))
RETURNING o.event_id
