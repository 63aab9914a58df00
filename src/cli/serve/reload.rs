//! SIGHUP: the config file is read again, and what can change while the daemon runs is taken over.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tracing::{error, info, warn};
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{Settings, Takeover};
use crate::pipeline::Tuning;
use crate::service::ServiceManager;

/// The log's filter, to be exchanged.
pub(super) type Filter = reload::Handle<EnvFilter, Registry>;

/// What a reload reads and changes.
pub(super) struct Reloading {
    pub(super) path: Option<PathBuf>,
    /// What the daemon runs by.
    pub(super) settings: Settings,
    pub(super) filter: Filter,
    pub(super) tuning: watch::Sender<Arc<Tuning>>,
    pub(super) service: ServiceManager,
}

impl Reloading {
    /// Reloads at each signal, for as long as it is polled.
    pub(super) async fn at(mut self, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            self.service.reloading();
            if let Err(refused) = self.reload() {
                // Every problem of the file is in the chain, as at a start.
                error!("the config file is refused, what it said before still holds: {refused:#}");
            }
            self.service.reloaded();
        }
    }

    /// All of it or nothing.
    fn reload(&mut self) -> anyhow::Result<()> {
        let new = Settings::load(self.path.as_deref())?;
        let Takeover { settings, applied, restart } = self.settings.taking_over(&new);
        let filter = EnvFilter::try_new(settings.log().level()).context("[log] level is no level and no filter")?;
        let tuning = Tuning::new(settings.delivery())?;
        self.filter.reload(filter).context("the log's filter could not be changed")?;
        // Even where no key has changed: a file of roots may hold others now.
        self.tuning.send_replace(tuning);
        self.settings = settings;
        for setting in restart {
            warn!(setting, "changed in the config file, and needs a restart");
        }
        info!(applied = applied.join(", "), "the config file was read again");
        Ok(())
    }
}
