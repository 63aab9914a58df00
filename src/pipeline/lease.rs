//! The lease: renewed while the slot is held, so that everybody can see who serves a source and what it has loaded.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio_postgres::Client;
use tokio_postgres::types::PgLsn;

use super::PipelineError;
use super::catalog_watch::CatalogWatch;
use super::fence::Fence;
use super::heart::Pulse;
use crate::admin::Readiness;
use crate::catalog::leases::LIVE_FOR;
use crate::model::Lsn;
use crate::postgres::{Link, Outage};

/// So often a lease is renewed: twice it may fail before it runs out.
const RENEWAL: Duration = Duration::from_secs(1);

/// Who this process is, for people and for other daemons.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// Random, new with each process.
    pub(super) daemon: String,
    pub(super) host: String,
    pub(super) pid: i32,
}

impl Identity {
    pub(super) fn new() -> Self {
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        Self {
            daemon: data_encoding::HEXLOWER.encode(&rand::random::<[u8; 8]>()),
            host: host.unwrap_or_else(|| "unknown".into()),
            pid: std::process::id().cast_signed(),
        }
    }
}

/// What the lease tells of the daemon, kept current by those who know.
#[derive(Debug, Default)]
pub(super) struct LeaseFacts {
    /// The catalog's revision that every lane respects.
    revision: AtomicI64,
    received_lsn: AtomicU64,
    /// All log that was there then is read; microseconds since 1970.
    caught_up_at: AtomicU64,
    /// Subscriptions that nothing is sent to, since their secrets can't be read.
    sealed_secrets: AtomicI64,
    renew_now: Notify,
}

impl LeaseFacts {
    /// Every lane respects this revision: whoever waits for it is told soon.
    pub(super) fn set_revision(&self, revision: i64) {
        if self.revision.fetch_max(revision, Ordering::Relaxed) < revision {
            self.renew_now.notify_one();
        }
    }

    /// To be set before the revision that it is of.
    pub(super) fn set_sealed_secrets(&self, count: usize) {
        self.sealed_secrets.store(i64::try_from(count).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    fn revision(&self) -> i64 {
        self.revision.load(Ordering::Relaxed)
    }

    pub(super) fn set_received(&self, lsn: Lsn) {
        self.received_lsn.store(lsn.get(), Ordering::Relaxed);
    }

    pub(super) fn received(&self) -> Lsn {
        Lsn::new(self.received_lsn.load(Ordering::Relaxed))
    }

    pub(super) fn set_caught_up(&self, at: SystemTime) {
        let micros = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        self.caught_up_at.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn caught_up(&self) -> Option<SystemTime> {
        let micros = self.caught_up_at.load(Ordering::Relaxed);
        (micros > 0).then(|| UNIX_EPOCH + Duration::from_micros(micros))
    }
}

/// The lease of one source under one epoch.
pub(super) struct Lease {
    pub(super) source_name: String,
    pub(super) epoch: i64,
    pub(super) identity: Identity,
    pub(super) link: Arc<Link>,
    pub(super) catalog: Arc<CatalogWatch>,
    pub(super) fence: Arc<Fence>,
    pub(super) facts: Arc<LeaseFacts>,
    pub(super) readiness: Readiness,
    pub(super) outage: Outage,
}

impl Lease {
    /// Waits until no earlier holder can believe in its lease any more.
    pub(super) async fn wait_for_others(&self, first_epoch: bool) -> Result<(), PipelineError> {
        let client = self.link.client().await.map_err(PipelineError::Catalog)?;
        let statement = include_str!("../../sql/checkpoint/lease_left.sql");
        let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
            &[&self.source_name, &self.identity.daemon, &LIVE_FOR.as_secs_f64()];
        let left = match client.query_opt(statement, parameters).await? {
            Some(row) => Duration::try_from_secs_f64(row.try_get(0)?).unwrap_or(LIVE_FOR),
            // The table is emptied by a crash of the database: somebody may have had a lease until then.
            None if first_epoch => Duration::ZERO,
            None => LIVE_FOR,
        };
        tokio::time::sleep(left.min(LIVE_FOR)).await;
        Ok(())
    }

    /// Renews until the epoch is found stale.
    pub(super) async fn keep(self: Arc<Self>, mut pulse: Pulse) -> Result<(), PipelineError> {
        loop {
            pulse.turned();
            match tokio::time::timeout(LIVE_FOR, pulse.through(self.renew())).await {
                Ok(Ok(())) => self.outage.succeeded(),
                Ok(Err(PipelineError::Fenced)) => return Err(PipelineError::Fenced),
                Ok(Err(error)) => self.failed(&error).await,
                Err(_) => self.failed(&PipelineError::CatalogSilent { within: LIVE_FOR }).await,
            }
            tokio::select! {
                () = tokio::time::sleep(RENEWAL) => {}
                () = self.facts.renew_now.notified() => {}
            }
        }
    }

    /// What is stuck may stay so for longer than the network is away: the next try begins with a session of its own.
    async fn failed(&self, error: &PipelineError) {
        self.outage.failed(error);
        self.link.forget().await;
    }

    /// Renews once.
    pub(super) async fn renew(&self) -> Result<(), PipelineError> {
        let before = Instant::now();
        let client = self.link.client().await.map_err(PipelineError::Catalog)?;
        if self.write(&client).await? == 0 {
            return Err(PipelineError::Fenced);
        }
        // Read only now that whoever deletes can see the lease, and waits for it.
        let current = async || current_revision(&client).await;
        if !self.fence.renew(before + LIVE_FOR, self.facts.revision(), current).await? {
            // The lanes are told; with the revision that they respect then, the lease is renewed at once.
            self.catalog.reload().await?;
        }
        Ok(())
    }

    /// Says that nobody has to wait for it.
    pub(super) async fn release(&self) -> Result<(), PipelineError> {
        let client = self.link.client().await.map_err(PipelineError::Catalog)?;
        let statement =
            "UPDATE notifications.leases SET released = true WHERE source = $1 AND daemon = $2 AND epoch = $3";
        client.execute(statement, &[&self.source_name, &self.identity.daemon, &self.epoch]).await?;
        Ok(())
    }

    async fn write(&self, client: &Client) -> Result<u64, tokio_postgres::Error> {
        let Identity { daemon, host, pid } = &self.identity;
        let revision = self.facts.revision();
        let received = PgLsn::from(self.facts.received().get());
        let caught_up = self.facts.caught_up();
        let held_back = self.readiness.held_back(&self.source_name);
        let sealed = self.facts.sealed_secrets.load(Ordering::Relaxed);
        let statement = include_str!("../../sql/checkpoint/renew_lease.sql");
        let source = &self.source_name;
        client
            .execute(
                statement,
                &[source, &self.epoch, daemon, host, pid, &revision, &received, &caught_up, &held_back, &sealed],
            )
            .await
    }
}

async fn current_revision(client: &Client) -> Result<i64, tokio_postgres::Error> {
    client.query_one("SELECT value FROM notifications.revision", &[]).await?.try_get(0)
}
