//! The least rights that do, what somebody with more does once, and that each missing right is named by the statement that
//! gives it.

use serde_json::Value;
use tokio_postgres::error::SqlState;
use webhookdb_notifications::config::PostgresUrl;
use webhookdb_notifications::postgres;
use webhookdb_notifications::source::{ReplicationConnection, SourceError};

use crate::support::fixtures::{CHARGES, CUSTOMERS, EVENTS, WEBHOOKDB_TABLES};
use crate::support::pgbouncer::PgBouncer;
use crate::support::psql::{SCRIPT, run_script};
use crate::support::receiver::SECRET;
use crate::support::{Config, Daemon, Output, Receiver, Site, TestDatabase, Webhookdb};

/// A database with WebhookDB's tables and the charges, each by an owner of its own, and a role that owns nothing.
struct Rights {
    database: TestDatabase,
    role: String,
    webhookdb: Webhookdb,
}

impl Rights {
    /// `attributes`: of the role.
    async fn new(name: &str, attributes: &str) -> Self {
        let database = TestDatabase::create(name).await;
        let role = format!("{}_role", database.name());
        database.execute(&format!("CREATE ROLE {role} {attributes}")).await;
        database.execute(&format!("CREATE ROLE {}_owner", database.name())).await;
        database.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
        database.execute(WEBHOOKDB_TABLES).await;
        database.execute(CHARGES.create).await;
        database.execute(&format!("ALTER TABLE {} OWNER TO {}_owner", CHARGES.name, database.name())).await;
        let url = database.cluster().url_of(&role, database.name());
        let webhookdb = Webhookdb::new(&Config::for_url(&url).set("source.slot", database.name()));
        Self { database, role, webhookdb }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        self.webhookdb.run(arguments).await
    }

    async fn setup_with_admin(&self) -> String {
        self.run(&["setup", "--admin-url", &self.database.url()]).await.ok()
    }

    /// Creates a subscription of everything.
    async fn subscribe(&self, url: &str) {
        self.run(&["notification", "create", "--org=acme_corp", "--secret", SECRET, "--url", url]).await.ok();
    }

    /// A session of the role.
    async fn session(&self) -> tokio_postgres::Client {
        let url = self.database.cluster().url_of(&self.role, self.database.name());
        let url: PostgresUrl = url.parse().expect("a URL");
        postgres::connect(&url, "a malicious role").await.expect("the role logs in")
    }

    /// Runs the command, which fails for want of a right; gives that right by the very statement that the hint names.
    async fn grant_what_is_missing(&self, arguments: &[&str], expected: &str) {
        let stderr = self.run(arguments).await.fails_with(1);
        let statement = statement_in(&stderr);
        assert_eq!(statement, expected, "{stderr}");
        self.database.execute(statement).await;
    }

    async fn remove(self) {
        self.run(&["setup", "--drop", "--yes", "--admin-url", &self.database.url()]).await;
        remove_role(&self.database, &self.role).await;
        remove_role(&self.database, &format!("{}_owner", self.database.name())).await;
    }
}

/// Roles are the server's, which all tests share.
async fn remove_role(database: &TestDatabase, role: &str) {
    let publisher = format!("{}_publisher", database.name());
    database.execute(&format!("DROP SCHEMA IF EXISTS {}_admin CASCADE", database.name())).await;
    let exists = format!("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '{publisher}')");
    if database.is_true(&exists).await {
        database.execute(&format!("DROP OWNED BY {publisher} CASCADE; DROP ROLE {publisher}")).await;
    }
    database.execute(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
}

/// The statement in the hint: from its first word in capitals up to what else could be done.
fn statement_in(stderr: &str) -> &str {
    let hint = stderr.lines().find_map(|line| line.trim_start().strip_prefix("hint: ")).expect("a hint");
    let begin = ["GRANT ", "ALTER "].iter().filter_map(|word| hint.find(word)).min().expect("a statement");
    let statement = &hint[begin..];
    let end = ["; or ", " (on "].iter().filter_map(|word| statement.find(word)).min();
    &statement[..end.unwrap_or(statement.len())]
}

#[tokio::test]
async fn a_dba_prepares_a_database_by_psql_for_a_role_that_owns_nothing() {
    let database = TestDatabase::create("dba").await;
    let role = format!("{}_role", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN")).await;
    database.execute(WEBHOOKDB_TABLES).await;
    database.execute(CHARGES.create).await;
    database.execute(EVENTS.create).await;
    database.execute("CREATE TABLE \"O'dd\" (a int)").await;
    let (role_variable, slot) = (format!("role={role}"), format!("slot={}", database.name()));
    let tables = r#"tables={public.stripe_charge_v1_fdcc,icalendar_event_v1_20b1,"\"O'dd\""}"#;
    for _ in 0..2 {
        let (done, said) = run_script(&database, SCRIPT.as_ref(), &[&role_variable, &slot, tables]).await;
        assert!(done, "{said}");
    }
    assert_eq!(database.published().await, "O'dd icalendar_event_v1_20b1 stripe_charge_v1_fdcc");
    assert_eq!(database.identity(CHARGES.name).await, "i");
    assert_eq!(database.identity("\"O''dd\"").await, "f");
    let leaves = "SELECT bool_and(relreplident = 'i') FROM pg_partition_tree('icalendar_event_v1_20b1') t
                  JOIN pg_class c ON c.oid = t.relid";
    assert!(database.is_true(leaves).await);
    let url = database.cluster().url_of(&role, database.name());
    let webhookdb = Webhookdb::new(&Config::for_url(&url).set("source.slot", database.name()));
    let said = webhookdb.run(&["setup"]).await.ok();
    assert!(
        said.contains("adopted slot") && said.contains("public.icalendar_event_v1_20b1 is published, but"),
        "{said}"
    );
    webhookdb.run(&["setup"]).await.ok();
    let create = ["notification", "create", "--integration=svi_1", "--secret", "", "--url", "https://127.0.0.1"];
    webhookdb.run(&create).await.ok();
    // A table to come is published by the functions that the script has left behind.
    database.execute("CREATE TABLE theirs (a int PRIMARY KEY)").await;
    database.execute("INSERT INTO service_integrations VALUES (2, 1, 'svi_2', 'theirs_v1', 'theirs')").await;
    webhookdb.run(&["setup"]).await.ok();
    assert_eq!(database.published().await, "O'dd icalendar_event_v1_20b1 stripe_charge_v1_fdcc theirs");
    let said = webhookdb.run(&["setup", "--drop", "--yes"]).await.ok();
    assert!(said.contains("was not made by setup and stays"), "{said}");
    assert!(said.contains("DROP SCHEMA"), "the functions are a superuser's: {said}");
    remove_role(&database, &role).await;
}

#[tokio::test]
async fn the_script_is_printed_with_the_names_of_the_config_filled_in() {
    let site = Site::new("print_sql").await;
    let script = site.webhookdb.run(&["setup", "--sql"]).await.ok();
    let path = site.webhookdb.directory().join("setup.sql");
    std::fs::write(&path, &script).expect("the script");
    assert!(script.contains(&format!("\\set slot '{}'", site.database.name())), "{script}");
    let (done, said) = run_script(&site.database, &path, &[]).await;
    assert!(done, "{said}");
    assert_eq!(site.database.published().await, "stripe_charge_v1_fdcc stripe_customer_v1_512a");
}

#[tokio::test]
async fn the_script_refuses_what_it_can_not_repair() {
    let database = TestDatabase::create("dba_refused").await;
    database.execute("CREATE PUBLICATION everything FOR ALL TABLES").await;
    let slot = format!("slot={}", database.name());
    for (variable, expected) in [
        ("role=no_such_role", "There is no role no_such_role"),
        ("tables={public.nope}", "public.nope"),
        ("publication=everything", "FOR ALL TABLES"),
    ] {
        let (done, said) = run_script(&database, SCRIPT.as_ref(), &[&slot, "role=postgres", variable]).await;
        assert!(!done && said.contains(expected), "{variable}: {said}");
    }
    database.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&database.name()]).await;
    let (done, said) = run_script(&database, SCRIPT.as_ref(), &[&slot, "role=postgres"]).await;
    assert!(!done && said.contains("older than the publication"), "{said}");
}

#[tokio::test]
async fn a_role_that_owns_nothing_does_everything_once_an_admin_has_lent_it_a_hand() {
    let rights = Rights::new("least", "LOGIN").await;
    let (database, role) = (&rights.database, &rights.role);
    let said = rights.setup_with_admin().await;
    for expected in
        [&format!("ALTER ROLE {role} REPLICATION"), "made publication", "the functions that publish", "made slot"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let again = rights.setup_with_admin().await;
    assert!(!again.lines().any(|line| line.starts_with('+')), "{again}");
    rights.run(&["setup"]).await.ok();
    let least = format!(
        "SELECT NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                            WHERE c.relowner = '{role}'::regrole AND n.nspname NOT IN ('notifications', 'pg_toast'))
            AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = '{role}'::regrole)
            AND NOT has_table_privilege('{role}', 'stripe_charge_v1_fdcc', 'SELECT')
            AND NOT has_table_privilege('{role}', 'service_integrations', 'INSERT, UPDATE, DELETE')
            AND NOT has_database_privilege('{role}', current_database(), 'CREATE')
            AND NOT (SELECT rolsuper OR rolcanlogin FROM pg_roles WHERE rolname = '{}_publisher')",
        database.name()
    );
    assert!(database.is_true(&least).await);
    let receiver = Receiver::start().await;
    rights.subscribe(&receiver.url("/")).await;
    let daemon = rights.webhookdb.serve().await;
    database.execute("INSERT INTO stripe_charge_v1_fdcc (stripe_id, data) VALUES ('ch_1', '{}')").await;
    receiver.wait_for_id("ch_1").await;
    what_comes_later_is_kept_up_with(&rights, &daemon, &receiver).await;
    let status = rights.run(&["status", "--format", "json"]).await.json();
    assert_eq!(status["sources"][0]["state"], "streaming", "{status}");
    assert!(daemon.terminate().await.success());
    let dropped = rights.run(&["setup", "--drop", "--yes", "--admin-url", &database.url()]).await.ok();
    assert!(dropped.contains("and its functions"), "{dropped}");
    let nothing_left = format!(
        "SELECT to_regnamespace('{0}_admin') IS NULL AND to_regrole('{0}_publisher') IS NULL
            AND to_regnamespace('notifications') IS NULL AND NOT EXISTS (SELECT FROM pg_publication)",
        database.name()
    );
    assert!(database.is_true(&nothing_left).await);
    rights.remove().await;
}

/// By the daemon itself: a table that is added, its identity when the index goes, and its end as an integration's.
async fn what_comes_later_is_kept_up_with(rights: &Rights, daemon: &Daemon, receiver: &Receiver) {
    let (database, owner) = (&rights.database, format!("{}_owner", rights.database.name()));
    let later = "CREATE TABLE later (pk serial PRIMARY KEY, id text UNIQUE NOT NULL)";
    database.execute(&format!("{later}; ALTER TABLE later OWNER TO {owner}")).await;
    database.execute("INSERT INTO service_integrations VALUES (2, 1, 'svi_2', 'later_v1', 'later')").await;
    daemon.wait_for_log("table public.later of svi_2 is published").await;
    assert_eq!(database.identity("later").await, "i");
    database.execute("INSERT INTO later (id) VALUES ('later_1')").await;
    receiver.wait_for_id("later_1").await;
    database.execute("ALTER TABLE later DROP CONSTRAINT later_id_key").await;
    let reset = "SELECT relreplident = 'd' FROM pg_class WHERE oid = 'later'::regclass";
    database.wait_until("the identity is set again", reset).await;
    database.execute("DELETE FROM service_integrations WHERE opaque_id = 'svi_2'").await;
    let gone = "SELECT NOT EXISTS (SELECT FROM pg_publication_tables WHERE tablename = 'later')";
    database.wait_until("the removed table is taken out", gone).await;
}

#[tokio::test]
async fn a_table_of_an_owner_that_nobody_was_told_of_is_named_with_the_grant() {
    let rights = Rights::new("new_owner", "LOGIN").await;
    rights.setup_with_admin().await;
    let (database, newcomer) = (&rights.database, format!("{}_newcomer", rights.database.name()));
    database.execute(&format!("CREATE ROLE {newcomer}; CREATE TABLE new (id int PRIMARY KEY)")).await;
    database.execute(&format!("ALTER TABLE new OWNER TO {newcomer}")).await;
    database.execute("INSERT INTO service_integrations VALUES (2, 1, 'svi_2', 'new_v1', 'new')").await;
    let grant = format!("GRANT \"{newcomer}\" TO \"{}_publisher\"", database.name());
    rights.grant_what_is_missing(&["setup"], &grant).await;
    rights.run(&["setup"]).await.ok();
    assert_eq!(database.published().await, "new stripe_charge_v1_fdcc");
    remove_role(database, &newcomer).await;
    rights.remove().await;
}

/// Whatever is set and shadowed: the functions see pg_catalog alone, and temporary tables last.
const SHADOWS: &str = "
    SET search_path = pg_temp, public;
    CREATE TEMPORARY TABLE service_integrations (organization_id int, table_name text);
    CREATE TEMPORARY TABLE organizations (id int);
    INSERT INTO service_integrations VALUES (1, 'private');
    INSERT INTO organizations VALUES (1);
    CREATE TEMPORARY TABLE pg_class AS SELECT * FROM pg_catalog.pg_class;
    CREATE TEMPORARY TABLE pg_publication_rel AS
        SELECT p.oid AS prpubid, 'public.private'::regclass::oid AS prrelid FROM pg_catalog.pg_publication p;
    CREATE FUNCTION pg_temp.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS $$SELECT 'DROP TABLE private'$$;
    CREATE FUNCTION pg_temp.equal(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE OPERATOR pg_temp.= (LEFTARG = name, RIGHTARG = text, FUNCTION = pg_temp.equal)";

/// Tables that are no integration's or can't be published, identities that break a table, and names that are SQL.
const ATTACKS: &[&str] = &[
    "add_table('public.private'::regclass)",
    "add_table('public.service_integrations'::regclass)",
    "add_table('public.organizations'::regclass)",
    "add_table('elsewhere.later'::regclass)",
    "add_table('public.later'::regclass)",
    "add_table('public.keyless'::regclass)",
    "add_table('notifications.subscriptions'::regclass)",
    "add_table('pg_catalog.pg_authid'::regclass)",
    r#"add_table('public."x; DROP TABLE private; --"'::regclass)"#,
    "add_table('pg_temp.service_integrations'::regclass)",
    "add_table(0)",
    "add_table(NULL)",
    "set_identity('public.private'::regclass, 'full', NULL)",
    "set_identity('pg_catalog.pg_authid'::regclass, 'full', NULL)",
    "set_identity('public.stripe_charge_v1_fdcc'::regclass, 'nothing', NULL)",
    "set_identity('public.stripe_charge_v1_fdcc'::regclass, 'FULL; DROP TABLE private', NULL)",
    "set_identity('public.stripe_charge_v1_fdcc'::regclass, NULL, NULL)",
    r#"set_identity('public.stripe_charge_v1_fdcc'::regclass, 'index', 'x"; DROP TABLE private; --')"#,
    "set_identity('public.stripe_charge_v1_fdcc'::regclass, 'index', NULL)",
    "set_identity('public.keyless'::regclass, 'default', NULL)",
    "drop_table('public.private'::regclass)",
    "publishable('public.stripe_charge_v1_fdcc'::regclass)",
];

#[tokio::test]
async fn the_functions_do_for_a_malicious_role_only_what_they_are_for() {
    let rights = Rights::new("attack", "LOGIN").await;
    let database = &rights.database;
    database.execute("CREATE TABLE private (id int PRIMARY KEY); CREATE TABLE keyless (id int)").await;
    database.execute(r#"CREATE TABLE "x; DROP TABLE private; --" (id int PRIMARY KEY)"#).await;
    database.execute("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.later (id int PRIMARY KEY)").await;
    rights.setup_with_admin().await;
    // Integrations whose tables are a view and a table without a key.
    database.execute("CREATE VIEW later AS SELECT 1 AS id").await;
    let integrations =
        "INSERT INTO service_integrations VALUES (2, 1, 'svi_2', 'l', 'later'), (3, 1, 'svi_3', 'k', 'keyless')";
    database.execute(integrations).await;
    let schema = format!("{}_admin", database.name());
    let role = rights.session().await;
    role.batch_execute(SHADOWS).await.expect("anybody may do that");
    let state = "SELECT (SELECT json_agg(c.oid || c.relreplident::text ORDER BY c.oid) FROM pg_class c
                         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('public', 'elsewhere'))::text
                     || (SELECT json_agg(r.prrelid ORDER BY 1) FROM pg_publication_rel r)::text";
    let before = database.text(state).await;
    for attack in ATTACKS {
        let sql = format!("SELECT {schema}.{attack}");
        assert!(role.batch_execute(&sql).await.is_err(), "{attack}");
        assert_eq!(database.text(state).await, before, "{attack}");
    }
    let others = "SELECT ARRAY[has_schema_privilege('public', n.oid, 'USAGE'), has_schema_privilege('public', n.oid, 'CREATE')]::text
                  FROM pg_namespace n WHERE nspname LIKE '%\\_admin'";
    assert_eq!(database.text(others).await.as_deref(), Some("{f,f}"), "nobody else may use the schema");
    let create = format!("CREATE OR REPLACE FUNCTION {schema}.add_table(oid) RETURNS void LANGUAGE sql AS 'SELECT'");
    let refused = role.batch_execute(&create).await.expect_err("the schema is not the role's");
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    drop(role);
    rights.remove().await;
}

#[tokio::test]
async fn each_right_that_setup_misses_is_named_by_the_statement_that_gives_it() {
    let rights = Rights::new("missing", "").await;
    let (database, role) = (&rights.database, &rights.role);
    let name = database.name();
    database.execute(&format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")).await;
    database.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC").await;
    let publishing = r#"ALTER TABLE ONLY "public"."stripe_charge_v1_fdcc" REPLICA IDENTITY USING INDEX "stripe_charge_v1_fdcc_stripe_id_key"; "#;
    for statement in [
        format!("ALTER ROLE \"{role}\" LOGIN"),
        format!("GRANT CONNECT ON DATABASE \"{name}\" TO \"{role}\""),
        format!("GRANT CREATE ON DATABASE \"{name}\" TO \"{role}\""),
        format!("ALTER ROLE \"{role}\" REPLICATION"),
        format!(
            "GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT ON public.organizations TO {role}; GRANT SELECT ON \
             public.service_integrations TO {role}"
        ),
        format!(
            r#"{publishing}ALTER PUBLICATION "webhookdb_notifications" ADD TABLE ONLY "public"."stripe_charge_v1_fdcc""#
        ),
    ] {
        rights.grant_what_is_missing(&["setup"], &statement).await;
    }
    rights.run(&["setup"]).await.ok();
    rights.remove().await;
}

#[tokio::test]
async fn where_setup_makes_webhookdbs_tables_the_right_to_make_them_is_named() {
    let database = TestDatabase::create("make_tables").await;
    let role = format!("{}_role", database.name());
    database
        .execute(&format!("CREATE ROLE {role} LOGIN REPLICATION; REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        .await;
    database.execute(&format!("GRANT CREATE ON DATABASE {} TO {role}", database.name())).await;
    let url = database.cluster().url_of(&role, database.name());
    let webhookdb = Webhookdb::new(&Config::for_url(&url).set("source.slot", database.name()));
    let stderr = webhookdb.run(&["setup"]).await.fails_with(1);
    assert_eq!(statement_in(&stderr), format!("GRANT CREATE ON SCHEMA \"public\" TO \"{role}\""), "{stderr}");
    database.execute(statement_in(&stderr)).await;
    webhookdb.run(&["setup"]).await.ok();
    webhookdb.run(&["setup", "--drop", "--yes"]).await.ok();
    remove_role(&database, &role).await;
}

#[tokio::test]
async fn each_right_that_another_command_misses_is_named_by_the_statement_that_gives_it() {
    let rights = Rights::new("commands", "LOGIN").await;
    rights.setup_with_admin().await;
    let (database, role) = (&rights.database, &rights.role);
    let create = ["notification", "create", "--integration=svi_1", "--secret", "", "--url", "https://127.0.0.1"];
    for command in [&["integrations", "list"][..], &["org", "list"], &["setup"], &create] {
        for table in ["organizations", "service_integrations"] {
            database.execute(&format!("REVOKE SELECT ON {table} FROM {role}")).await;
            rights.grant_what_is_missing(command, &format!("GRANT SELECT ON public.{table} TO {role}")).await;
        }
        rights.run(command).await.ok();
    }
    database.execute(&format!("REVOKE SELECT ON service_integrations FROM {role}")).await;
    rights.grant_what_is_missing(&["serve"], &format!("GRANT SELECT ON public.service_integrations TO {role}")).await;
    let daemon = rights.webhookdb.serve().await;
    let id = rights.run(&["notification", "list", "--format", "json"]).await.json()[0]["opaque_id"].clone();
    rights.run(&["notification", "delete", id.as_str().expect("an id")]).await.ok();
    drop(daemon);
    rights.remove().await;
}

#[tokio::test]
async fn a_daemon_without_replication_says_so_and_goes_on_once_it_has_it() {
    let rights = Rights::new("serve_rights", "LOGIN").await;
    let (database, role) = (&rights.database, &rights.role);
    rights.setup_with_admin().await;
    database.execute(&format!("ALTER ROLE {role} NOREPLICATION")).await;
    rights.grant_what_is_missing(&["serve"], &format!("ALTER ROLE \"{role}\" REPLICATION")).await;
    let receiver = Receiver::start().await;
    rights.subscribe(&receiver.url("/")).await;
    let daemon = rights.webhookdb.serve().await;
    database.execute("INSERT INTO stripe_charge_v1_fdcc (stripe_id, data) VALUES ('ch_1', '{}')").await;
    receiver.wait_for_id("ch_1").await;
    drop(daemon);
    rights.remove().await;
}

#[tokio::test]
async fn another_role_is_told_whose_member_it_has_to_be() {
    let rights = Rights::new("other_role", "LOGIN").await;
    rights.setup_with_admin().await;
    let (database, other) = (&rights.database, format!("{}_other", rights.database.name()));
    database.execute(&format!("CREATE ROLE {other} LOGIN")).await;
    let url = database.cluster().url_of(&other, database.name());
    let webhookdb = Webhookdb::new(&Config::for_url(&url).set("source.slot", database.name()));
    let grant = format!("GRANT {} TO {other}", rights.role);
    for command in [&["notification", "list"][..], &["status"], &["notification", "delete", "54ca14e3c55e"]] {
        let stderr = webhookdb.run(command).await.fails_with(1);
        assert_eq!(statement_in(&stderr), grant, "{stderr}");
    }
    database.execute(&grant).await;
    webhookdb.run(&["notification", "list"]).await.ok();
    remove_role(database, &other).await;
    rights.remove().await;
}

#[tokio::test]
async fn where_there_is_no_webhookdb_an_admin_makes_its_tables_and_the_role_writes_them() {
    let database = TestDatabase::create("standalone").await;
    let role = format!("{}_role", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC")).await;
    let url = database.cluster().url_of(&role, database.name());
    let config = Config::for_url(&url).set("source.slot", database.name());
    let site = Site { webhookdb: Webhookdb::new(&config), config, database };
    let admin = site.database.url();
    site.webhookdb.run(&["setup", "--admin-url", &admin]).await.ok();
    site.webhookdb.run(&["org", "create", "Acme Corp"]).await.ok();
    site.add(&CHARGES).await;
    // The functions are told of owners and schemas; the first integration brings both.
    site.webhookdb.run(&["setup", "--admin-url", &admin]).await.ok();
    site.add(&CUSTOMERS).await;
    let receiver = Receiver::start().await;
    let daemon = site.serve().await;
    daemon.wait_for_log("table public.stripe_customer_v1_512a of").await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    site.database.execute("INSERT INTO stripe_charge_v1_fdcc (stripe_id, data) VALUES ('ch_1', '{}')").await;
    receiver.wait_for_id("ch_1").await;
    assert!(daemon.terminate().await.success());
    site.webhookdb.run(&["setup", "--drop", "--yes", "--admin-url", &admin]).await.ok();
    assert!(site.database.is_true("SELECT to_regclass('organizations') IS NULL").await);
    remove_role(&site.database, &role).await;
}

#[tokio::test]
async fn the_owner_of_the_tables_lends_a_hand_without_being_a_superuser() {
    let rights = Rights::new("owner_admin", "LOGIN REPLICATION").await;
    let (database, owner) = (&rights.database, format!("{}_owner", rights.database.name()));
    database.execute(&format!("ALTER ROLE {owner} LOGIN; GRANT CREATE ON SCHEMA public TO {owner}")).await;
    database.execute(&format!("GRANT CREATE ON DATABASE {} TO {owner}", database.name())).await;
    for table in ["organizations", "service_integrations"] {
        database.execute(&format!("ALTER TABLE {table} OWNER TO {owner}")).await;
    }
    database.execute(&format!("CREATE SCHEMA notifications AUTHORIZATION {}", rights.role)).await;
    let url = database.cluster().url_of(&owner, database.name());
    rights.run(&["setup", "--admin-url", &url]).await.ok();
    database.execute(&format!("CREATE TABLE later (id int PRIMARY KEY); ALTER TABLE later OWNER TO {owner}")).await;
    database.execute("INSERT INTO service_integrations VALUES (2, 1, 'svi_2', 'later_v1', 'later')").await;
    rights.run(&["setup"]).await.ok();
    assert_eq!(database.published().await, "later stripe_charge_v1_fdcc");
    rights.remove().await;
}

#[tokio::test]
async fn a_schema_is_published_by_a_superuser_whom_the_hint_asks_for() {
    let rights = Rights::new("schema_rights", "LOGIN").await;
    let (database, role) = (&rights.database, &rights.role);
    if database.is_true("SELECT current_setting('server_version_num')::int < 150000").await {
        return rights.remove().await;
    }
    rights.setup_with_admin().await;
    let move_it = "CREATE SCHEMA acme; ALTER TABLE stripe_charge_v1_fdcc SET SCHEMA acme;
                   ALTER TABLE organizations ADD replication_schema text DEFAULT 'acme'";
    database.execute(move_it).await;
    let url = database.cluster().url_of(role, database.name());
    let config = Config::for_url(&url).set("source.slot", database.name()).set("source.publish", "schema");
    rights.webhookdb.reconfigure(&config);
    let statement = r#"ALTER PUBLICATION "webhookdb_notifications" ADD TABLES IN SCHEMA "acme""#;
    let stderr = rights.run(&["setup"]).await.fails_with(1);
    assert_eq!(statement_in(&stderr), statement, "{stderr}");
    let said = rights.setup_with_admin().await;
    assert!(said.contains("published schema acme"), "{said}");
    rights.run(&["setup"]).await.ok();
    rights.remove().await;
}

#[tokio::test]
async fn the_admin_urls_password_is_seen_nowhere() {
    let rights = Rights::new("secret_url", "LOGIN").await;
    let (port, name) = (rights.database.cluster().port(), rights.database.name());
    let urls = [
        (format!("postgres://nobody:hunter2@127.0.0.1:{port}/{name}"), 1),
        (format!("postgres://nobody:hunter2@127.0.0.1:1/{name}"), 1),
        ("postgres://nobody:hunter2@[nonsense".to_owned(), 2),
        ("hunter2".to_owned(), 2),
    ];
    for (url, status) in &urls {
        let output = rights.run(&["setup", "--admin-url", url]).await;
        assert_eq!(output.status, *status, "{output:#?}");
        assert!(!format!("{}{}", output.stdout, output.stderr).contains("hunter2"), "{output:#?}");
    }
    rights.remove().await;
}

#[tokio::test]
async fn a_transaction_pooler_is_recognized_and_refused_with_the_reason() {
    let site = Site::new("pooler").await;
    let pooler = PgBouncer::start(&site.database).await;
    let pooled = pooler.url(&site.database);
    let url: PostgresUrl = pooled.parse().expect("a URL");
    let Err(error) = ReplicationConnection::connect(&url).await else { panic!("replication by way of a pooler") };
    assert!(matches!(error, SourceError::NotReplicating(_)), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("pooler")), "{error:?}");
    let create =
        ["notification", "create", "--integration=stripe_charge_v1", "--secret", "", "--url", "https://127.0.0.1"];
    for key in ["catalog.url", "source.url"] {
        site.webhookdb.reconfigure(&site.config.clone().set(key, pooled.as_str()));
        for command in [&["setup"][..], &["serve"], &create] {
            let stderr = site.webhookdb.run(command).await.fails_with(1);
            assert!(stderr.contains("is a transaction pooler"), "{key}: {stderr}");
            assert!(stderr.contains("name Postgres itself in the url"), "{key}: {stderr}");
        }
    }
    site.webhookdb.reconfigure(&site.config);
    let list: Value = site.webhookdb.run(&["notification", "list", "--format", "json"]).await.json();
    assert_eq!(list, Value::Array(vec![]), "nothing was left behind");
}
