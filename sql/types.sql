-- What the types $1 are, and all the types that they are made of, to whoever reads a value that transaction $2 wrote.
WITH RECURSIVE wanted (oid) AS (
    SELECT pg_catalog.unnest($1::pg_catalog.oid[])
    UNION
    SELECT part.oid
    FROM wanted
    JOIN pg_catalog.pg_type AS whole ON whole.oid = wanted.oid
    CROSS JOIN LATERAL (
        VALUES (whole.typbasetype), (whole.typelem)
        UNION ALL
        SELECT a.atttypid FROM pg_catalog.pg_attribute AS a
        WHERE whole.typtype = 'c' AND a.attrelid = whole.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS part (oid)
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
    t.typdelim::pg_catalog.text AS delimiter,
    composite.names AS field_names,
    composite.types AS field_types,
    CASE WHEN k.oid IS NOT NULL THEN pg_catalog.format('%I.%I', n.nspname, t.typname) END AS cast_from,
    coalesce(
        composite.altered,
        -- The cast runs under our rights: only its owner's, if these are not less, make it one that we may call.
        NOT pg_catalog.pg_has_role(p.proowner, current_user, 'MEMBER'),
        false) AS opaque
FROM wanted
JOIN pg_catalog.pg_type AS t ON t.oid = wanted.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
-- The parts of built-in types need not be known: those types are.
LEFT JOIN pg_catalog.pg_cast AS k
    ON t.oid >= 16384 AND k.castsource = t.oid AND k.casttarget = 'pg_catalog.json'::pg_catalog.regtype
    AND k.castmethod = 'f'
LEFT JOIN pg_catalog.pg_proc AS p ON p.oid = k.castfunc
LEFT JOIN LATERAL (
    SELECT
        coalesce(pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum)
            FILTER (WHERE NOT a.attisdropped), '{}') AS names,
        coalesce(pg_catalog.array_agg(a.atttypid ORDER BY a.attnum) FILTER (WHERE NOT a.attisdropped), '{}') AS types,
        -- A change of a field leaves its transaction in the field's row. One that is no older than the value may have come
        -- after it; the one that made the whole type did not. A negative age is that of a row frozen long ago.
        coalesce(pg_catalog.bool_or(
            a.xmin <> t.xmin AND pg_catalog.age(a.xmin) BETWEEN 0 AND pg_catalog.age($2::pg_catalog.text::pg_catalog.xid)
        ), false) AS altered
    FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = t.typrelid AND a.attnum > 0
) AS composite ON t.typtype = 'c'
