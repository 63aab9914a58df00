//! The harness itself: a test tool that lies proves nothing.
#![allow(clippy::disallowed_methods, reason = "it tries a bare client, and waits outside of a runtime")]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use webhookdb_notifications::demo::{PostgresOptions, StopMode, ThrowawayPostgres};

use crate::support::fixtures::{self, CHARGES, CUSTOMERS, EVENTS, ISSUES, MESSAGES};
use crate::support::reply::Gate;
use crate::support::{PATIENCE, Receiver, Reply, TestDatabase, cluster, own_cluster};

#[tokio::test]
async fn an_upsert_that_is_not_newer_changes_nothing() {
    let database = TestDatabase::create("fixtures").await;
    for table in [CHARGES, CUSTOMERS, ISSUES, MESSAGES, EVENTS] {
        database.execute(table.create).await;
    }
    database.execute(include_str!("fixtures/rows_of_each_table.sql")).await;
    fixtures::upsert_charge(database.client(), "ch_1", 100, 10).await;
    fixtures::upsert_charge(database.client(), "ch_1", 200, 10).await;
    assert_eq!(fixtures::to_jsonb(&database, &CHARGES, "ch_1").await["amount"], 100);
    fixtures::upsert_charge(database.client(), "ch_1", 200, 11).await;
    assert_eq!(fixtures::to_jsonb(&database, &CHARGES, "ch_1").await["amount"], 200);
}

#[tokio::test]
async fn backfill_and_copy_make_so_many_rows() {
    let database = TestDatabase::create("backfill").await;
    database.execute(CHARGES.create).await;
    fixtures::backfill_charges(database.client(), 1..=2_000).await;
    fixtures::copy_charges(database.client(), 2_001..=3_000).await;
    fixtures::backfill_charges(database.client(), 1..=10).await;
    database.wait_until("3,000 rows", "SELECT count(*) = 3000 FROM stripe_charge_v1_fdcc").await;
}

#[tokio::test]
async fn a_server_of_ones_own_restarts_on_its_port_and_recovers_from_a_crash() {
    let server = own_cluster(PostgresOptions::default());
    let mut database = TestDatabase::create_on(&server, "restart").await;
    database.execute("CREATE TABLE t (n integer); INSERT INTO t VALUES (1)").await;
    for mode in [StopMode::Fast, StopMode::Immediate] {
        cluster::restart(&server, mode).await;
        database.reconnect().await;
        database.execute("INSERT INTO t VALUES (2)").await;
    }
    server.crash();
    cluster::start(&server).await;
    database.reconnect().await;
    assert!(database.is_true("SELECT count(*) = 3 FROM t").await);
}

#[tokio::test]
async fn a_server_that_asks_for_passwords_refuses_without() {
    let server = own_cluster(PostgresOptions::default().superuser_password("s3cret"));
    assert!(server.connect("postgres").await.is_ok());
    let without = tokio_postgres::connect(&server.url_of("postgres", "postgres"), tokio_postgres::NoTls).await;
    assert!(without.is_err());
}

/// Runs only as the child of the next test.
#[test]
#[ignore = "the child process of the next test"]
fn child_that_owns_a_server() {
    let server = ThrowawayPostgres::create(PostgresOptions::default()).expect("a server");
    println!("directory={}", server.directory().display());
    std::thread::sleep(PATIENCE);
}

#[test]
fn nothing_of_a_server_remains_when_its_owner_is_killed() {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["harness::child_that_owns_a_server", "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program again");
    let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let directory = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("directory=")?.1.to_owned()));
    let directory = directory.expect("the server's directory");
    let postmaster = std::fs::read_to_string(format!("{directory}/data/postmaster.pid")).expect("the server runs");
    let postmaster: i32 = postmaster.lines().next().and_then(|pid| pid.parse().ok()).expect("a process id");
    child.kill().expect("the owner is killed");
    assert_eq!(child.wait().expect("it ends").signal(), Some(9));
    await_blocking("the directory is gone", || !std::path::Path::new(&directory).exists());
    await_blocking("the server is gone", || !is_running(postmaster));
}

/// A process that ended is gone, or a zombie where nobody reaps orphans.
fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    kill(Pid::from_raw(pid), None::<Signal>).is_ok() && !stat.contains(") Z ")
}

fn await_blocking(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_answers_as_it_is_told() {
    let receiver = Receiver::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    receiver.respond(move |request| match request.path.as_str() {
        "/500" => Reply::Status(500),
        "/reset" => Reply::Reset,
        "/gated" => held.then(Reply::Status(204)),
        _ => Reply::OK,
    });
    assert_eq!(post(&receiver, "/").await, Ok(200));
    assert_eq!(post(&receiver, "/500").await, Ok(500));
    assert!(post(&receiver, "/reset").await.is_err());
    let (answer, ()) = tokio::join!(post(&receiver, "/gated"), async { gate.open() });
    assert_eq!(answer, Ok(204));
    assert_eq!(receiver.count(), 4);
    assert!(receiver.received().iter().all(|request| request.verified.is_err()));
}

async fn post(receiver: &Receiver, path: &str) -> Result<u16, String> {
    use hyper_util::client::legacy::Client;
    let client = Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let body = http_body_util::Full::new(bytes::Bytes::from_static(b"{}"));
    let request = hyper::Request::post(receiver.url(path)).body(body).expect("a request");
    client.request(request).await.map(|response| response.status().as_u16()).map_err(|error| format!("{error:?}"))
}
