//! `webhookdb serve`: the daemon.

use std::io::IsTerminal;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings, Settings};
use crate::pipeline;

/// Runs until SIGTERM or SIGINT, and drains then.
///
/// # Errors
/// Where it cannot begin, or meets what will not pass by itself before its first stream.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    log_to_stderr(settings.log())?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    info!(version = env!("CARGO_PKG_VERSION"), "starting");
    pipeline::run(settings, stop).await?;
    Ok(())
}

fn log_to_stderr(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(settings.level()).context("[log] level is no level and no filter")?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match settings.format() {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

fn stop_on_signals(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "stopping");
        stop.cancel();
    });
    Ok(())
}
