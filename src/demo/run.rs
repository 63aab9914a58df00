//! The demo's course, from an empty directory to the summary.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio_postgres::Client;

use super::error::DemoError;
use super::program::{Daemon, Program};
use super::receiver::{Delivery, Receiver};
use super::screen::{Screen, grouped, time};
use super::tally::Tally;
use super::{PostgresOptions, ThrowawayPostgres};

/// A notification that takes longer than this after the one before it is missing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nobody else is to reach the demo's receiver.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The database of the demo.
const DATABASE: &str = "postgres";

const TABLE: &str = "stripe_charge_v1_fdcc";

/// What the demo is to do.
#[derive(Clone, Copy, Debug)]
pub struct Demo {
    /// Rows of the backfill.
    pub rows: usize,
}

/// Runs the whole demo and prints it. Nothing is left behind, whichever way it ends.
///
/// # Errors
/// Where something can't be started, or a notification is missing or does not verify; Ctrl-C too.
pub async fn run(demo: Demo) -> Result<(), DemoError> {
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(DemoError::Interrupted),
        done = Box::pin(shown(demo)) => done,
    }
}

/// Only the receiver: shows what arrives at this address, verified with this key, until it is interrupted.
///
/// # Errors
/// Where the address cannot be listened on, or the key is none.
pub async fn receive(address: SocketAddr, key: &str) -> Result<(), DemoError> {
    let screen = Screen;
    let mut receiver = Receiver::start(address).await?;
    if !receiver.verify_with(key) {
        return Err(DemoError::Key);
    }
    screen.title(&format!("receiving at {}", receiver.url()));
    let mut terminated = signal(SignalKind::terminate()).map_err(DemoError::io("listen to SIGTERM"))?;
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = terminated.recv() => return Ok(()),
            delivery = receiver.next(PATIENCE) => if let Some(delivery) = delivery { screen.arrival(&delivery) },
        }
    }
}

async fn shown(demo: Demo) -> Result<(), DemoError> {
    let screen = Screen;
    screen.title("webhookdb demo: committed rows become signed notifications");
    let (server, client) = start_postgres(&screen).await?;
    let mut receiver = Receiver::start(ANY_PORT).await?;
    let program = configure(&server)?;
    set_up(&screen, &program, &client, &receiver).await?;
    let daemon = program.serve().await?;
    screen.command("serve", "");
    let mut tally = Tally::default();
    let shown = changes(demo, &screen, &client, &mut receiver, &mut tally).await;
    let log = daemon.log_tail();
    clean_up(daemon, server).await;
    shown?;
    let changes = 3 + demo.rows;
    screen.summary(changes, &tally);
    verdict(changes, &tally, log)
}

/// A missing notification or a bad signature is a failure, however good the rest looks.
fn verdict(changes: usize, tally: &Tally, log: String) -> Result<(), DemoError> {
    let missing = changes.saturating_sub(tally.notifications());
    match (missing, tally.unverified()) {
        (0, 0) => Ok(()),
        (0, count) => Err(DemoError::Unverified { count }),
        (missing, _) => Err(DemoError::Missing { missing, expected: changes, log }),
    }
}

async fn start_postgres(screen: &Screen) -> Result<(ThrowawayPostgres, Client), DemoError> {
    screen.step("A PostgreSQL server of its own");
    let began = Instant::now();
    let made = tokio::task::spawn_blocking(|| ThrowawayPostgres::create(PostgresOptions::default())).await;
    let server = made.map_err(|error| DemoError::io("start Postgres")(error.into()))??;
    let client = server.connect(DATABASE).await?;
    let version: String = client.query_one("SHOW server_version", &[]).await?.get(0);
    screen.note(&format!("PostgreSQL {version}, started in {}", time(began.elapsed())));
    Ok((server, client))
}

/// The config file stands in the server's directory, which goes with the server.
fn configure(server: &ThrowawayPostgres) -> Result<Program, DemoError> {
    let url = server.url(DATABASE);
    let text = format!(
        "[catalog]\nurl = \"{url}\"\n\n[[source]]\nname = \"main\"\nurl = \"{url}\"\n\n\
         [delivery]\nallow_networks = [\"127.0.0.0/8\"]\n\n[http]\nlisten = \"127.0.0.1:0\"\n"
    );
    let path = server.directory().join("config.toml");
    std::fs::write(&path, text).map_err(DemoError::io("write the config file"))?;
    Program::new(path)
}

/// What an operator types, with what is answered.
async fn set_up(screen: &Screen, program: &Program, client: &Client, receiver: &Receiver) -> Result<(), DemoError> {
    screen.step("An organization, an integration and a subscription");
    client.batch_execute(include_str!("../../sql/demo/charges.sql")).await?;
    program.run(&["setup"]).await?;
    screen.command("setup", "");
    let answer = program.run(&["org", "create", "Acme Corp"]).await?;
    screen.command("org create \"Acme Corp\"", &answer);
    let add = ["integrations", "add", "--org", "acme_corp", "--service", "stripe_charge_v1", "--table", TABLE];
    let answer = program.run(&add).await?;
    screen.command(&add.join(" "), &answer);
    let url = receiver.url();
    let secret = format!("whsec_{}", data_encoding::BASE64.encode(&rand::random::<[u8; 32]>()));
    // Not as an argument, which others on this machine can see.
    let file = program.directory().join("secret");
    std::fs::write(&file, secret).map_err(DemoError::io("write the secret's file"))?;
    let create = ["notification", "create", "--integration=stripe_charge_v1", "--url", &url, "--secret-file"];
    let answer = program.run(&[&create[..], &[&*file.to_string_lossy()]].concat()).await?;
    screen.command(&format!("{} secret", create.join(" ")), answer.lines().next().unwrap_or_default());
    let printed = answer.lines().find_map(|line| line.strip_prefix("Verify with: "));
    if !printed.is_some_and(|key| receiver.verify_with(key)) {
        return Err(DemoError::Command { arguments: create.join(" "), stderr: "no key to verify with".into() });
    }
    Ok(())
}

/// A webhook, an update, a delete, and a backfill; ends early where a notification does not come.
async fn changes(
    demo: Demo,
    screen: &Screen,
    client: &Client,
    receiver: &mut Receiver,
    tally: &mut Tally,
) -> Result<(), DemoError> {
    let upsert = include_str!("../../sql/demo/upsert.sql");
    screen.step("A webhook comes in: WebhookDB upserts the charge ch_demo");
    client.execute(upsert, &[&"ch_demo", &1_999_i32, &"succeeded"]).await?;
    let Some(delivery) = arrived(receiver, tally).await else { return Ok(()) };
    screen.whole(&delivery);
    screen.arrival(&delivery);

    screen.step("The charge is refunded: an update");
    client.execute(upsert, &[&"ch_demo", &0_i32, &"refunded"]).await?;
    let Some(delivery) = arrived(receiver, tally).await else { return Ok(()) };
    screen.arrival(&delivery);

    screen.step("The charge is removed: a delete");
    client.execute(&format!("DELETE FROM {TABLE} WHERE stripe_id = 'ch_demo'"), &[]).await?;
    let Some(delivery) = arrived(receiver, tally).await else { return Ok(()) };
    screen.arrival(&delivery);

    screen.step(&format!("A backfill: {} rows in one transaction", grouped(demo.rows)));
    backfill(demo, screen, client, receiver, tally).await
}

async fn backfill(
    demo: Demo,
    screen: &Screen,
    client: &Client,
    receiver: &mut Receiver,
    tally: &mut Tally,
) -> Result<(), DemoError> {
    let rows = i64::try_from(demo.rows).unwrap_or(i64::MAX);
    let began = Instant::now();
    client.execute(include_str!("../../sql/demo/backfill.sql"), &[&rows]).await?;
    let bar = screen.progress(demo.rows);
    let before = tally.notifications();
    while tally.notifications() < before + demo.rows {
        if arrived(receiver, tally).await.is_none() {
            break;
        }
        bar.set_position((tally.notifications() - before) as u64);
    }
    bar.finish_and_clear();
    let (arrived, took) = (tally.notifications() - before, began.elapsed());
    let rate = (arrived as f64 / took.as_secs_f64()) as usize;
    screen.note(&format!("{} notifications in {}, {} a second", grouped(arrived), time(took), grouped(rate)));
    Ok(())
}

/// The next notification, counted; none where none comes.
async fn arrived(receiver: &mut Receiver, tally: &mut Tally) -> Option<Delivery> {
    let delivery = receiver.next(PATIENCE).await?;
    tally.add(&delivery.webhook_id, delivery.verified, delivery.latency);
    Some(delivery)
}

async fn clean_up(daemon: Daemon, server: ThrowawayPostgres) {
    daemon.stop().await;
    // Takes a moment, and blocks; where the thread can't be had, dropping has happened all the same.
    let _ = tokio::task::spawn_blocking(move || drop(server)).await;
}
