UPDATE notifications.outbox AS o
SET attempts = u.attempts, next_attempt_at = now() + make_interval(secs => u.wait),
    first_due_at = now() - make_interval(secs => u.age), last_attempt_at = now(), last_error = u.error,
    attempt_log = o.attempt_log || u.log::jsonb
FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::double precision[], $5::double precision[], $6::text[], $7::text[])
    AS u (subscription, event_id, attempts, wait, age, error, log)
WHERE o.event_id = u.event_id AND o.subscription = u.subscription
