UPDATE notifications.outbox AS o
SET state = 'failed', attempts = u.attempts, first_due_at = now() - make_interval(secs => u.age),
    last_attempt_at = now(), last_error = u.error, attempt_log = o.attempt_log || u.log::jsonb
FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::double precision[], $5::text[], $6::text[])
    AS u (subscription, event_id, attempts, age, error, log)
WHERE o.event_id = u.event_id AND o.subscription = u.subscription
