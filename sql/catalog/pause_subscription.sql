-- Since when and why stay as they are where it is paused already.
written AS (
    UPDATE notifications.subscriptions SET
        state = 'paused',
        halted_at = CASE WHEN state = 'paused' THEN halted_at ELSE now() END,
        halted_because = CASE WHEN state = 'paused' THEN halted_because ELSE $2 END
    WHERE opaque_id = $1 AND state IN ('pending', 'active', 'paused')
    RETURNING id
)
