//! The daemons that serve now, as the command line sees them: who they are, and what they have loaded.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::CatalogError;

/// A lease that was not renewed for so long, by the database's clock, is not live. A daemon starts
/// no attempt once its own renewal is older than this: `delete` and `pause` count on it.
pub const LIVE_FOR: Duration = Duration::from_secs(3);
/// How often a wait looks again. A daemon loads a new revision within milliseconds of being told.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Who serves a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The source.
    pub source: String,
    /// Random, new with each process.
    pub daemon: String,
    /// The source's epoch that the daemon holds.
    pub epoch: i64,
    /// Where it runs.
    pub host: String,
    /// Its process there.
    pub pid: i32,
    /// Since when it serves.
    pub since: SystemTime,
    /// Whether it was renewed lately and is not released.
    pub live: bool,
    /// The revision of the catalog that it has loaded.
    pub revision: i64,
    /// All log that was there then is read.
    pub caught_up_at: Option<SystemTime>,
    /// Why nothing is read although the source streams.
    pub held_back: Option<String>,
    /// How many subscriptions it sends nothing to, since it has not the key of their secrets.
    pub sealed_secrets: i64,
}

impl Lease {
    /// What to do about a daemon that can't read secrets which the config's keys open.
    pub const OTHER_KEYS_HINT: &str = "restart it with this config";

    /// Says that the daemon can't read secrets.
    #[must_use]
    pub fn what_it_cannot_read(&self) -> String {
        let Self { host, pid, sealed_secrets: count, .. } = self;
        let noun = if *count == 1 { "notification" } else { "notifications" };
        format!(
            "the daemon on {host} (pid {pid}) can't read the secrets of {count} {noun}: everything is kept for them, and \
             nothing is sent"
        )
    }
}

/// Every lease, live or not.
///
/// # Errors
/// Where the database fails or the catalog is not set up.
pub async fn list(client: &Client) -> Result<Vec<Lease>, CatalogError> {
    let statement = include_str!("../../sql/catalog/leases.sql");
    let rows = client.query(statement, &[&LIVE_FOR.as_secs_f64()]).await?;
    rows.iter()
        .map(|row| {
            Ok(Lease {
                source: row.try_get("source")?,
                daemon: row.try_get("daemon")?,
                epoch: row.try_get("epoch")?,
                host: row.try_get("host")?,
                pid: row.try_get("pid")?,
                since: row.try_get("since")?,
                live: row.try_get("live")?,
                revision: row.try_get("revision")?,
                caught_up_at: row.try_get("caught_up_at")?,
                held_back: row.try_get("held_back")?,
                sealed_secrets: row.try_get("sealed_secrets")?,
            })
        })
        .collect()
}

/// The live ones.
///
/// # Errors
/// Where the database fails or the catalog is not set up.
pub async fn live(client: &Client) -> Result<Vec<Lease>, CatalogError> {
    let mut leases = list(client).await?;
    leases.retain(|lease| lease.live);
    Ok(leases)
}

/// Waits until every live daemon has loaded `revision`; with no live daemon that is so at once. Returns whether it came to
/// be within `bound`.
///
/// # Errors
/// Where the database fails.
pub async fn wait_until_loaded(client: &Client, revision: i64, bound: Duration) -> Result<bool, CatalogError> {
    let begun = Instant::now();
    loop {
        // Where a crash of the database has emptied the table, a daemon may still believe in what it held. Looked at first: a
        // lease that comes in between is seen by the second look.
        let unknown = begun.elapsed() < LIVE_FOR && some_are_unknown(client).await?;
        if !unknown && live(client).await?.iter().all(|lease| lease.revision >= revision) {
            return Ok(true);
        }
        if begun.elapsed() >= bound {
            return Ok(false);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Whether a source that was served once has no lease at all, not even one that was released.
async fn some_are_unknown(client: &Client) -> Result<bool, CatalogError> {
    let statement = "SELECT EXISTS (SELECT FROM notifications.sources s WHERE s.epoch > 0
        AND NOT EXISTS (SELECT FROM notifications.leases l WHERE l.source = s.name))";
    Ok(client.query_one(statement, &[]).await?.try_get(0)?)
}
