-- Marks that the checkpoint has passed, and failures that were kept for long enough.
DELETE FROM notifications.outbox AS o
USING notifications.sources AS s
WHERE o.source = $1 AND s.name = o.source AND o.state <> 'owed'
  AND CASE o.state
      WHEN 'delivered' THEN (o.commit_lsn, o.index) < (s.commit_lsn, s.next_index)
      ELSE o.last_attempt_at < now() - make_interval(secs => $2)
  END
RETURNING o.event_id
