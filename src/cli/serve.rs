//! `webhookdb serve`: the daemon.

use anstream::{AutoStream, ColorChoice};
use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{Level, Metadata, info};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogSettings, Settings};
use crate::pipeline;

/// Runs until SIGTERM or SIGINT, and drains then; a second signal ends it at once.
///
/// # Errors
/// Where it cannot begin, meets what will not pass by itself before its first stream, or may not finish draining.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    log_to_stderr(settings.log())?;
    let stop = CancellationToken::new();
    let stop_at_once = stop_on_signals(stop.clone())?;
    info!(version = env!("CARGO_PKG_VERSION"), "starting");
    tokio::select! {
        done = pipeline::run(settings, stop) => Ok(done?),
        // As safe as a kill, and asked for by name.
        () = stop_at_once.cancelled_owned() => anyhow::bail!("stopped by a second signal; what was in flight may be sent again"),
    }
}

fn log_to_stderr(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(settings.level()).context("[log] level is no level and no filter")?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let discreet = filter_fn(is_discreet);
    match settings.format() {
        // Colours as everywhere else: for a terminal, unless NO_COLOR or TERM=dumb forbids them.
        LogFormat::Text => {
            let is_coloured = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
            lines.with_ansi(is_coloured).finish().with(discreet).init();
        }
        LogFormat::Json => lines.json().finish().with(discreet).init(),
    }
    Ok(())
}

/// At `debug` tokio-postgres logs the parameters of statements, which are rows and what is stored of secrets: whatever the
/// level is, these are not shown.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || !metadata.target().starts_with("tokio_postgres")
}

/// The first signal cancels `stop`, the second one what is returned.
fn stop_on_signals(stop: CancellationToken) -> anyhow::Result<CancellationToken> {
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
            stage.cancel();
        }
    });
    Ok(stop_at_once)
}
