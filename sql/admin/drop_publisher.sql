-- Undoes publisher.sql. What the role owned beside the functions (a publication that stays) goes to who runs this.
WITH given AS (
    SELECT
        pg_catalog."left"(:'slot', 57) || '_admin' AS schema,
        r.rolname AS publisher
    FROM (VALUES (1)) AS one
    LEFT JOIN pg_catalog.pg_roles r ON r.rolname = pg_catalog."left"(:'slot', 53) || '_publisher' AND NOT r.rolcanlogin
)
SELECT statement
FROM (
    SELECT 1 AS place, pg_catalog.format('DROP SCHEMA IF EXISTS %I CASCADE', schema) AS statement FROM given
    UNION ALL
    SELECT 2, pg_catalog.format('REASSIGN OWNED BY %1$I TO CURRENT_USER; DROP OWNED BY %1$I; DROP ROLE %1$I', publisher)
    FROM given WHERE publisher IS NOT NULL
) AS statements
ORDER BY place
\gexec
