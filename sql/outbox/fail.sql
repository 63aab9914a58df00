UPDATE notifications.outbox AS o
SET state = 'failed', attempts = u.attempts, first_due_at = now() - make_interval(secs => u.age),
    last_attempt_at = now(), last_error = u.error
FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::double precision[], $5::text[])
    AS u (subscription, event_id, attempts, age, error)
WHERE o.event_id = u.event_id AND o.subscription = u.subscription
