//! Every way to reach a server, for SQL and for replication alike, against a real one with TLS.

use webhookdb_notifications::postgres::{self, PostgresError};
use webhookdb_notifications::source::SourceError;

use crate::support::logins::{by_replication, by_sql, parse, refusal, uses_tls};
use crate::support::secured::Secured;
use crate::support::shared_cluster;

#[tokio::test]
async fn every_sslmode_means_what_it_means_to_libpq() {
    let server = Secured::shared().await;
    let root = format!("sslrootcert={}", server.file("root.pem").display());
    let with_root = |mode: &str| server.url("postgres", &format!("sslmode={mode}&{root}"));
    assert!(!uses_tls(&server.url("postgres", "sslmode=disable")).await);
    assert!(uses_tls(&server.url("postgres", "sslmode=prefer")).await);
    assert!(uses_tls(&server.url("postgres", "sslmode=require")).await);
    assert!(uses_tls(&with_root("require")).await);
    assert!(uses_tls(&with_root("verify-ca")).await, "the chain is right, whatever the host is called");
    assert!(uses_tls(&server.url_at("localhost", "postgres", &format!("sslmode=verify-full&{root}"))).await);
    let (error, hint) = refusal(&with_root("verify-full")).await;
    assert!(matches!(error, PostgresError::Tls { .. }), "{error:?}");
    assert!(hint.contains("host name"), "{hint}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused_wherever_the_chain_counts() {
    let server = Secured::shared().await;
    let other = format!("sslrootcert={}", server.file("other.pem").display());
    for mode in ["require", "verify-ca", "verify-full"] {
        let (error, hint) = refusal(&server.url_at("localhost", "postgres", &format!("sslmode={mode}&{other}"))).await;
        assert!(matches!(error, PostgresError::Tls { .. }), "{error:?}");
        assert!(hint.contains("sslrootcert"), "{hint}");
    }
    // Without sslrootcert the system's roots count, and these do not know ours.
    let (error, _) = refusal(&server.url_at("localhost", "postgres", "sslmode=verify-full&sslrootcert=system")).await;
    assert!(matches!(error, PostgresError::Tls { .. } | PostgresError::SystemRoots(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_shows_the_very_certificate_that_is_trusted_is_trusted() {
    let server = Secured::shared().await;
    let own = format!("sslrootcert={}", server.file("server.pem").display());
    assert!(uses_tls(&server.url("postgres", &format!("sslmode=verify-ca&{own}"))).await);
    assert!(uses_tls(&server.url_at("localhost", "postgres", &format!("sslmode=verify-full&{own}"))).await);
    let (_, hint) = refusal(&server.url("postgres", &format!("sslmode=verify-full&{own}"))).await;
    assert!(hint.contains("host name"), "{hint}");
}

#[tokio::test]
async fn without_tls_on_the_server_prefer_goes_plain_and_require_says_so() {
    let server = shared_cluster();
    assert!(!uses_tls(&format!("{}?sslmode=prefer", server.url("postgres"))).await);
    let (error, hint) = refusal(&format!("{}?sslmode=require", server.url("postgres"))).await;
    assert!(matches!(error, PostgresError::TlsNotOffered { .. }), "{error:?}");
    assert!(hint.contains("ssl = on"), "{hint}");
}

#[tokio::test]
async fn every_password_method_logs_in_with_and_without_tls() {
    let server = Secured::shared().await;
    for role in ["clear", "hashed", "scram"] {
        assert!(!uses_tls(&server.url(role, "sslmode=disable")).await, "{role}");
        assert!(uses_tls(&server.url(role, "sslmode=require")).await, "{role}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let server = Secured::shared().await;
    let parameters = format!("sslmode=require&{}", server.certificate("client"));
    assert!(uses_tls(&server.url("shown", &parameters)).await);
    let (_, hint) = refusal(&server.url("shown", "sslmode=require")).await;
    assert!(hint.contains("pg_hba.conf"), "{hint}");
}

#[tokio::test]
async fn by_the_unix_socket_there_is_no_tls() {
    let server = Secured::shared().await;
    assert!(!uses_tls(&server.url_of_socket("postgres", "sslmode=require")).await);
}

#[tokio::test]
async fn what_is_wrong_with_a_login_is_told_with_its_remedy() {
    let server = Secured::shared().await;
    for role in ["clear", "hashed", "scram"] {
        let url = server.url_with(role, Some("wrong"), "127.0.0.1", "");
        let (error, hint) = refusal(&url).await;
        assert_eq!(error.sqlstate().map(|code| code.code()), Some("28P01"), "{error:?}");
        assert!(hint.contains("password"), "{hint}");
        let (error, hint) = refusal(&server.url_with(role, None, "127.0.0.1", "")).await;
        assert!(matches!(error, PostgresError::Credentials(_)), "{error:?}");
        assert!(hint.contains("password"), "{hint}");
    }
    let (error, hint) = refusal(&server.url("nowhere", "")).await;
    assert_eq!(error.sqlstate().map(|code| code.code()), Some("28000"), "{error:?}");
    assert!(hint.contains("pg_hba.conf"), "{hint}");
    let (error, hint) = refusal(&server.url("postgres", "").replace("/postgres?", "/nothing?")).await;
    assert_eq!(error.sqlstate().map(|code| code.code()), Some("3D000"), "{error:?}");
    assert!(hint.contains("database"), "{hint}");
}

#[tokio::test]
async fn a_role_without_replication_may_connect_but_not_replicate() {
    let server = Secured::shared().await;
    assert!(by_sql(&server.url("mortal", "")).await.is_ok());
    let error = by_replication(&server.url("mortal", "")).await.expect_err("no right");
    assert!(matches!(error, SourceError::NoReplicationRight { .. }), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("ALTER ROLE \"mortal\" REPLICATION")), "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn where_nobody_listens_is_told_and_may_pass() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let url = format!("postgres://postgres@{address}/postgres?connect_timeout=1");
    // The kernel accepts, and nobody ever answers: the whole login is bounded.
    let error = by_sql(&url).await.expect_err("nobody answers");
    assert!(matches!(error, PostgresError::Timeout { .. }) && error.is_retryable(), "{error:?}");
    let error = by_replication(&url).await.expect_err("nobody answers");
    assert!(matches!(error, SourceError::Postgres(PostgresError::Timeout { .. })), "{error:?}");
    drop(listener);
    let error = by_sql(&url).await.expect_err("nobody listens");
    assert!(matches!(error, PostgresError::Unreachable { .. }) && error.is_retryable(), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains(&address.to_string())), "{error:?}");
}

#[tokio::test]
async fn notifications_are_handed_on_and_the_client_knows_when_its_connection_ends() {
    let url = parse(&shared_cluster().url("postgres"));
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let client = postgres::connect_listening(&url, "test", sender).await.expect("connected");
    client.batch_execute("LISTEN here; NOTIFY here, 'one'").await.expect("heard");
    assert_eq!(receiver.recv().await.expect("a notification").payload(), "one");
    let error = client.query("SELECT pg_terminate_backend(pg_backend_pid())", &[]).await.expect_err("cut");
    assert!(PostgresError::from(error).is_retryable());
    assert!(receiver.recv().await.is_none(), "the driver has ended");
    assert!(client.is_closed());
}
