//! A daemon that hangs holds the slot for as long as the server keeps its connection, which may be for ever. Its lease runs
//! out: then a standby ends that connection, and takes over.

use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tracing::warn;

use super::PipelineError;
use super::source_task::SourceContext;
use crate::source::APPLICATION_NAME;

/// A lease that was not renewed for so long is that of a daemon that hangs; one that is starting renews it sooner. Looked at
/// as often.
const STALE: Duration = Duration::from_secs(10);

/// Who was seen holding the slot.
#[derive(Default)]
pub(super) struct StaleHolder {
    seen: Option<Seen>,
}

struct Seen {
    pid: i32,
    look_at: Instant,
}

impl StaleHolder {
    /// Ends the walsender `pid`, where it has been there for long and its daemon's lease has run out for as long. `client` is
    /// connected to the source.
    pub(super) async fn look(&mut self, context: &SourceContext, client: &Client, pid: i32) {
        let now = Instant::now();
        let seen = self.seen.take().filter(|seen| seen.pid == pid);
        let due = seen.as_ref().is_some_and(|seen| now >= seen.look_at);
        self.seen = seen.filter(|_| !due).or(Some(Seen { pid, look_at: now + STALE }));
        if due && let Err(error) = end_if_stale(context, client, pid).await {
            warn!(
                pid,
                error = &error as &dyn std::error::Error,
                "whether the daemon that holds the slot hangs is not known"
            );
        }
    }
}

async fn end_if_stale(context: &SourceContext, client: &Client, pid: i32) -> Result<(), PipelineError> {
    let catalog = context.catalog.link.client().await.map_err(PipelineError::Catalog)?;
    let statement = include_str!("../../sql/checkpoint/stale_lease.sql");
    let Some(lease) = catalog.query_opt(statement, &[&context.name(), &STALE.as_secs_f64()]).await? else {
        return Ok(());
    };
    let (host, daemon_pid): (String, i32) = (lease.try_get(0)?, lease.try_get(1)?);
    let statement = include_str!("../../sql/source/end_walsender.sql");
    let ended = client.query_opt(statement, &[&context.settings.slot(), &pid, &APPLICATION_NAME]).await?;
    if ended.is_some() {
        warn!(
            source = context.name(),
            pid,
            host,
            daemon_pid,
            "the daemon that holds the slot has not renewed its lease for long: its connection was ended"
        );
    }
    Ok(())
}
