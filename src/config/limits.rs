//! The defaults, and the limits beyond which a value must be a slip; each with its reason.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{LogFormat, Publish, ReplicaIdentity, WhenFull};

/// A default, and the smallest and largest value that make sense.
pub(super) struct Limits<T> {
    pub(super) default: T,
    pub(super) min: T,
    pub(super) max: T,
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Nothing that waits for another machine is done sooner, so that less must be a slip of the unit.
const SHORTEST: Duration = Duration::from_millis(1);

/// Where a Postgres database has its tables unless it is told otherwise.
pub(super) const SCHEMA: &str = "public";

/// The name of the only source of an installation that names none.
pub(super) const SOURCE_NAME: &str = "main";

/// Says whose slot it is to a DBA who finds it.
pub(super) const SLOT: &str = "webhookdb_notifications";

/// As the slot's, so that both are found together.
pub(super) const PUBLICATION: &str = "webhookdb_notifications";

/// Table by table: a schema may come to hold a table whose own UPDATE would fail once it is published.
pub(super) const PUBLISH: Publish = Publish::Integrations;

/// A delete that names its external id, at no price in log volume.
pub(super) const REPLICA_IDENTITY: ReplicaIdentity = ReplicaIdentity::Key;

/// A standby that is promoted goes on with the slot where it can: without it everything since would be a gap. Nothing is
/// lost by it where there is no standby.
pub(super) const FAILOVER: bool = true;

/// Names in Postgres are cut after so many bytes (NAMEDATALEN - 1): a longer one would silently be another.
pub(super) const POSTGRES_NAME_BYTES_MAX: usize = 63;

/// Endpoints ought to answer at once and work later; the largest senders of webhooks allow 5 to 30 seconds. Over ten
/// minutes an endpoint that hangs would bind its lane for good.
pub(super) const TIMEOUT: Limits<Duration> =
    Limits { default: Duration::from_secs(10), min: SHORTEST, max: Duration::from_secs(600) };

/// With the base and the cap below these are spread over some three days, a long weekend. A thousand is for ever already.
pub(super) const MAX_ATTEMPTS: Limits<u32> = Limits { default: 25, min: 1, max: 1000 };

/// Three days: an endpoint that breaks on a Friday is mended by Monday. A year's backlog would not be worth sending.
pub(super) const GIVE_UP_AFTER: Limits<Duration> = Limits {
    default: Duration::from_secs(3 * DAY.as_secs()),
    min: SHORTEST,
    max: Duration::from_secs(365 * DAY.as_secs()),
};

/// Keeps a fast endpoint busy over a network of some 50 ms, and does not swamp a small one. No more than can be in flight.
pub(super) const CONCURRENCY: Limits<usize> = Limits { default: 16, min: 1, max: MAX_IN_FLIGHT.max };

/// A hanging request costs about 26 KiB and a file descriptor: 1024 of them take 26 MiB. There are 65535 ports to go out by.
pub(super) const MAX_IN_FLIGHT: Limits<usize> = Limits { default: 1024, min: 1, max: 65_535 };

/// Some ten thousand rows of WebhookDB's usual size. Under 1 MiB hardly one large row would fit; a tebibyte is a slip.
pub(super) const MEMORY: Limits<u64> = Limits { default: 64 << 20, min: 1 << 20, max: 1 << 40 };

/// A restart of an endpoint often takes no longer.
pub(super) const RETRY_BASE: Limits<Duration> = Limits { default: SECOND, min: SHORTEST, max: DAY };

/// Four attempts a day still find an endpoint on the day that it comes back.
pub(super) const RETRY_CAP: Limits<Duration> = Limits {
    default: Duration::from_secs(6 * HOUR.as_secs()),
    min: SHORTEST,
    max: Duration::from_secs(30 * DAY.as_secs()),
};

/// Twice the timeout, so that what is in flight ends by itself, and within the 30 s that Kubernetes gives. Zero: do not wait.
pub(super) const GRACE: Limits<Duration> = Limits { default: Duration::from_secs(20), min: Duration::ZERO, max: HOUR };

/// A week to look at what failed. Ten years is for ever already.
pub(super) const RETENTION: Limits<Duration> = Limits {
    default: Duration::from_secs(7 * DAY.as_secs()),
    min: SHORTEST,
    max: Duration::from_secs(3650 * DAY.as_secs()),
};

/// Longer than what is owed is tried for, so that an endpoint is given up only after every notification was given its chance.
pub(super) const DISABLE_AFTER: Limits<Duration> = Limits {
    default: Duration::from_secs(5 * DAY.as_secs()),
    min: SHORTEST,
    max: Duration::from_secs(365 * DAY.as_secs()),
};

/// Nothing fits in less than one; the default is no limit, since the disk is the operator's to watch.
pub(super) const MAX_PENDING: Limits<usize> = Limits { default: usize::MAX, min: 1, max: 1_000_000_000_000 };

/// One endpoint that is down must not stop everybody else.
pub(super) const WHEN_FULL: WhenFull = WhenFull::Disable;

/// Loopback: metrics name subscriptions, so that others get to see them only where the operator says so.
pub(super) const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8428);

/// For people, who read it first.
pub(super) const LOG_FORMAT: LogFormat = LogFormat::Text;

/// What an operator wants to know, and nothing for each change.
pub(super) const LOG_LEVEL: &str = "info";
