-- What the types $1 are, and all the types that they are made of.
WITH RECURSIVE wanted (oid) AS (
    SELECT pg_catalog.unnest($1::pg_catalog.oid[])
    UNION
    SELECT part.oid
    FROM wanted
    JOIN pg_catalog.pg_type AS whole ON whole.oid = wanted.oid
    CROSS JOIN LATERAL (VALUES (whole.typbasetype), (whole.typelem)) AS part (oid)
    WHERE part.oid <> 0
)
SELECT
    t.oid,
    t.typname::pg_catalog.text AS name,
    nullif(t.typbasetype, 0) AS base,
    -- Point, name and others can be subscripted but are no arrays.
    CASE WHEN t.typbasetype = 0 AND t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc
        THEN nullif(t.typelem, 0)
    END AS element,
    t.typdelim::pg_catalog.text AS delimiter
FROM wanted
JOIN pg_catalog.pg_type AS t ON t.oid = wanted.oid
-- The parts of built-in types need not be known: those types are.
