-- $2, $3: the new secret. $4: for how many seconds those before it are good, at most. The row is locked before it is read, so
-- that of two rotations at once neither loses the secret of the other.
before AS (
    SELECT id, secret, secret_encrypted FROM notifications.subscriptions
    WHERE opaque_id = $1 AND state <> 'deleted' FOR UPDATE
),
rotated AS (
    UPDATE notifications.subscriptions s SET secret = $2, secret_encrypted = $3
    FROM before WHERE s.id = before.id
    RETURNING s.id, before.secret, before.secret_encrypted
),
forgotten AS (
    DELETE FROM notifications.previous_secrets p USING rotated
    WHERE p.subscription = rotated.id AND (p.expires_at <= now() OR $4::float8 <= 0)
),
shortened AS (
    UPDATE notifications.previous_secrets p SET expires_at = least(p.expires_at, now() + make_interval(secs => $4::float8))
    FROM rotated WHERE p.subscription = rotated.id AND p.expires_at > now() AND $4::float8 > 0
),
replaced AS (
    INSERT INTO notifications.previous_secrets (subscription, secret, secret_encrypted, expires_at)
    SELECT id, secret, secret_encrypted, now() + make_interval(secs => $4::float8) FROM rotated WHERE $4::float8 > 0
),
written AS (SELECT id, now() + make_interval(secs => $4::float8) AS until FROM rotated)
