//! What can go wrong with the catalog, and what the operator should do about it.

use tokio_postgres::error::SqlState;

use crate::postgres::PostgresError;
use crate::seal::SealError;

/// Why the catalog could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The server was not reached, or refused a statement.
    #[error("the catalog's database did not do what it was asked")]
    Postgres(#[from] PostgresError),
    /// The role lacks rights in the catalog.
    #[error("the role may not do in the catalog what it has to")]
    MissingRight {
        /// What gives it the rights.
        grant: String,
        /// What the server said.
        #[source]
        source: Box<PostgresError>,
    },
    /// `setup` was never run here, or is older than this program.
    #[error("the catalog is not set up")]
    NotSetUp(#[source] Option<PostgresError>),
    /// A newer program has migrated the catalog.
    #[error("the catalog's schema has version {found}, and this program knows only versions up to {known}")]
    TooNew {
        /// The version in the database.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// An item of the catalog is not of the form that the program writes.
    #[error("a {kind} in the catalog can't be read")]
    Unreadable {
        /// What kind of item.
        kind: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Secrets are encrypted by keys that the config does not have.
    #[error("the signing secret of {} can't be read", list_sealed(.subscriptions))]
    Sealed {
        /// The ids of the subscriptions, at least one.
        subscriptions: Vec<String>,
        /// Why the first of them can't.
        #[source]
        source: SealError,
    },
    /// The tables of organizations and integrations were not made by `setup`.
    #[error("organizations and integrations are managed by WebhookDB here; its tables are read, never altered")]
    NotOurs,
    /// The name is taken.
    #[error("an organization with the key {0} exists already")]
    OrganizationExists(String),
    /// The organization has this table already.
    #[error("organization {organization} has an integration with the table {table} already")]
    IntegrationExists {
        /// The organization's key.
        organization: String,
        /// The table's name.
        table: String,
    },
    /// No organization of this key or name.
    #[error("there is no organization {0}")]
    UnknownOrganization(String),
    /// Several organizations of this name.
    #[error("several organizations are named {name}: {}", .keys.join(", "))]
    AmbiguousOrganization {
        /// The name that was given.
        name: String,
        /// The keys of those that bear it.
        keys: Vec<String>,
    },
    /// No integration of this opaque id, service name or table name.
    #[error("there is no integration {0}")]
    UnknownIntegration(String),
    /// Several integrations of this service or table name.
    #[error("several integrations are named {name}: {}", .candidates.join(", "))]
    AmbiguousIntegration {
        /// The name that was given.
        name: String,
        /// Each candidate's opaque id, with what tells it apart.
        candidates: Vec<String>,
    },
    /// No subscription of this id.
    #[error("there is no notification {0}")]
    UnknownSubscription(String),
    /// Subscriptions hang on the integration that was to be removed.
    #[error("integration {integration} still has notifications attached: {}", .subscriptions.join(", "))]
    IntegrationInUse {
        /// The integration's opaque id.
        integration: String,
        /// The ids of the subscriptions.
        subscriptions: Vec<String>,
    },
}

impl CatalogError {
    /// Whether the same call may succeed later with nothing changed by hand.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.is_retryable())
    }

    /// What the operator should do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Postgres(error) => return error.hint(),
            Self::MissingRight { grant, .. } => return Some(format!("run as the owner, or as a superuser: {grant}")),
            Self::Sealed { source, .. } => return Some(source.hint()),
            Self::NotSetUp(_) => "run `webhookdb setup`",
            Self::TooNew { .. } => "use the version of webhookdb that ran `setup` last, or a newer one",
            Self::NotOurs => "create organizations and integrations with WebhookDB's own commands",
            Self::OrganizationExists(_) => "choose another key with --key",
            Self::UnknownOrganization(_) => "`webhookdb org list` shows the organizations and their keys",
            Self::AmbiguousOrganization { .. } => "name it by its key",
            Self::UnknownIntegration(_) => "`webhookdb integrations list` shows the integrations",
            Self::AmbiguousIntegration { .. } => "name it by its opaque id (svi_…)",
            Self::UnknownSubscription(_) => "`webhookdb notification list` shows the notifications and their ids",
            Self::IntegrationInUse { .. } => "delete them first, or give --force to delete them too",
            Self::Unreadable { .. } | Self::IntegrationExists { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<tokio_postgres::Error> for CatalogError {
    fn from(error: tokio_postgres::Error) -> Self {
        // A missing table or column of ours means that setup, or its newest migration, has not been run.
        let missing = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::INVALID_SCHEMA_NAME];
        match error.code() {
            Some(code) if missing.contains(code) => Self::NotSetUp(Some(error.into())),
            _ => Self::Postgres(error.into()),
        }
    }
}

/// So many are named; of more, how many there are.
const NAMED_MAX: usize = 5;

fn list_sealed(subscriptions: &[String]) -> String {
    let named = subscriptions.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = subscriptions.len().saturating_sub(NAMED_MAX);
    let noun = if subscriptions.len() == 1 { "notification" } else { "notifications" };
    if more == 0 { format!("{noun} {named}") } else { format!("{noun} {named} and {more} more") }
}

/// Puts `taken` in the place of an error that says that a unique key is violated.
pub(super) fn on_unique_violation(error: CatalogError, taken: CatalogError) -> CatalogError {
    match &error {
        CatalogError::Postgres(cause) if cause.sqlstate() == Some(&SqlState::UNIQUE_VIOLATION) => taken,
        _ => error,
    }
}
