-- Once each of its starts is met. A statement of its own, so that of two sources that meet theirs at the same time the later one
-- sees both. A paused one stays paused.
written AS (
    UPDATE notifications.subscriptions s SET state = 'active'
    WHERE s.opaque_id = $1 AND s.nonce = $2 AND s.state = 'pending'
      AND NOT EXISTS (
          SELECT FROM notifications.subscription_starts t WHERE t.subscription = s.id AND t.start_lsn IS NULL
      )
    RETURNING s.id
)
