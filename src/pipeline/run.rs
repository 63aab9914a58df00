//! Builds the daemon from its settings and runs it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::PipelineError;
use super::catalog_watch::CatalogWatch;
use super::in_flight::InFlight;
use super::lease::Identity;
use super::source_task::{SourceContext, SourceTask};
use crate::admin::{self, Readiness};
use crate::config::Settings;
use crate::deliver::Poster;

/// The recorder forgets old samples of histograms so often.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Runs the daemon until `stop` is cancelled, and drains it then.
///
/// # Errors
/// Where it cannot begin, or every source meets what will not pass by itself before its first stream.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), PipelineError> {
    let recorder = admin::metrics::install()?;
    let readiness = Readiness::default();
    let poster = Poster::new(settings.delivery())?;
    let (address, admin_server) = admin::serve(settings.http().listen(), readiness.clone(), recorder.clone()).await?;
    info!("listening on {address}");
    let default_source = settings.sources().first().map(|source| source.name().to_owned()).unwrap_or_default();
    let catalog = Arc::new(CatalogWatch::new(settings.catalog().clone(), default_source));
    let mut services = JoinSet::new();
    services.spawn(admin_server);
    services.spawn(async move {
        loop {
            tokio::time::sleep(METRICS_UPKEEP).await;
            recorder.run_upkeep();
        }
    });
    let watch = catalog.clone();
    services.spawn(async move { watch.run().await });

    let in_flight = InFlight::new(settings.delivery().max_in_flight());
    let identity = Identity::new();
    let mut sources = JoinSet::new();
    for source in settings.sources() {
        readiness.set(source.name(), admin::SourceState::default());
        let context = SourceContext {
            settings: source.clone(),
            delivery: settings.delivery().clone(),
            catalog_url: settings.catalog().url().clone(),
            catalog: catalog.clone(),
            identity: identity.clone(),
            poster: poster.clone(),
            in_flight: in_flight.clone(),
            readiness: readiness.clone(),
            stop: stop.clone(),
        };
        sources.spawn(SourceTask::new(context).run());
    }
    loop {
        tokio::select! {
            ended = sources.join_next() => match ended {
                Some(ended) => ended??,
                None => return Ok(()),
            },
            // None of them ends while the daemon runs, but by a panic.
            Some(ended) = services.join_next() => ended?,
        }
    }
}
