//! Why something could not be set up, and the way past it.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::error::SqlState;

use super::identity::Unpublishable;
use crate::catalog::CatalogError;
use crate::config::{PostgresUrl, Settings};
use crate::model::Lsn;
use crate::postgres::PostgresError;
use crate::source::{Invalidation, SourceError};

/// Why something could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A database was not reached.
    #[error("cannot use the database of {what}")]
    Connect {
        /// `the catalog`, or the source by its name.
        what: String,
        /// Why.
        #[source]
        source: PostgresError,
    },
    /// The role lacks a right that `setup` needs.
    #[error("the role may not {what}")]
    MissingRight {
        /// What it may not do.
        what: &'static str,
        /// What gives it the right.
        grant: String,
        /// What the server said.
        #[source]
        source: PostgresError,
    },
    /// Those who were to lend their rights lack one themselves.
    #[error("the role of the admin url may not do what is needed")]
    AdminRight {
        /// What was refused.
        statement: String,
        /// What the server said.
        #[source]
        source: PostgresError,
    },
    /// Nobody's password is sent to a server that it may not be meant for.
    #[error("the config names several servers, and the admin url none of them")]
    AdminServer,
    /// The server can't serve as a source.
    #[error("{problem}")]
    Server {
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// `setup` has not been run for this source.
    #[error("source {0} is not set up")]
    NotSetUp(String),
    /// The publication is not there.
    #[error("the publication {publication} of source {name} does not exist")]
    PublicationMissing {
        /// The source.
        name: String,
        /// The publication.
        publication: String,
    },
    /// A publication that can't be used.
    #[error("the publication {publication} {problem}")]
    PublicationUnfit {
        /// The publication.
        publication: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What is recorded and what the server shows do not fit, so changes may be lost.
    #[error("source {name} can't go on from where it was")]
    Discord {
        /// The source.
        name: String,
        /// How they do not fit.
        #[source]
        discord: Discord,
    },
    /// Of several sources this one failed.
    #[error("source {name} could not be set up")]
    OfSource {
        /// The source.
        name: String,
        /// Why.
        #[source]
        error: Box<Self>,
    },
    /// Two sources stand still at transactions of the same position.
    #[error("several sources stand still at a transaction of commit {commit_lsn}: {}", sources.join(", "))]
    StuckAlike {
        /// As asked for.
        commit_lsn: Lsn,
        /// The sources.
        sources: Vec<String>,
    },
    /// Only what a daemon has found that the server cannot send is ever skipped.
    #[error("no source stands still at a transaction of commit {commit_lsn}")]
    NotStuck {
        /// As asked for.
        commit_lsn: Lsn,
        /// Where sources do stand still.
        others: Vec<Lsn>,
    },
    /// What comes before a transaction must not be skipped with it.
    #[error(
        "changes of source {name} before the transaction of commit {commit_lsn} are not settled yet (the checkpoint is at \
         {checkpoint}): they would be lost with it"
    )]
    Unsettled {
        /// The source.
        name: String,
        /// The transaction to be skipped.
        commit_lsn: Lsn,
        /// How far everything is settled.
        checkpoint: Lsn,
    },
    /// A slot is taken on only where every transaction that is older than the publication has ended.
    #[error("transactions that are older than the publication are still open, so the slot can't be adopted yet")]
    OpenTransactions,
    /// A table can't be published as it is.
    #[error("table {table} can't be published")]
    Unpublishable {
        /// The table.
        table: String,
        /// Why.
        #[source]
        reason: Unpublishable,
    },
    /// The role owns neither the table nor what it takes to publish it.
    #[error("the role may not publish table {table}")]
    MayNotPublish {
        /// The table.
        table: String,
        /// What gives the right, or does without it.
        remedy: String,
    },
    /// FOR TABLES IN SCHEMA would publish what must not be.
    #[error("schema {schema} holds more than integrations that can be published: {problems}")]
    SchemaUnfit {
        /// The schema.
        schema: String,
        /// Table by table.
        problems: String,
    },
    /// Only a superuser publishes a schema.
    #[error("the role may not publish schema {schema}")]
    MayNotPublishSchema {
        /// The schema.
        schema: String,
        /// What a superuser is to run.
        statement: String,
        /// What the server said.
        #[source]
        source: Box<PostgresError>,
    },
    /// The functions that act for the role do not take this table for an integration's.
    #[error("table {table} is not published by the functions of `setup --admin-url`")]
    DelegateRefused {
        /// The table.
        table: String,
        /// What its owner could run.
        statements: String,
        /// What the function said.
        #[source]
        source: Box<PostgresError>,
    },
    /// A table whose own UPDATE and DELETE would have failed.
    #[error(
        "table {table} was taken out of the publication, since its own UPDATE and DELETE failed: its changes are lost"
    )]
    TakenOut {
        /// The table.
        table: String,
        /// Why its identity could not be set.
        #[source]
        reason: Box<SetupError>,
    },
    /// The table of an integration is not there.
    #[error("table {table} of integration {integration} does not exist in source {name}")]
    NoTable {
        /// The integration.
        integration: String,
        /// The table.
        table: String,
        /// The source.
        name: String,
    },
    /// Two integrations have one table.
    #[error("table {table} of integration {integration} belongs to integration {owner} already")]
    TableTaken {
        /// The integration that came second.
        integration: String,
        /// The table.
        table: String,
        /// The integration that came first.
        owner: String,
    },
}

/// How the record and the server do not fit. To go on would be to lose changes silently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Discord {
    /// Another cluster, or a logical copy.
    #[error("this is another server than the one that was set up (system identifier {found}, not {recorded})")]
    OtherServer {
        /// As recorded.
        recorded: u64,
        /// As the server says.
        found: u64,
    },
    /// Without its slot the server has kept no log for us.
    #[error("there is a checkpoint, but the replication slot {0} is gone: changes since then may be lost")]
    SlotGone(String),
    /// The server has thrown away log that we had not read.
    #[error("the replication slot {slot:?} was invalidated: {reason}")]
    SlotLost {
        /// The slot.
        slot: String,
        /// Why.
        reason: Invalidation,
    },
    /// The catalog is older than the slot: it was restored.
    #[error(
        "the replication slot is at {slot}, ahead of the checkpoint at {checkpoint}: the catalog is older than the slot, or the \
         slot was made again; changes between the two may be lost"
    )]
    SlotAhead {
        /// The slot's confirmed position.
        slot: Lsn,
        /// What was recorded as safe to confirm.
        checkpoint: Lsn,
    },
    /// The daemon read the log, and it was another one.
    #[error("the daemon refused to go on: {0}")]
    Refused(String),
    /// It was dropped, and with it what the log means for us.
    #[error("there is a checkpoint, but the publication {0} is gone: what it published since then is lost")]
    PublicationGone(String),
    /// It was dropped and made again: the slot is older than it.
    #[error("the publication {0} was dropped and made again: the slot is older, and can't be read past that")]
    PublicationReplaced(String),
    /// The config names another slot or publication than the one that was set up.
    #[error("the config names the {what} {configured}, but {recorded} was set up")]
    OtherName {
        /// `slot` or `publication`.
        what: &'static str,
        /// As configured.
        configured: String,
        /// As recorded.
        recorded: String,
    },
}

impl Discord {
    /// As metrics name it.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::OtherServer { .. } => "other_server",
            Self::SlotGone(_) => "slot_gone",
            Self::SlotLost { reason, .. } => reason.label(),
            Self::SlotAhead { .. } => "slot_ahead",
            Self::Refused(_) => "refused",
            Self::PublicationGone(_) => "publication_gone",
            Self::PublicationReplaced(_) => "publication_replaced",
            Self::OtherName { .. } => "other_name",
        }
    }

    /// The way past it, which records that changes may be missing.
    #[must_use]
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::OtherServer { .. } => {
                "if this is meant, run `webhookdb setup --accept-server`: it begins anew here and records the gap"
            }
            Self::SlotLost { reason, .. } => return reason.hint(),
            Self::OtherName { .. } => {
                "put the old name back into the config, or run `webhookdb setup --accept-gap`: it begins anew and records \
                 the gap"
            }
            _ => "run `webhookdb setup --accept-gap`: it begins anew and records the gap",
        };
        hint.to_owned()
    }
}

impl SetupError {
    /// Whether the same call may succeed later with nothing changed by hand.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Catalog(error) => error.is_retryable(),
            Self::Source(error) => error.is_retryable(),
            Self::Connect { source: error, .. } => error.is_retryable(),
            Self::OfSource { error, .. } => error.is_retryable(),
            Self::OpenTransactions | Self::NoTable { .. } => true,
            _ => false,
        }
    }

    /// What the operator should do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Catalog(error) => return error.hint(),
            Self::Source(error) => return error.hint(),
            Self::Connect { source: error, .. } => return error.hint(),
            Self::OfSource { error, .. } => return error.hint(),
            Self::StuckAlike { .. } => "name one of them by --source".to_owned(),
            Self::MissingRight { grant, .. } => {
                format!("run as the owner: {grant}; or let a DBA run what `webhookdb setup --sql` prints")
            }
            Self::AdminRight { statement, .. } => {
                format!("use the admin url of a superuser, or of the role that owns the tables; what was refused: {statement}")
            }
            Self::AdminServer => "write its host and port as the config does, and run it once for each server".to_owned(),
            Self::Server { remedy, .. } => remedy.clone(),
            Self::NotSetUp(_) | Self::PublicationMissing { .. } => "run `webhookdb setup`".to_owned(),
            Self::PublicationUnfit { .. } => "name another publication in the config; setup makes it".to_owned(),
            Self::Discord { discord, .. } => discord.hint(),
            Self::NotStuck { others, .. } => match others.as_slice() {
                [] => "run `webhookdb serve`: it says which transaction the server cannot send, if there is one".to_owned(),
                [other, ..] => format!("`webhookdb status` shows where: was `--skip-transaction {other}` meant?"),
            },
            Self::Unsettled { .. } => {
                "run `webhookdb serve`, which delivers them or stores what cannot be delivered yet; skip when `webhookdb status` \
                 shows the checkpoint there"
                    .to_owned()
            }
            Self::OpenTransactions => "end them, or wait, and run the command again".to_owned(),
            Self::Unpublishable { reason, .. } => reason.hint().to_owned(),
            Self::MayNotPublish { remedy, .. } => remedy.clone(),
            Self::SchemaUnfit { .. } => {
                "move what is no integration's to another schema, or set publish = \"integrations\" for this source".to_owned()
            }
            Self::MayNotPublishSchema { statement, .. } => {
                format!("run `webhookdb setup --admin-url` as a superuser, or let one run: {statement}")
            }
            Self::DelegateRefused { statements, .. } => format!(
                "run `webhookdb setup --admin-url` again, which looks at the integrations anew; or let the owner of the table \
                 and of the publication run: {statements}"
            ),
            Self::TakenOut { reason, .. } => return reason.hint(),
            Self::NoTable { .. } => "it is published within seconds of its creation; try again then".to_owned(),
            Self::TableTaken { .. } => "remove one of the two integrations".to_owned(),
        })
    }

    /// Says which source it is about, where there are several.
    pub(super) fn of_source(self, name: &str, settings: &Settings) -> Self {
        match settings.sources() {
            [_] => self,
            _ => Self::OfSource { name: name.to_owned(), error: Box::new(self) },
        }
    }

    /// The same error, where other rights are known to be missing first.
    pub(super) fn with_grants(self, grants: &[String]) -> Self {
        match self {
            Self::MissingRight { what, source, .. } if !grants.is_empty() => {
                Self::MissingRight { what, grant: grants.join("; "), source }
            }
            other => other,
        }
    }

    /// Whether nothing was done for certain. A connection that broke leaves that open.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Source(SourceError::Postgres(PostgresError::Server(error))) => {
                !matches!(error.sqlstate().code().get(..2), Some("08" | "57"))
            }
            Self::Source(_) | Self::Catalog(_) => false,
            _ => true,
        }
    }
}

/// Names the right and the grant, where an error says that a right is missing.
pub(super) fn explain_right(error: PostgresError, what: &'static str, object: &str, url: &PostgresUrl) -> SetupError {
    if error.sqlstate() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return error.into();
    }
    let grant = format!("GRANT CREATE ON {object} TO {}", escape_identifier(&url.user));
    SetupError::MissingRight { what, grant, source: error }
}

impl From<PostgresError> for SetupError {
    fn from(error: PostgresError) -> Self {
        Self::Source(error.into())
    }
}
