-- What lets the daemon's role, which owns no table, publish new ones: three functions and nothing else, statement by
-- statement. They act by the rights of a role of their own that nobody can log in as: it owns the publication, and is a member
-- of the roles that own the tables. Where no superuser runs this, it is the role that does, which has to own the tables.
--
-- The functions look for themselves whether a table is an integration's. Where WebhookDB's own tables are here (in
-- catalog_schema) and the caller may not write them, that is what these say; else any table in one of the schemas is.
WITH given AS (
    SELECT
        caller.oid AS caller_oid,
        caller.rolname AS caller,
        publication.oid AS publication_oid,
        publication.pubname AS publication,
        publication.pubowner,
        pg_catalog."left"(:'slot', 57) || '_admin' AS schema,
        self.rolsuper AS by_superuser,
        CASE WHEN self.rolsuper THEN pg_catalog."left"(:'slot', 53) || '_publisher' ELSE self.rolname END AS publisher,
        pg_catalog.current_setting('server_version_num')::int >= 160000 AS has_grant_options
    FROM pg_catalog.pg_roles caller, pg_catalog.pg_publication publication, pg_catalog.pg_roles self
    WHERE caller.rolname = :'role' AND publication.pubname = :'publication' AND self.rolname = current_user
),
present AS (
    SELECT given.*, r.oid AS publisher_oid, r.rolcanlogin AS publisher_may_log_in, n.nspowner AS schema_owner
    FROM given
    LEFT JOIN pg_catalog.pg_roles r ON r.rolname = given.publisher
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = given.schema
),
owners AS (
    SELECT DISTINCT c.relowner
    FROM unnest(:'tables'::text[]) AS t JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(t)
),
-- A table that the caller could alter could hold traps for whoever reads it, and one that it may write says nothing.
own AS (
    SELECT c.oid, c.relname, n.nspname
    FROM given
    JOIN pg_catalog.pg_class c ON c.relkind = 'r' AND NOT pg_catalog.pg_has_role(given.caller_oid, c.relowner, 'MEMBER')
        AND NOT pg_catalog.has_table_privilege(given.caller_oid, c.oid, 'INSERT')
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :'catalog_schema' AND c.relname IN ('organizations', 'service_integrations')
),
condition AS (
    SELECT CASE WHEN (SELECT pg_catalog.count(*) FROM own) = 2
        THEN pg_catalog.format($condition$EXISTS (
            SELECT FROM ONLY %1$I.service_integrations i JOIN ONLY %1$I.organizations o ON o.id = i.organization_id
            WHERE i.table_name = candidate.relname AND candidate.nspname =
                coalesce(nullif(to_jsonb(o) ->> 'replication_schema', ''), 'public'))$condition$, :'catalog_schema')
        ELSE pg_catalog.format('candidate.nspname = ANY (%L::text[])', :'schemas')
    END AS is_integrations
),
statements AS (
    SELECT 1 AS place, 'DO $$ BEGIN RAISE EXCEPTION ''the schema or the role for the functions is somebody else''''s: name '
        'another slot, or drop them''; END $$' AS statement
    FROM present
    WHERE (by_superuser AND publisher_may_log_in) OR schema_owner <> coalesce(publisher_oid, 0)
    UNION ALL
    SELECT 2, pg_catalog.format('CREATE ROLE %I NOLOGIN', publisher) FROM present WHERE publisher_oid IS NULL
    UNION ALL
    SELECT 3, pg_catalog.format('GRANT %I TO %I', pg_catalog.pg_get_userbyid(o.relowner), publisher)
        -- Its rights, and not the right to become it.
        || CASE WHEN has_grant_options THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END
    FROM present, owners o
    WHERE by_superuser AND o.relowner IS DISTINCT FROM publisher_oid AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_auth_members m WHERE m.roleid = o.relowner AND m.member = publisher_oid)
    UNION ALL
    SELECT 4, pg_catalog.format('ALTER PUBLICATION %I OWNER TO %I', publication, publisher)
    FROM present WHERE pubowner IS DISTINCT FROM publisher_oid
    UNION ALL
    SELECT 5, pg_catalog.format('CREATE SCHEMA %I AUTHORIZATION %I', schema, publisher)
    FROM present WHERE schema_owner IS NULL
    UNION ALL
    SELECT 6, pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', schema, caller) FROM present
    UNION ALL
    SELECT DISTINCT 7, pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', o.nspname, publisher) FROM present, own o
    UNION ALL
    SELECT 8, pg_catalog.format('GRANT SELECT ON %s TO %I', o.oid::regclass, publisher) FROM present, own o
    UNION ALL
    -- The name of the table, quoted, where it is one that may be published, else null; for the other functions alone.
    SELECT 10, pg_catalog.format($create$
CREATE OR REPLACE FUNCTION %1$I.publishable(relation oid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    candidate record;
BEGIN
    SELECT c.oid, c.relname, c.relkind, c.relpersistence, n.nspname INTO candidate
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = relation;
    IF candidate.relkind IN ('r', 'p') AND candidate.relpersistence = 'p'
        AND candidate.nspname NOT IN ('notifications', 'information_schema', %3$L) AND candidate.nspname NOT LIKE 'pg\_%%'
        AND NOT (candidate.nspname = %4$L AND candidate.relname IN ('organizations', 'service_integrations'))
        AND (%5$s OR EXISTS (
            SELECT FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
            WHERE p.pubname = %2$L AND r.prrelid = relation))
    THEN
        RETURN pg_catalog.format('%%I.%%I', candidate.nspname, candidate.relname);
    END IF;
    RETURN NULL;
END $body$ $create$, schema, publication, schema, :'catalog_schema', is_integrations)
    FROM present, condition
    UNION ALL
    -- Sets the replica identity of a table that may be published, or of a partition of one. Never to nothing.
    SELECT 11, pg_catalog.format($create$
CREATE OR REPLACE FUNCTION %1$I.set_identity(relation oid, identity text, index text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $body$
DECLARE
    target record;
    clause text;
BEGIN
    SELECT n.nspname, c.relname INTO target
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = relation AND c.relkind IN ('r', 'p');
    -- A partition is an integration's where a table above it is.
    IF %1$I.publishable(relation) IS NULL AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_partition_ancestors(relation) a WHERE %1$I.publishable(a.relid) IS NOT NULL)
    THEN
        RAISE EXCEPTION 'the relation of OID %% is not the table of an integration', relation
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    clause := CASE identity
        WHEN 'default' THEN 'DEFAULT'
        WHEN 'full' THEN 'FULL'
        WHEN 'index' THEN pg_catalog.format('USING INDEX %%I', index)
    END;
    IF clause IS NULL OR (identity = 'default' AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_index x WHERE x.indrelid = relation AND x.indisprimary AND x.indimmediate))
    THEN
        RAISE EXCEPTION 'a published table needs a replica identity' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    EXECUTE pg_catalog.format('ALTER TABLE ONLY %%I.%%I REPLICA IDENTITY %%s', target.nspname, target.relname, clause);
END $body$ $create$, schema, publication)
    FROM present
    UNION ALL
    -- Publishes a table that may be, once UPDATE and DELETE will not fail in it, nor in a partition of it.
    SELECT 12, pg_catalog.format($create$
CREATE OR REPLACE FUNCTION %1$I.add_table(relation oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $body$
DECLARE
    target text := %1$I.publishable(relation);
BEGIN
    IF target IS NULL THEN
        RAISE EXCEPTION 'the relation of OID %% is not the table of an integration', relation
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF EXISTS (
        SELECT
        FROM pg_catalog.pg_class c
        WHERE (c.oid = relation OR c.oid IN (
                SELECT t.relid FROM pg_catalog.pg_partition_tree(relation) t WHERE t.isleaf))
            AND c.relreplident <> 'f' AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_index x
                WHERE x.indrelid = c.oid AND x.indisunique AND x.indimmediate AND x.indisvalid AND x.indpred IS NULL
                    AND CASE c.relreplident WHEN 'd' THEN x.indisprimary WHEN 'i' THEN x.indisreplident ELSE false END))
    THEN
        RAISE EXCEPTION 'without a replica identity UPDATE and DELETE would fail in %%', target
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    EXECUTE pg_catalog.format('ALTER PUBLICATION %%I ADD TABLE ONLY %%s', %2$L, target);
END $body$ $create$, schema, publication)
    FROM present
    UNION ALL
    -- Takes a table out of the publication, which is all that can be done to one that is no integration's any more.
    SELECT 13, pg_catalog.format($create$
CREATE OR REPLACE FUNCTION %1$I.drop_table(relation oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $body$
DECLARE
    target record;
BEGIN
    SELECT n.nspname, c.relname INTO target
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = relation;
    IF FOUND THEN
        EXECUTE pg_catalog.format('ALTER PUBLICATION %%I DROP TABLE ONLY %%I.%%I', %2$L, target.nspname, target.relname);
    END IF;
END $body$ $create$, schema, publication)
    FROM present
    UNION ALL
    SELECT 20, pg_catalog.format('ALTER FUNCTION %1$I.%2$s OWNER TO %3$I; REVOKE ALL ON FUNCTION %1$I.%2$s FROM PUBLIC',
            schema, f.signature, publisher)
        || CASE WHEN f.is_called THEN pg_catalog.format('; GRANT EXECUTE ON FUNCTION %I.%s TO %I', schema, f.signature, caller)
           ELSE '' END
    FROM present, (VALUES
        ('publishable(oid)', false), ('set_identity(oid, text, text)', true), ('add_table(oid)', true), ('drop_table(oid)', true)
    ) AS f (signature, is_called)
)
SELECT statement FROM statements ORDER BY place, statement
\gexec
