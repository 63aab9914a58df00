//! `webhookdb serve`: the daemon.

mod reload;

use std::path::PathBuf;

use anstream::{AutoStream, ColorChoice};
use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Level, Metadata, info};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt};

use self::reload::{Filter, Reloading};
use crate::config::{LogFormat, LogSettings, Settings};
use crate::pipeline::{self, Tuning};
use crate::service::ServiceManager;

/// Runs until SIGTERM or SIGINT, and drains then; a second signal ends it at once. SIGHUP has the config file, which is at `path`
/// where that was named, read again.
///
/// # Errors
/// Where it cannot begin, meets what will not pass by itself before its first stream, or may not finish draining.
pub async fn run(path: Option<PathBuf>, settings: Settings) -> anyhow::Result<()> {
    let filter = log_to_stderr(settings.log())?;
    let service = ServiceManager::default();
    let stop = CancellationToken::new();
    let stop_at_once = stop_on_signals(stop.clone(), service.clone())?;
    let hangup = signal(SignalKind::hangup()).context("cannot listen to SIGHUP")?;
    info!(version = env!("CARGO_PKG_VERSION"), "starting");
    let (tuning, tuning_now) = watch::channel(Tuning::new(settings.delivery())?);
    let reloading = Reloading { path, settings: settings.clone(), filter, tuning, service: service.clone() };
    tokio::select! {
        done = pipeline::run(settings, tuning_now, service, stop) => Ok(done?),
        () = reloading.at(hangup) => anyhow::bail!("signals are no longer heard"),
        // As safe as a kill, and asked for by name.
        () = stop_at_once.cancelled_owned() => anyhow::bail!("stopped by a second signal; what was in flight may be sent again"),
    }
}

fn log_to_stderr(settings: &LogSettings) -> anyhow::Result<Filter> {
    let filter = EnvFilter::try_new(settings.level()).context("[log] level is no level and no filter")?;
    let (filter, handle) = tracing_subscriber::reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match settings.format() {
        // Colours as everywhere else: for a terminal, unless NO_COLOR or TERM=dumb forbids them.
        LogFormat::Text => lines.with_ansi(AutoStream::choice(&std::io::stderr()) != ColorChoice::Never).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    Registry::default().with(filter).with(filter_fn(is_discreet)).with(lines).init();
    Ok(handle)
}

/// At `debug` tokio-postgres logs the parameters of statements, which are rows and what is stored of secrets: whatever the
/// level is, these are not shown.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || !metadata.target().starts_with("tokio_postgres")
}

/// The first signal cancels `stop`, the second one what is returned.
fn stop_on_signals(stop: CancellationToken, service: ServiceManager) -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
    let stop_at_once = CancellationToken::new();
    let second = stop_at_once.clone();
    tokio::spawn(async move {
        for stage in [stop, second] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            info!(signal = name, "stopping");
            service.stopping();
            stage.cancel();
        }
    });
    Ok(stop_at_once)
}
