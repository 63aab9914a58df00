-- The record keeps its last hundred entries: by hand there is no end to attempts.
UPDATE notifications.outbox
SET attempt_log = CASE WHEN jsonb_array_length(attempt_log) < 100 THEN attempt_log ELSE attempt_log - 0 END
    || $3::text::jsonb
WHERE event_id = $1 AND subscription = $2
