-- $1: numbers of rows of {table}; $2, $3: what each secret is and is to be, one that was replaced in the meantime stays. $4: whether
-- the new ones are encrypted.
written AS (
    UPDATE {table} t SET secret = n.after, secret_encrypted = $4
    FROM unnest($1::bigint[], $2::text[], $3::text[]) AS n (id, before, after)
    WHERE t.id = n.id AND t.secret = n.before
    RETURNING t.id
)
