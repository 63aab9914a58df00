//! Builds the daemon from its settings and runs it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::PipelineError;
use super::catalog_watch::CatalogWatch;
use super::heart::Heart;
use super::in_flight::InFlight;
use super::lanes;
use super::lease::Identity;
use super::memory::Memory;
use super::read_back::ReadBack;
use super::report::report;
use super::sending::Sending;
use super::source_task::{SourceContext, SourceTask};
use super::tuning::TuningNow;
use crate::admin::metrics::reconnected;
use crate::admin::{self, Readiness, SourceState};
use crate::config::Settings;
use crate::service::ServiceManager;

/// The recorder forgets old samples of histograms so often.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Runs the daemon until `stop` is cancelled, and drains it then.
///
/// # Errors
/// Where it cannot begin, or every source meets what will not pass by itself before its first stream.
pub async fn run(
    settings: Settings,
    tuning: TuningNow,
    service: ServiceManager,
    stop: CancellationToken,
) -> Result<(), PipelineError> {
    let recorder = admin::metrics::install()?;
    let readiness = Readiness::default();
    let (address, admin_server) = admin::serve(settings.http().listen(), readiness.clone(), recorder.clone()).await?;
    info!("listening on {address}");
    let catalog = Arc::new(CatalogWatch::new(settings.catalog().clone(), settings.placement()));
    let mut services = JoinSet::new();
    services.spawn(admin_server);
    services.spawn(async move {
        loop {
            tokio::time::sleep(METRICS_UPKEEP).await;
            recorder.run_upkeep();
        }
    });
    let heart = Heart::new(service.clone());
    let (watch, turning) = (catalog.clone(), heart.clone());
    services.spawn(async move { turning.watch("catalog watch", watch.run()).await });
    let (beating, readable) = (heart.clone(), readiness.clone());
    services.spawn(async move { match beating.beat().await {} });
    services.spawn(async move { match report(service, readable).await {} });

    let delivery = settings.delivery();
    let sending = Sending::start(&heart).map_err(PipelineError::Threads)?;
    let in_flight = InFlight::new(delivery.concurrency(), delivery.max_in_flight());
    let memory = Memory::new(lanes::intake_bytes(delivery));
    let read_back = Arc::new(ReadBack::new(lanes::read_back_bytes(delivery)));
    let identity = Identity::new();
    // Before any of them can fail: one that has not begun is not hopeless.
    for source in settings.sources() {
        readiness.set(source.name(), SourceState::default());
        reconnected(source.name(), 0);
    }
    let mut sources = JoinSet::new();
    for source in settings.sources() {
        let context = SourceContext {
            settings: source.clone(),
            delivery: delivery.clone(),
            catalog_url: settings.catalog().url().clone(),
            catalog: catalog.clone(),
            identity: identity.clone(),
            tuning: tuning.clone(),
            heart: heart.clone(),
            in_flight: in_flight.clone(),
            sending: sending.handle(),
            memory: memory.clone(),
            read_back: read_back.clone(),
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
