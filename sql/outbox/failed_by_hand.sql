-- The record keeps its last hundred entries: by hand there is no end to attempts.
UPDATE notifications.outbox
SET attempt_log = CASE WHEN jsonb_array_length(attempt_log) < 100 THEN attempt_log ELSE attempt_log - 0 END
    || jsonb_build_array(jsonb_build_object(
        'attempt', $3::bigint, 'at', to_char($4::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'outcome', $5::text, 'status', NULL, 'duration', $6::double precision, 'reason', $7::text, 'answer', NULL,
        'by_hand', true))
WHERE event_id = $1 AND subscription = $2
