//! The replication connection against a real server: what it reads, what it reports, and how it ends.

use std::time::{Duration, Instant};

use bytes::Bytes;
use webhookdb_notifications::config::PostgresUrl;
use webhookdb_notifications::demo::{PostgresOptions, StopMode};
use webhookdb_notifications::model::Lsn;
use webhookdb_notifications::postgres;
use webhookdb_notifications::source::{
    Feedback, Frame, ReplicationConnection, ReplicationStream, Sentinel, ServerFacts, SlotState, SourceError,
    check_not_synchronous, slot,
};

use crate::support::{PATIENCE, TestDatabase, cluster, own_cluster};

/// What a server takes to stop that nobody holds up. One that waits for its walsender's client stops after a minute at the
/// earliest.
const PROMPTLY: Duration = Duration::from_secs(20);

fn url_of(database: &TestDatabase) -> PostgresUrl {
    database.url().parse().expect("a url")
}

/// A table `t`, published, and a slot named as the database.
async fn prepare(database: &TestDatabase) {
    database.execute("CREATE TABLE t (id bigint PRIMARY KEY, note text)").await;
    database.execute("CREATE PUBLICATION p FOR TABLE t").await;
    slot::create(database.client(), database.name(), false, PATIENCE).await.expect("the slot is made");
}

async fn start(database: &TestDatabase) -> (ReplicationStream, Feedback) {
    let connection = ReplicationConnection::connect(&url_of(database)).await.expect("connected");
    connection.start(database.name(), "p").await.expect("streaming")
}

async fn next(stream: &mut ReplicationStream) -> Frame {
    let frame = tokio::time::timeout(PATIENCE, stream.next()).await.expect("a frame in time");
    frame.expect("a frame")
}

/// The next pgoutput message of this kind.
async fn next_message(stream: &mut ReplicationStream, kind: u8) -> Bytes {
    loop {
        match next(stream).await {
            Frame::Data { payload, .. } if payload.first() == Some(&kind) => return payload,
            _ => {}
        }
    }
}

/// The end of the next transaction, from its COMMIT message.
async fn next_commit(stream: &mut ReplicationStream) -> Lsn {
    let commit = next_message(stream, b'C').await;
    Lsn::new(u64::from_be_bytes(commit[10..18].try_into().expect("eight bytes")))
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test]
async fn the_role_and_the_database_have_no_say_in_the_text_of_values() {
    let database = TestDatabase::create("pinned_settings").await;
    let name = database.name();
    database.execute(&format!("CREATE ROLE {name} LOGIN SUPERUSER")).await;
    for target in [format!("ROLE {name}"), format!("DATABASE {name}"), format!("ROLE {name} IN DATABASE {name}")] {
        for setting in [
            "DateStyle = 'German'",
            "IntervalStyle = 'sql_standard'",
            "TimeZone = 'Asia/Tokyo'",
            "bytea_output = 'escape'",
            "extra_float_digits = -10",
            "search_path = 'public'",
            "quote_all_identifiers = on",
            "client_encoding = 'LATIN1'",
        ] {
            database.execute(&format!("ALTER {target} SET {setting}")).await;
        }
    }
    database.execute("CREATE TABLE v (at timestamptz, gap interval, raw bytea, number float8, class regclass)").await;
    database.execute("CREATE PUBLICATION p FOR TABLE v").await;
    slot::create(database.client(), name, false, PATIENCE).await.expect("the slot is made");
    let url = database.cluster().url_of(name, name).parse().expect("a url");
    let connection = ReplicationConnection::connect(&url).await.expect("connected, and the settings are checked");
    let (mut stream, _feedback) = connection.start(name, "p").await.expect("streaming");
    let values = "'2026-01-01 21:34:05+00', '1 day 2 hours', '\\x00ff', 0.1::float8 + 0.2::float8, 'public.v'";
    database.execute(&format!("INSERT INTO v VALUES ({values})")).await;
    let insert = next_message(&mut stream, b'I').await;
    for text in ["2026-01-01 21:34:05+00", "1 day 02:00:00", "\\x00ff", "0.30000000000000004", "public.v"] {
        assert!(contains(&insert, text), "{text} is not in {insert:?}");
    }
    drop(stream);
    database.execute(&format!("DROP OWNED BY {name}; ALTER ROLE {name} NOLOGIN")).await;
}

#[tokio::test]
async fn the_servers_identity_is_the_same_by_both_connections() {
    let database = TestDatabase::create("identity").await;
    let mut connection = ReplicationConnection::connect(&url_of(&database)).await.expect("connected");
    let identity = connection.identify_system().await.expect("an identity");
    let facts = ServerFacts::read(database.client()).await.expect("facts");
    assert_eq!(facts.system_identifier, Some(identity.system_identifier));
    assert_eq!((identity.timeline, identity.database.as_str()), (1, database.name()));
    assert_eq!((facts.wal_level.as_str(), facts.server_encoding.as_str()), ("logical", "UTF8"));
    assert!(facts.role_can_replicate() && !facts.in_recovery && facts.major_version() >= 14);
    let error = connection.query("SELECT 1/0").await.expect_err("a division by zero");
    assert_eq!(error.sqlstate().map(|code| code.code()), Some("22012"));
    let rows = connection.query("SELECT 'a', NULL; SELECT 'b'").await.expect("an error ends one query only");
    assert_eq!(rows, [vec![Some("a".to_owned()), None], vec![Some("b".to_owned())]]);
}

#[tokio::test]
async fn a_plain_role_may_read_the_servers_facts() {
    let database = TestDatabase::create("facts").await;
    let name = database.name();
    database.execute(&format!("CREATE ROLE {name} LOGIN")).await;
    let url = database.cluster().url_of(name, name).parse().expect("a url");
    let client = postgres::connect(&url, "test").await.expect("connected");
    let facts = ServerFacts::read(&client).await.expect("facts");
    assert_eq!((facts.role.as_str(), facts.role_can_replicate()), (name, false));
    let error = slot::create(&client, "never", false, PATIENCE).await.expect_err("no right");
    assert!(matches!(error, SourceError::NoReplicationRight { .. }), "{error:?}");
    drop(client);
    database.execute(&format!("ALTER ROLE {name} NOLOGIN")).await;
}

#[tokio::test]
async fn what_is_acknowledged_reaches_the_slot_soon_and_at_the_close() {
    let database = TestDatabase::create("acknowledged").await;
    prepare(&database).await;
    let (mut stream, feedback) = start(&database).await;
    database.execute("INSERT INTO t VALUES (1)").await;
    let first = next_commit(&mut stream).await;
    feedback.acknowledge(first);
    database.wait_for_slot_past(&first.to_string()).await;
    assert!(
        !database
            .is_true(&format!(
                "SELECT confirmed_flush_lsn > '{first}' FROM pg_replication_slots WHERE slot_name = '{}'",
                database.name()
            ))
            .await
    );
    database.execute("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(2, 3000) n").await;
    let second = next_commit(&mut stream).await;
    // Left unread, and more than the socket's buffers hold: the last status update must get through all the same.
    database.execute("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(3001, 20000) n").await;
    drop(stream);
    feedback.acknowledge(second);
    let begun = Instant::now();
    feedback.close().await;
    assert!(begun.elapsed() < PROMPTLY);
    database.wait_for_slot_past(&second.to_string()).await;
    database
        .wait_until(
            "the slot is free",
            &format!("SELECT active_pid IS NULL FROM pg_replication_slots WHERE slot_name = '{}'", database.name()),
        )
        .await;
    // Nothing before the acknowledged position comes again, and everything after it does.
    let (mut stream, _feedback) = start(&database).await;
    assert!(next_commit(&mut stream).await > second);
}

#[tokio::test]
async fn nobody_reads_for_five_times_the_servers_patience_and_it_stays_the_same_walsender() {
    let database = TestDatabase::create("patience").await;
    database.execute(&format!("ALTER DATABASE {} SET wal_sender_timeout = '1s'", database.name())).await;
    prepare(&database).await;
    let (mut stream, _feedback) = start(&database).await;
    database.execute("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 30000) n").await;
    next_message(&mut stream, b'B').await;
    let pid = stream.backend_pid();
    let reported = format!("SELECT reply_time > now() FROM pg_stat_replication WHERE pid = {pid}").replace(
        "now()",
        &format!("'{}'::timestamptz + interval '5 s'", database.text("SELECT now()::text").await.expect("a time")),
    );
    database.wait_until("status updates go on while nothing is read", &reported).await;
    for _ in 0..30_000 {
        next_message(&mut stream, b'I').await;
    }
    next_commit(&mut stream).await;
}

#[tokio::test]
async fn a_large_foreign_message_is_dropped_and_a_large_row_arrives_whole() {
    let database = TestDatabase::create("large").await;
    prepare(&database).await;
    let (mut stream, _feedback) = start(&database).await;
    database.execute("SELECT pg_logical_emit_message(true, 'stranger', repeat('m', 30000000))").await;
    database.execute("SELECT pg_logical_emit_message(true, 'webhookdb.notifications', 'short')").await;
    database.execute("INSERT INTO t VALUES (1, repeat('r', 30000000))").await;
    let skipped = loop {
        if let Frame::Skipped { bytes, wal_start } = next(&mut stream).await {
            break (bytes, wal_start);
        }
    };
    assert!(skipped.0 > 30_000_000 && skipped.1 > Lsn::ZERO);
    assert!(contains(&next_message(&mut stream, b'M').await, "short"));
    let row = next_message(&mut stream, b'I').await;
    assert!(row.len() > 30_000_000 && row.ends_with(b"rrr"));
    next_commit(&mut stream).await;
}

#[tokio::test]
async fn a_slot_that_cannot_be_read_from_is_told_exactly() {
    let database = TestDatabase::create("slots").await;
    let other = TestDatabase::create("slots_other").await;
    prepare(&database).await;
    let name = database.name();
    database.execute(&format!("SELECT pg_create_physical_replication_slot('{name}_physical', true)")).await;
    database.execute(&format!("SELECT pg_create_logical_replication_slot('{name}_test', 'test_decoding')")).await;
    let (stream, _feedback) = start(&database).await;
    let why = async |database: &TestDatabase, slot: &str| {
        let connection = ReplicationConnection::connect(&url_of(database)).await.expect("connected");
        let error = connection.start(slot, "p").await.err().expect("refused");
        assert!(error.hint().is_some(), "{error:?}");
        error
    };
    assert!(matches!(why(&database, "nothing").await, SourceError::SlotMissing { .. }));
    assert!(matches!(why(&database, &format!("{name}_physical")).await, SourceError::SlotPhysical { .. }));
    assert!(matches!(why(&database, &format!("{name}_test")).await, SourceError::SlotPlugin { .. }));
    assert!(matches!(why(&other, name).await, SourceError::SlotDatabase { .. }));
    let error = why(&database, name).await;
    let holder = format!("PID {} (webhookdb-notifications from 127.0.0.1)", stream.backend_pid());
    assert!(matches!(&error, SourceError::SlotActive { holder: found, .. } if *found == holder), "{error:?}");
    assert!(error.is_retryable());
    let error = slot::drop(database.client(), name).await.expect_err("in use");
    assert!(matches!(error, SourceError::SlotActive { .. }), "{error:?}");
    assert!(matches!(
        slot::create(database.client(), name, false, PATIENCE).await,
        Err(SourceError::SlotExists { .. })
    ));
    let state = SlotState::read(database.client(), name).await.expect("a state");
    assert_eq!((state.active_pid, state.database.as_deref()), (Some(stream.backend_pid()), Some(name)));
    assert!(state.check_kind(name).is_ok() && state.retained_bytes.is_some() && state.current_lsn.is_some());
    slot::drop(database.client(), &format!("{name}_physical")).await.expect("dropped");
}

#[tokio::test]
async fn a_missing_publication_is_told_at_the_first_change() {
    let database = TestDatabase::create("unpublished").await;
    prepare(&database).await;
    // From version 18 on a warning is all that tells; nobody's settings may hide it.
    database.execute(&format!("ALTER DATABASE {} SET client_min_messages = error", database.name())).await;
    let connection = ReplicationConnection::connect(&url_of(&database)).await.expect("connected");
    let (mut stream, _feedback) = connection.start(database.name(), "nothing").await.expect("streaming");
    database.execute("INSERT INTO t VALUES (1)").await;
    let error = loop {
        match tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SourceError::PublicationMissing { .. }) && !error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn making_a_slot_waits_for_open_transactions_no_longer_than_asked() {
    let database = TestDatabase::create("waits").await;
    let writer = database.connect().await;
    writer.batch_execute("CREATE TABLE w (n integer); BEGIN; INSERT INTO w VALUES (1)").await.expect("open");
    let error =
        slot::create(database.client(), database.name(), false, Duration::from_millis(300)).await.expect_err("waits");
    assert!(matches!(error, SourceError::SlotWaits { .. }), "{error:?}");
    assert_eq!(SlotState::find(database.client(), database.name()).await.expect("asked"), None);
    writer.batch_execute("COMMIT").await.expect("closed");
    slot::create(database.client(), database.name(), false, PATIENCE).await.expect("made");
}

#[tokio::test]
async fn a_server_without_room_or_without_logical_decoding_is_told_with_its_remedy() {
    let small = own_cluster(PostgresOptions::default().set("max_replication_slots", "1").set("max_wal_senders", "1"));
    let database = TestDatabase::create_on(&small, "small").await;
    prepare(&database).await;
    let error = slot::create(database.client(), "another", false, PATIENCE).await.expect_err("no slot free");
    assert!(matches!(error, SourceError::NoFreeSlot(_)), "{error:?}");
    let (_stream, _feedback) = start(&database).await;
    let error = ReplicationConnection::connect(&url_of(&database)).await.err().expect("no walsender free");
    assert!(matches!(error, SourceError::NoFreeWalsender(_)), "{error:?}");

    let replica = own_cluster(PostgresOptions::default().set("wal_level", "replica"));
    let database = TestDatabase::create_on(&replica, "replica").await;
    let error = slot::create(database.client(), "never", false, PATIENCE).await.expect_err("not logical");
    assert!(matches!(&error, SourceError::WalLevel { level } if level == "replica"), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("ALTER SYSTEM SET wal_level")), "{error:?}");
    let connection = ReplicationConnection::connect(&url_of(&database)).await.expect("connected");
    let error = connection.start("never", "p").await.err().expect("refused");
    assert!(matches!(error, SourceError::WalLevel { .. }), "{error:?}");
}

#[tokio::test]
async fn a_slot_that_lost_its_log_is_told_with_the_reason() {
    let settings = PostgresOptions::default().set("max_slot_wal_keep_size", "1MB").set("max_wal_size", "32MB");
    let server = own_cluster(settings.set("min_wal_size", "32MB"));
    let database = TestDatabase::create_on(&server, "lost").await;
    prepare(&database).await;
    for _ in 0..8 {
        database.execute("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 12000000))").await;
        database.execute("CHECKPOINT").await;
    }
    let state = SlotState::read(database.client(), database.name()).await.expect("a state");
    let error = state.check(database.name()).expect_err("lost");
    assert!(matches!(error, SourceError::SlotInvalidated { .. }) && !error.is_retryable(), "{error:?}");
    let connection = ReplicationConnection::connect(&url_of(&database)).await.expect("connected");
    let error = connection.start(database.name(), "p").await.err().expect("refused");
    assert!(error.hint().is_some_and(|hint| hint.contains("--accept-gap")), "{error:?}");
}

#[tokio::test]
async fn a_fast_shutdown_shows_itself_to_who_reads_and_to_who_does_not() {
    for reading in [true, false] {
        let server = own_cluster(PostgresOptions::default());
        let database = TestDatabase::create_on(&server, "shutdown").await;
        prepare(&database).await;
        let (mut stream, feedback) = start(&database).await;
        let sentinel = Sentinel::connect(&url_of(&database)).await.expect("connected");
        database.execute("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n").await;
        next_message(&mut stream, b'I').await;
        let begun = Instant::now();
        let daemon = async {
            if reading {
                // Everything is read, nothing is acknowledged: the server waits for us.
                while let Ok(_frame) = stream.next().await {}
            } else {
                sentinel.shutting_down().await;
            }
            drop((stream, feedback));
        };
        tokio::join!(daemon, cluster::stop(&server, StopMode::Fast));
        assert!(begun.elapsed() < PROMPTLY, "reading: {reading}, {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_server_that_waits_for_us_says_so_by_asking_again_and_again() {
    let server = own_cluster(PostgresOptions::default());
    let database = TestDatabase::create_on(&server, "asking").await;
    prepare(&database).await;
    let (mut stream, feedback) = start(&database).await;
    database.execute("INSERT INTO t VALUES (1)").await;
    let daemon = async {
        // Acknowledged, so that the server takes our flush position for what it is, but not to the end.
        feedback.acknowledge(Lsn::new(next_commit(&mut stream).await.get() - 1));
        let error = loop {
            if let Err(error) = stream.next().await {
                break error;
            }
        };
        drop((stream, feedback));
        error
    };
    let (error, ()) = tokio::join!(daemon, cluster::stop(&server, StopMode::Fast));
    assert!(matches!(error, SourceError::ShuttingDown), "{error:?}");
}

#[tokio::test]
async fn a_sentinel_that_was_cut_alone_comes_back() {
    let database = TestDatabase::create("sentinel").await;
    let sentinel = Sentinel::connect(&url_of(&database)).await.expect("connected");
    let pid = async |sentinel: &Sentinel| -> Option<i32> {
        let row = sentinel.client()?.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await;
        row.ok().map(|row| row.get(0))
    };
    let first = pid(&sentinel).await.expect("a session");
    assert_eq!(database.terminate_sessions_of_the_program().await, 1);
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the sentinel does not come back");
        match pid(&sentinel).await {
            Some(second) if second != first => break,
            _ => tokio::task::yield_now().await,
        }
    }
    let shutting_down = tokio::time::timeout(Duration::from_millis(100), sentinel.shutting_down()).await;
    assert!(shutting_down.is_err(), "one session was ended, not the server");
}

#[tokio::test]
async fn a_walsender_that_is_ended_ends_the_stream_and_the_feedback() {
    let database = TestDatabase::create("ended").await;
    prepare(&database).await;
    let (mut stream, feedback) = start(&database).await;
    assert!(database.terminate_walsender().await);
    let error = loop {
        match tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.sqlstate().map(|code| code.code()), Some("57P01"), "{error:?}");
    assert!(error.is_retryable());
    // Nobody reads any more: it is the writing that notices.
    for lsn in 1.. {
        feedback.acknowledge(Lsn::new(lsn));
        if tokio::time::timeout(Duration::from_millis(100), feedback.lost()).await.is_ok() {
            break;
        }
        assert!(lsn < 100, "the loss goes unnoticed");
    }
}

#[tokio::test]
async fn a_server_that_would_wait_for_us_at_every_commit_is_left() {
    let server = own_cluster(PostgresOptions::default());
    let database = TestDatabase::create_on(&server, "synchronous").await;
    prepare(&database).await;
    let (mut stream, feedback) = start(&database).await;
    let watcher = database.connect().await;
    database.execute("INSERT INTO t VALUES (1)").await;
    feedback.acknowledge(next_commit(&mut stream).await);
    assert!(check_not_synchronous(&watcher).await.is_ok());
    database.execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    database.execute("SELECT pg_reload_conf()").await;
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        match check_not_synchronous(&watcher).await {
            Ok(_) => assert!(Instant::now() < deadline, "not noticed"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SourceError::SynchronousStandby { .. }) && !error.is_retryable(), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("synchronous_standby_names")), "{error:?}");
    // Else the end of the test, which drops the database, would wait for a standby that is gone.
    database.execute("ALTER SYSTEM RESET synchronous_standby_names").await;
    database.execute("SELECT pg_reload_conf()").await;
}

#[tokio::test]
async fn a_promoted_server_tells_where_its_timeline_began() {
    let server = own_cluster(PostgresOptions::default().set("restore_command", "false"));
    let mut database = TestDatabase::create_on(&server, "promoted").await;
    let before: Lsn = database.current_lsn().await.parse().expect("an LSN");
    cluster::stop(&server, StopMode::Fast).await;
    std::fs::write(server.data_directory().join("recovery.signal"), "").expect("written");
    cluster::start(&server).await;
    database.reconnect().await;
    database.wait_until("the server is promoted", "SELECT NOT pg_is_in_recovery()").await;
    let mut connection = ReplicationConnection::connect(&url_of(&database)).await.expect("connected");
    let identity = connection.identify_system().await.expect("an identity");
    assert_eq!(identity.timeline, 2);
    let history = connection.timeline_history(2).await.expect("a history");
    let switch = history.switch_point_of(1).expect("timeline 1 was left");
    assert!(before <= switch && switch <= identity.flush_lsn);
    assert_eq!((history.owner_of(before), history.owner_of(identity.flush_lsn)), (1, 2));
    assert_eq!(connection.timeline_history(1).await.expect("no question").owner_of(before), 1);
}
