//! Who wants to be told, about what, and where.

use std::time::SystemTime;

use super::{Batching, Lsn, Secret, SubscriptionId};

/// What a subscription covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every integration of the organization with this key.
    Organization(String),
    /// The integration with this opaque id.
    Integration(String),
}

impl Scope {
    /// Of the key of an organization or the opaque id of an integration; none where not exactly one of them is given.
    #[must_use]
    pub fn of(organization: Option<String>, integration: Option<String>) -> Option<Self> {
        match (organization, integration) {
            (Some(key), None) => Some(Self::Organization(key)),
            (None, Some(opaque_id)) => Some(Self::Integration(opaque_id)),
            _ => None,
        }
    }
}

/// Where a subscription is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Created; its exact start in the log is not yet read. Entered by `create`.
    Pending,
    /// Served. Entered by the router when it meets the start.
    Active,
    /// Owed to, not sent to. Entered by an operator.
    Paused,
    /// Its endpoint said "gone" or failed for too long. Entered by the daemon.
    Deactivated,
    /// To be forgotten once every daemon has confirmed it. Entered by `delete`.
    Deleted,
}

impl SubscriptionState {
    /// The word that the catalog stores and `list` shows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Deactivated => "deactivated",
            Self::Deleted => "deleted",
        }
    }

    /// Whether nothing is sent in it.
    #[must_use]
    pub const fn is_halted(self) -> bool {
        matches!(self, Self::Paused | Self::Deactivated)
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Active, Self::Paused, Self::Deactivated, Self::Deleted]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// A secret that was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    /// As typed or generated.
    pub secret: Secret,
    /// From when on nothing is signed with it any more.
    pub expires_at: SystemTime,
}

/// A subscription as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its number in the catalog, which the outbox refers to.
    pub id: i64,
    /// Its name for users and scripts.
    pub opaque_id: SubscriptionId,
    /// What it covers.
    pub scope: Scope,
    /// The endpoint, as typed.
    pub url: Box<str>,
    /// How its notifications are put together; none where each is a request of its own.
    pub batching: Option<Batching>,
    /// What its notifications are signed with, as typed or generated; none where the config has not the key to read it, or one
    /// of the previous ones, with. Nothing is sent then.
    pub secret: Option<Secret>,
    /// What they are signed with too, for a while after each rotation; the newest first.
    pub previous_secrets: Box<[PreviousSecret]>,
    /// Where it is in its life.
    pub state: SubscriptionState,
    /// Agrees with the log message that marks its start.
    pub nonce: Box<str>,
    /// When it was created.
    pub created_at: SystemTime,
    /// For each source that it covers, the LSN from which on commits are due; none where the start was not met yet.
    pub starts: Box<[(String, Option<Lsn>)]>,
}

impl Subscription {
    /// Whether what was committed there, in the log of this source, is due to it.
    #[must_use]
    pub fn is_due(&self, source: &str, commit_lsn: Lsn) -> bool {
        self.start_in(source).flatten().is_some_and(|start| commit_lsn >= start)
    }

    /// Whether nothing is sent to it, and everything is kept.
    #[must_use]
    pub const fn is_halted(&self) -> bool {
        self.state.is_halted() || self.secret.is_none()
    }

    /// Until when a secret that was replaced is good, where one still is at this time.
    #[must_use]
    pub fn rotating_until(&self, now: SystemTime) -> Option<SystemTime> {
        self.previous_secrets.iter().map(|previous| previous.expires_at).max().filter(|until| *until > now)
    }

    /// Whether its start is still to be met in the log of this source.
    #[must_use]
    pub fn awaits_start(&self, source: &str) -> bool {
        self.start_in(source).is_some_and(|start| start.is_none())
    }

    /// Its start in this source, where it covers it; none where that was not met yet.
    fn start_in(&self, source: &str) -> Option<Option<Lsn>> {
        self.starts.iter().find(|(name, _)| name == source).map(|(_, start)| *start)
    }
}
