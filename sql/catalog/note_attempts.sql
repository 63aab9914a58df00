-- A success ends a failing, and only a success does: when it began is kept whatever daemon notes it.
UPDATE notifications.subscriptions AS s
SET last_success_at = coalesce(n.success, s.last_success_at), last_failure_at = coalesce(n.failure, s.last_failure_at),
    failing_since = CASE
        WHEN n.failure IS NULL OR n.failure < n.success THEN CASE WHEN n.success IS NULL THEN s.failing_since END
        WHEN n.success IS NULL THEN coalesce(s.failing_since, now())
        ELSE now()
    END
FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[]) AS n (id, success, failure)
WHERE s.id = n.id
  -- Only the holder of the epoch knows who succeeded last.
  AND EXISTS (SELECT FROM notifications.sources WHERE name = $4 AND epoch = $5)
