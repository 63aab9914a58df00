//! The validated settings: every value is within its limits.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::PostgresUrl;
use crate::model::Placement;
use crate::seal::KeyRing;

/// Everything that the config file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub(super) catalog: CatalogSettings,
    pub(super) sources: Vec<SourceSettings>,
    pub(super) delivery: DeliverySettings,
    pub(super) http: HttpSettings,
    pub(super) log: LogSettings,
}

impl Settings {
    /// `[catalog]`.
    #[must_use]
    pub const fn catalog(&self) -> &CatalogSettings {
        &self.catalog
    }

    /// Every `[[source]]`, at least one.
    #[must_use]
    pub fn sources(&self) -> &[SourceSettings] {
        &self.sources
    }

    /// The source of this name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&SourceSettings> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// Where the tables of organizations are.
    #[must_use]
    pub fn placement(&self) -> Placement {
        let claim = |source: &SourceSettings| (source.name.clone(), source.organizations.clone());
        Placement::new(self.sources.iter().map(claim).collect())
    }

    /// `[delivery]`.
    #[must_use]
    pub const fn delivery(&self) -> &DeliverySettings {
        &self.delivery
    }

    /// `[http]`.
    #[must_use]
    pub const fn http(&self) -> &HttpSettings {
        &self.http
    }

    /// `[log]`.
    #[must_use]
    pub const fn log(&self) -> &LogSettings {
        &self.log
    }
}

/// Where organizations, integrations, subscriptions, pending deliveries and checkpoints are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogSettings {
    pub(super) url: PostgresUrl,
    pub(super) schema: String,
    pub(super) keys: KeyRing,
}

impl CatalogSettings {
    /// The catalog's database.
    #[must_use]
    pub const fn url(&self) -> &PostgresUrl {
        &self.url
    }

    /// The schema that holds `organizations` and `service_integrations`.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// What stored secrets are encrypted by, and were.
    #[must_use]
    pub const fn keys(&self) -> &KeyRing {
        &self.keys
    }
}

/// What `setup` and the upkeep do about tables' replica identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The unique index of the remote key, so that a delete names its external id.
    Key,
    /// Whole old rows.
    Full,
    /// Hands off.
    Keep,
}

impl ReplicaIdentity {
    /// As the config file has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Full => "full",
            Self::Keep => "keep",
        }
    }
}

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// The tables of the integrations, one by one.
    Integrations,
    /// Everything in the schemas of the integrations.
    Schema,
}

/// One database that holds replicated tables: one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSettings {
    pub(super) name: String,
    pub(super) url: PostgresUrl,
    pub(super) slot: String,
    pub(super) publication: String,
    pub(super) organizations: Vec<String>,
    pub(super) publish: Publish,
    pub(super) replica_identity: ReplicaIdentity,
    pub(super) primary_url: Option<PostgresUrl>,
    pub(super) failover: bool,
}

impl SourceSettings {
    /// Its name in the catalog, in bodies and in metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The database: where its slot is.
    #[must_use]
    pub const fn url(&self) -> &PostgresUrl {
        &self.url
    }

    /// The database on the primary, for a source that is a standby.
    #[must_use]
    pub const fn primary_url(&self) -> Option<&PostgresUrl> {
        self.primary_url.as_ref()
    }

    /// Whether standbys get the slot too, where the server has such slots.
    #[must_use]
    pub const fn failover(&self) -> bool {
        self.failover
    }

    /// The replication slot.
    #[must_use]
    pub fn slot(&self) -> &str {
        &self.slot
    }

    /// The publication.
    #[must_use]
    pub fn publication(&self) -> &str {
        &self.publication
    }

    /// What the publication holds.
    #[must_use]
    pub const fn publish(&self) -> Publish {
        self.publish
    }

    /// The policy for replica identities.
    #[must_use]
    pub const fn replica_identity(&self) -> ReplicaIdentity {
        self.replica_identity
    }
}

/// What happens when a subscription is owed more than `max_pending`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It is deactivated, and the gap is recorded.
    Disable,
    /// Nothing more is read from the log, for anybody, until there is room.
    Pause,
}

/// How notifications are sent, retried and bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    pub(super) timeout: Duration,
    pub(super) max_attempts: u32,
    pub(super) give_up_after: Duration,
    pub(super) concurrency: usize,
    pub(super) max_in_flight: usize,
    pub(super) memory: usize,
    pub(super) allow_networks: Vec<IpNet>,
    pub(super) allow_http: bool,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) retry_base: Duration,
    pub(super) retry_cap: Duration,
    pub(super) grace: Duration,
    pub(super) retention: Duration,
    pub(super) disable_after: Duration,
    pub(super) max_pending: Option<usize>,
    pub(super) when_full: WhenFull,
}

impl DeliverySettings {
    /// Bounds one whole exchange: name, connection, TLS, request, answer.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// After so many attempts a notification is recorded as failed.
    #[must_use]
    pub const fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// So long after it first became due a notification is recorded as failed.
    #[must_use]
    pub const fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    /// Requests in flight for one subscription, at most.
    #[must_use]
    pub const fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Requests in flight, all subscriptions together.
    #[must_use]
    pub const fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// Bytes of notifications held in memory, all subscriptions together.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.memory
    }

    /// Networks that the guard lets through although it would refuse them.
    #[must_use]
    pub fn allow_networks(&self) -> &[IpNet] {
        &self.allow_networks
    }

    /// Whether plain http may go to any network that the guard lets through.
    #[must_use]
    pub const fn allow_http(&self) -> bool {
        self.allow_http
    }

    /// Further roots for endpoints.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The wait before the second attempt.
    #[must_use]
    pub const fn retry_base(&self) -> Duration {
        self.retry_base
    }

    /// The longest wait between two attempts.
    #[must_use]
    pub const fn retry_cap(&self) -> Duration {
        self.retry_cap
    }

    /// What attempts in flight get at an orderly stop.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        self.grace
    }

    /// How long failed notifications are kept.
    #[must_use]
    pub const fn retention(&self) -> Duration {
        self.retention
    }

    /// A subscription whose endpoint has accepted nothing for so long is deactivated.
    #[must_use]
    pub const fn disable_after(&self) -> Duration {
        self.disable_after
    }

    /// So many notifications a subscription may be owed in the outbox; none: any number.
    #[must_use]
    pub const fn max_pending(&self) -> Option<usize> {
        self.max_pending
    }

    /// What happens to a subscription that is owed more.
    #[must_use]
    pub const fn when_full(&self) -> WhenFull {
        self.when_full
    }
}

/// The listener for health and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    pub(super) listen: SocketAddr,
}

impl HttpSettings {
    /// The address; port 0 is any free one.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        self.listen
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub(super) format: LogFormat,
    pub(super) level: String,
}

impl LogSettings {
    /// The form of the lines.
    #[must_use]
    pub const fn format(&self) -> LogFormat {
        self.format
    }

    /// A level, or a filter in `tracing`'s syntax.
    #[must_use]
    pub fn level(&self) -> &str {
        &self.level
    }
}
