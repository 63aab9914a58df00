//! Why a source is not streaming, each with what the operator should do about it.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::Invalidation;
use crate::config::PostgresUrl;
use crate::model::Lsn;
use crate::postgres::{PostgresError, ServerError};

/// Why a source is not streaming.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The server was not reached, or refused.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The role lacks REPLICATION.
    #[error("the role {role:?} may not replicate")]
    NoReplicationRight {
        /// The role.
        role: String,
        /// What the server said.
        #[source]
        source: Box<ServerError>,
    },
    /// Every walsender (or connection) is taken.
    #[error("the server has no walsender free")]
    NoFreeWalsender(#[source] Box<ServerError>),
    /// What answered speaks no replication protocol.
    #[error("what answers at this url cannot replicate")]
    NotReplicating(#[source] Box<ServerError>),
    /// `wal_level` is too low.
    #[error("wal_level is {level}, and logical replication needs logical")]
    WalLevel {
        /// The present one.
        level: String,
    },
    /// On a standby: the primary's is too low.
    #[error("wal_level on the primary is too low for a slot on its standby")]
    PrimaryWalLevel(#[source] Box<ServerError>),
    /// There is no such slot.
    #[error("the replication slot {slot:?} does not exist")]
    SlotMissing {
        /// The slot.
        slot: String,
    },
    /// The slot is a physical one.
    #[error("the replication slot {slot:?} is a physical one")]
    SlotPhysical {
        /// The slot.
        slot: String,
    },
    /// The slot is of another output plugin.
    #[error("the replication slot {slot:?} is of the output plugin {plugin:?}, not pgoutput")]
    SlotPlugin {
        /// The slot.
        slot: String,
        /// Its plugin.
        plugin: String,
    },
    /// The slot is of another database.
    #[error("the replication slot {slot:?} is of the database {database:?}, not {expected:?}")]
    SlotDatabase {
        /// The slot.
        slot: String,
        /// Its database.
        database: String,
        /// The database of the url.
        expected: String,
    },
    /// The server has given the slot up: changes are lost.
    #[error("the replication slot {slot:?} was invalidated: {reason}")]
    SlotInvalidated {
        /// The slot.
        slot: String,
        /// Why.
        reason: Invalidation,
    },
    /// Somebody else reads from the slot.
    #[error("the replication slot {slot:?} is in use by {holder}")]
    SlotActive {
        /// The slot.
        slot: String,
        /// Its walsender's PID, and who that is, where we may see it.
        holder: String,
    },
    /// `max_replication_slots` is used up.
    #[error("all replication slots are in use")]
    NoFreeSlot(#[source] Box<ServerError>),
    /// Another process made a slot of this name at the same time.
    #[error("the replication slot {slot:?} exists already")]
    SlotExists {
        /// The slot.
        slot: String,
    },
    /// Making the slot waits for transactions that were open before.
    #[error("the replication slot {slot:?} was not ready within {} seconds: it waits for open transactions to end", after.as_secs())]
    SlotWaits {
        /// The slot.
        slot: String,
        /// How long was waited.
        after: Duration,
    },
    /// The publication is not there, or was not there yet when the log was written.
    #[error("the publication {publication:?} is missing, or younger than what is left to read")]
    PublicationMissing {
        /// The publication.
        publication: String,
        /// What the server said.
        #[source]
        source: Box<ServerError>,
    },
    /// The server fails at a change itself, each time that it is to send it: what Postgres cannot put into words (a value
    /// whose text is longer than 1 GB), or log that it cannot read.
    #[error("the server cannot send {}", unsent(*commit_lsn, *change_lsn))]
    CannotSend {
        /// The commit LSN of the transaction, where its BEGIN was read.
        commit_lsn: Option<Lsn>,
        /// The change's own position, where the server said it.
        change_lsn: Option<Lsn>,
        /// What the server said.
        #[source]
        source: Box<ServerError>,
    },
    /// A standby, and no primary is named.
    #[error("the server is a standby, and the config names no primary_url")]
    StandbyAlone,
    /// A standby of a version that cannot decode its log there.
    #[error("the server is a standby of version {version}: only from 16 on can a standby be the source")]
    StandbyTooOld {
        /// Its major version.
        version: i32,
    },
    /// A standby has not replayed yet what is needed.
    #[error("the standby has not replayed the log up to {needed} yet")]
    StandbyBehind {
        /// Where it has to get.
        needed: Lsn,
    },
    /// A standby was promoted, or follows another primary.
    #[error("the server has left timeline {from} for timeline {to}")]
    TimelineLeft {
        /// The stream's.
        from: u32,
        /// The server's.
        to: u32,
    },
    /// Applications' commits would wait for us.
    #[error("synchronous_standby_names ({names}) makes this daemon a synchronous standby")]
    SynchronousStandby {
        /// The setting.
        names: String,
    },
    /// A session setting that the payload depends on is not what was asked for.
    #[error("the session setting {name} is {value:?} although {expected:?} was asked for")]
    Setting {
        /// The setting.
        name: String,
        /// What it is.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The server is shutting down and waits for us to let go.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The server ended the stream in good order.
    #[error("the server ended the replication stream")]
    Ended,
    /// What the server sent is no replication protocol.
    #[error("the server sent what was not expected: {what} ({value})")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A message of the server's cannot be read.
    #[error("the server sent a message that cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// A query was abandoned half way, so the connection's state is unknown.
    #[error("the replication connection was abandoned in the middle of a query")]
    Abandoned,
}

impl SourceError {
    /// Whether the same thing may succeed later with nobody having changed anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Postgres(error) => error.is_retryable(),
            Self::NoFreeWalsender(_)
            | Self::SlotActive { .. }
            | Self::SlotExists { .. }
            | Self::SlotWaits { .. }
            | Self::StandbyBehind { .. }
            | Self::TimelineLeft { .. }
            | Self::ShuttingDown
            | Self::Ended
            | Self::Malformed { .. }
            | Self::Unreadable(_)
            | Self::Abandoned => true,
            Self::NoReplicationRight { .. }
            | Self::NotReplicating(_)
            | Self::WalLevel { .. }
            | Self::PrimaryWalLevel(_)
            | Self::SlotMissing { .. }
            | Self::SlotPhysical { .. }
            | Self::SlotPlugin { .. }
            | Self::SlotDatabase { .. }
            | Self::SlotInvalidated { .. }
            | Self::NoFreeSlot(_)
            | Self::PublicationMissing { .. }
            | Self::CannotSend { .. }
            | Self::StandbyAlone
            | Self::StandbyTooOld { .. }
            | Self::SynchronousStandby { .. }
            | Self::Setting { .. } => false,
        }
    }

    /// What the operator should do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Postgres(error) => return error.hint(),
            Self::NoReplicationRight { role, .. } => {
                return Some(format!(
                    "run as a superuser: ALTER ROLE {} REPLICATION (on Amazon RDS: GRANT rds_replication TO it)",
                    postgres_protocol::escape::escape_identifier(role)
                ));
            }
            Self::SlotInvalidated { reason, .. } => return Some(reason.hint()),
            Self::CannotSend { commit_lsn, .. } => return Some(unsent_hint(*commit_lsn)),
            Self::NoFreeWalsender(_) => {
                "raise max_wal_senders (or max_connections; restart needed), or end replication connections that are not needed"
            }
            Self::NotReplicating(_) => {
                "the url must lead to Postgres itself: a connection pooler cannot carry replication"
            }
            Self::WalLevel { .. } => "ALTER SYSTEM SET wal_level = logical, then restart Postgres",
            Self::PrimaryWalLevel(_) => "on the primary: ALTER SYSTEM SET wal_level = logical, then restart it",
            Self::SlotMissing { .. } => "run `webhookdb setup`, which makes it",
            Self::SlotPhysical { .. } | Self::SlotPlugin { .. } => {
                "name another slot in the config, or drop this one if nobody uses it, and run `webhookdb setup`"
            }
            Self::SlotDatabase { .. } => {
                "slot names are shared by all databases of a server: name another slot in the config"
            }
            Self::SlotActive { .. } => {
                "another daemon reads from it: this one takes over when that one stops. Is it not a daemon of yours? Then name another slot"
            }
            Self::NoFreeSlot(_) => {
                "raise max_replication_slots (restart needed), or drop slots that nobody uses: see pg_replication_slots"
            }
            Self::SlotExists { .. } => "run `webhookdb setup` again: it adopts what is there",
            Self::SlotWaits { .. } => {
                "end the transactions that have been open for long (see xact_start in pg_stat_activity, and pg_prepared_xacts), then run `webhookdb setup` again"
            }
            Self::PublicationMissing { .. } => {
                "the publication must be older than the slot, and may only be altered: run `webhookdb setup`, which says how to go on"
            }
            Self::StandbyAlone => {
                "name the primary in the source's url; or, to read from this standby (Postgres 16 and later), in its primary_url"
            }
            Self::StandbyTooOld { .. } => "name the primary in the source's url",
            Self::StandbyBehind { .. } => {
                "it catches up by itself, unless its connection to the primary is lost: see pg_stat_wal_receiver there"
            }
            Self::SynchronousStandby { .. } => {
                "applications' commits would wait for webhooks: name the real standbys in synchronous_standby_names instead of '*'"
            }
            Self::Setting { .. } => {
                "something between here and Postgres drops startup parameters: connect to Postgres itself"
            }
            Self::TimelineLeft { .. }
            | Self::ShuttingDown
            | Self::Ended
            | Self::Malformed { .. }
            | Self::Unreadable(_)
            | Self::Abandoned => {
                return None;
            }
        };
        Some(hint.to_owned())
    }

    /// As metrics name it.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "server",
            Self::NoReplicationRight { .. } => "no_replication_right",
            Self::NoFreeWalsender(_) => "no_free_walsender",
            Self::NotReplicating(_) => "not_replicating",
            Self::WalLevel { .. } | Self::PrimaryWalLevel(_) => "wal_level",
            Self::SlotMissing { .. } => "slot_missing",
            Self::SlotPhysical { .. } | Self::SlotPlugin { .. } | Self::SlotDatabase { .. } => "slot_unfit",
            Self::SlotInvalidated { reason, .. } => reason.label(),
            Self::SlotActive { .. } => "slot_in_use",
            Self::NoFreeSlot(_) => "no_free_slot",
            Self::SlotExists { .. } | Self::SlotWaits { .. } => "slot_not_made",
            Self::PublicationMissing { .. } => "publication_missing",
            Self::CannotSend { .. } => "cannot_send",
            Self::StandbyAlone | Self::StandbyTooOld { .. } => "standby",
            Self::StandbyBehind { .. } => "standby_behind",
            Self::TimelineLeft { .. } => "timeline_left",
            Self::SynchronousStandby { .. } => "synchronous_standby",
            Self::Setting { .. } => "setting",
            Self::ShuttingDown => "shutting_down",
            Self::Ended | Self::Malformed { .. } | Self::Unreadable(_) | Self::Abandoned => "stream_ended",
        }
    }

    /// The server's code, where it was the server that reported the error.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(error) => error.sqlstate(),
            Self::NoReplicationRight { source, .. }
            | Self::NoFreeWalsender(source)
            | Self::NotReplicating(source)
            | Self::NoFreeSlot(source)
            | Self::PrimaryWalLevel(source)
            | Self::CannotSend { source, .. }
            | Self::PublicationMissing { source, .. } => Some(source.sqlstate()),
            _ => None,
        }
    }

    /// What an error means while logging in for replication.
    pub(super) fn at_login(error: ServerError, url: &PostgresUrl) -> Self {
        let source = Box::new(error);
        match source.sqlstate() {
            code if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                Self::NoReplicationRight { role: url.user.clone(), source }
            }
            code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                PostgresError::may_not_log_in(url, *source).into()
            }
            code if *code == SqlState::TOO_MANY_CONNECTIONS => Self::NoFreeWalsender(source),
            // What a pooler says to the parameter `replication`.
            code if *code == SqlState::PROTOCOL_VIOLATION => Self::NotReplicating(source),
            _ => (*source).into(),
        }
    }

    /// What an error means while the log is streamed; `position`: what the output plugin was at.
    pub(super) fn while_streaming(error: ServerError, position: Option<Lsn>, publication: &str) -> Self {
        if *error.sqlstate() == SqlState::UNDEFINED_OBJECT {
            return Self::PublicationMissing { publication: publication.to_owned(), source: Box::new(error) };
        }
        if position.is_some() && !error.is_retryable() {
            return Self::CannotSend { commit_lsn: None, change_lsn: position, source: Box::new(error) };
        }
        error.into()
    }

    /// The same error, known to have come amid the transaction of this commit. The server sends transactions whole: what
    /// fails there for good is the sending.
    #[must_use]
    pub fn amid(self, transaction: Lsn) -> Self {
        let commit_lsn = Some(transaction);
        match self {
            Self::CannotSend { change_lsn, source, .. } => Self::CannotSend { commit_lsn, change_lsn, source },
            Self::Postgres(PostgresError::Server(error)) if !error.is_retryable() => {
                Self::CannotSend { commit_lsn, change_lsn: None, source: Box::new(error) }
            }
            other => other,
        }
    }

    /// Whether a notice lets the stream go on. Version 18 goes on without a publication that is missing, and leaves its
    /// changes out with a warning, which is the only one of this code while the log is streamed.
    pub(super) fn check_notice(notice: ServerError, publication: &str) -> Result<(), Self> {
        if *notice.sqlstate() == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE {
            return Err(Self::PublicationMissing { publication: publication.to_owned(), source: Box::new(notice) });
        }
        Ok(())
    }
}

impl From<ServerError> for SourceError {
    fn from(error: ServerError) -> Self {
        Self::Postgres(error.into())
    }
}

impl From<tokio_postgres::Error> for SourceError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error.into())
    }
}

/// What cannot be sent, as far as it is known.
fn unsent(commit_lsn: Option<Lsn>, change_lsn: Option<Lsn>) -> String {
    match (commit_lsn, change_lsn) {
        (Some(commit), Some(change)) => {
            format!("the transaction of commit {commit}: it fails at the change at {change}")
        }
        (Some(commit), None) => format!("the transaction of commit {commit}"),
        (None, Some(change)) => format!("the change at {change}"),
        (None, None) => "what comes next in the log".to_owned(),
    }
}

fn unsent_hint(commit_lsn: Option<Lsn>) -> String {
    match commit_lsn {
        Some(lsn) => format!(
            "nothing after it can be read before it is passed: `webhookdb setup --skip-transaction {lsn}` gives up what of \
             this one transaction was not sent, and records the gap"
        ),
        None => "nothing after it can be read. Mend on the server what it complains of (a row filter that fails, say), or drop \
                 the slot and run `webhookdb setup --accept-gap`, which begins anew at the present position and records the \
                 gap"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str) -> ServerError {
        ServerError::new(SqlState::from_code(code), "said so".to_owned(), None)
    }

    #[test]
    fn what_fails_at_a_change_for_good_cannot_be_sent() {
        let change = Some(Lsn::new(0x10));
        let streamed = |code, position| SourceError::while_streaming(error(code), position, "p");
        for code in ["XX000", "54000", "22012"] {
            let SourceError::CannotSend { commit_lsn: None, change_lsn, .. } = streamed(code, change) else {
                panic!("{code} can be sent");
            };
            assert_eq!(change_lsn, change);
        }
        for (code, position) in [("57P01", change), ("53200", change), ("XX000", None)] {
            assert!(matches!(streamed(code, position), SourceError::Postgres(_)), "{code}");
        }
        assert!(matches!(streamed("42704", change), SourceError::PublicationMissing { .. }));
    }

    #[test]
    fn amid_a_transaction_the_commit_is_named_and_the_way_past_it() {
        let commit = Lsn::new(0x20);
        for found in [SourceError::while_streaming(error("54000"), Some(Lsn::new(0x10)), "p"), error("XX001").into()] {
            let error = found.amid(commit);
            assert!(error.to_string().contains("the transaction of commit 0/20"), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("setup --skip-transaction 0/20`")));
        }
        assert!(matches!(SourceError::from(error("57P01")).amid(commit), SourceError::Postgres(_)));
        assert!(matches!(SourceError::Ended.amid(commit), SourceError::Ended));
    }
}
