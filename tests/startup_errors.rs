//! What can't work is said once and clearly, with its remedy: exit 1, and never a panic or a backtrace.

use std::time::Duration;

use webhookdb_notifications::demo::PostgresOptions;

use crate::support::{Config, Output, Site, TestDatabase, Webhookdb, own_cluster};

/// An error that won't pass by itself is found at once.
const AT_ONCE: Duration = Duration::from_secs(20);

/// One error and one hint that contains this remedy.
#[track_caller]
fn assert_error_with_hint(output: Output, what: &str, remedy: &str) {
    let stderr = output.fails_with(1);
    let is = |prefix: &'static str| move |line: &&str| line.to_lowercase().starts_with(prefix);
    let errors: Vec<_> = stderr.lines().filter(is("error")).collect();
    let hints: Vec<_> = stderr.lines().filter(is("hint")).collect();
    assert_eq!((errors.len(), hints.len()), (1, 1), "not one error with one hint:\n{stderr}");
    assert!(stderr.contains(what), "the error does not name {what}:\n{stderr}");
    assert!(hints[0].contains(remedy), "the hint does not say {remedy}:\n{stderr}");
}

async fn serve(webhookdb: &Webhookdb) -> Output {
    webhookdb.run_within(&["serve"], "", AT_ONCE).await
}

#[tokio::test]
async fn no_postgres_fails_every_command_but_serve_which_waits_and_says_so() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = nobody.local_addr().expect("an address").to_string();
    drop(nobody);
    let webhookdb = Webhookdb::new(&Config::for_url(&format!("postgres://whdb@{address}/webhookdb")));
    for command in [&["setup"][..], &["notification", "list"], &["org", "list"]] {
        let output = webhookdb.run(command).await;
        assert_error_with_hint(output, "127.0.0.1", "");
    }
    let daemon = webhookdb.serve_unready().await;
    let answer =
        daemon.wait_for_readyz("waiting", |status, answer| status == 503 && answer["status"] == "waiting").await;
    assert!(answer["reason"].is_string(), "{answer}");
    assert!(answer["hint"].is_string(), "{answer}");
    assert_eq!(daemon.get("/healthz").await.0, 200);
    assert_eq!(daemon.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn serve_goes_on_by_itself_when_postgres_comes() {
    use webhookdb_notifications::demo::StopMode;
    let server = own_cluster(PostgresOptions::default());
    let mut site = Site::on(&server, "comes_later").await;
    crate::support::cluster::stop(&server, StopMode::Fast).await;
    let daemon = site.webhookdb.serve_unready().await;
    daemon.wait_for_readyz("waiting", |status, answer| status == 503 && answer["status"] == "waiting").await;
    crate::support::cluster::start(&server).await;
    daemon.wait_until_ready().await;
    site.database.reconnect().await;
}

#[tokio::test]
async fn a_wrong_password() {
    let server = own_cluster(PostgresOptions::default().superuser_password("right"));
    let url = server.url_of("postgres:wrong", "postgres");
    let webhookdb = Webhookdb::new(&Config::for_url(&url));
    for output in [webhookdb.run(&["setup"]).await, serve(&webhookdb).await] {
        assert!(!output.stderr.contains("wrong"), "the password is shown:\n{}", output.stderr);
        assert_error_with_hint(output, "password", "");
    }
}

#[tokio::test]
async fn an_unknown_database() {
    let database = TestDatabase::create("unknown_database").await;
    let url = database.cluster().url("no_such_database");
    let webhookdb = Webhookdb::new(&Config::for_url(&url));
    assert_error_with_hint(webhookdb.run(&["setup"]).await, "no_such_database", "");
    assert_error_with_hint(serve(&webhookdb).await, "no_such_database", "");
}

#[tokio::test]
async fn a_wal_level_that_is_not_logical() {
    let server = own_cluster(PostgresOptions::default().set("wal_level", "replica"));
    let database = TestDatabase::create_on(&server, "wal_level").await;
    let output = Webhookdb::for_database(&database).run(&["setup"]).await;
    assert_error_with_hint(output, "wal_level", "wal_level = logical");
}

#[tokio::test]
async fn a_role_without_the_replication_right() {
    let database = TestDatabase::create("no_replication").await;
    let name = database.name();
    database.execute(&format!("CREATE ROLE {name} LOGIN; ALTER DATABASE {name} OWNER TO {name}")).await;
    let url = database.cluster().url_of(name, name);
    let webhookdb = Webhookdb::new(&Config::for_url(&url).set("source.slot", name));
    assert_error_with_hint(webhookdb.run(&["setup"]).await, "REPLICATION", "REPLICATION");
    database.execute(&format!("ALTER DATABASE {name} OWNER TO postgres; DROP OWNED BY {name}; DROP ROLE {name}")).await;
}

#[tokio::test]
async fn serve_before_setup() {
    let database = TestDatabase::create("before_setup").await;
    let webhookdb = Webhookdb::for_database(&database);
    let output = serve(&webhookdb).await;
    assert!(!output.stderr.contains("not listened to"), "{}", output.stderr);
    assert_error_with_hint(output, "", "webhookdb setup");
    let arguments = ["notification", "create", "--integration=x", "--secret=s", "--url=http://127.0.0.1/"];
    assert_error_with_hint(webhookdb.run(&arguments).await, "", "webhookdb setup");
}

#[tokio::test]
async fn a_slot_that_is_missing() {
    let site = Site::new("slot_missing").await;
    drop_slot(&site).await;
    assert_error_with_hint(serve(&site.webhookdb).await, site.database.name(), "setup");
}

#[tokio::test]
async fn a_slot_of_another_plugin() {
    let site = Site::new("slot_plugin").await;
    drop_slot(&site).await;
    let slot = site.database.name();
    let create = format!("SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')");
    site.database.query(&create, &[]).await;
    assert_error_with_hint(serve(&site.webhookdb).await, "test_decoding", "");
}

#[tokio::test]
async fn a_slot_of_another_database() {
    let site = Site::new("slot_database").await;
    let other = TestDatabase::create("slot_owner").await;
    drop_slot(&site).await;
    let slot = site.database.name();
    other.query(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"), &[]).await;
    assert_error_with_hint(serve(&site.webhookdb).await, other.name(), "");
}

#[tokio::test]
async fn a_publication_that_is_missing() {
    let site = Site::new("publication_missing").await;
    site.database.execute("DROP PUBLICATION webhookdb_notifications").await;
    assert_error_with_hint(serve(&site.webhookdb).await, "webhookdb_notifications", "setup");
}

#[tokio::test]
async fn a_publication_that_was_dropped_and_made_again() {
    let site = Site::new("publication_again").await;
    site.database.execute("DROP PUBLICATION webhookdb_notifications").await;
    site.database.execute("CREATE PUBLICATION webhookdb_notifications FOR TABLE stripe_charge_v1_fdcc").await;
    assert_error_with_hint(serve(&site.webhookdb).await, "webhookdb_notifications", "setup");
}

async fn drop_slot(site: &Site) {
    let slot = site.database.name();
    site.database.query(&format!("SELECT pg_drop_replication_slot('{slot}')"), &[]).await;
}

#[tokio::test]
async fn a_wrong_config_shows_every_problem_at_once_and_exits_2() {
    let webhookdb = Webhookdb::with_text("[catalog]\nurl = 5\nshade = \"x\"\n[delivery]\ntimeout = \"soon\"\n");
    for command in ["serve", "setup"] {
        let stderr = webhookdb.run(&[command]).await.fails_with(2);
        for key in ["url", "shade", "timeout"] {
            assert!(stderr.contains(key), "{key} is not named:\n{stderr}");
        }
    }
}

#[tokio::test]
async fn no_config_file_exits_2() {
    let webhookdb = Webhookdb::with_text("");
    std::fs::remove_file(webhookdb.config_path()).expect("the config file is removed");
    webhookdb.run(&["serve"]).await.fails_with(2);
}
