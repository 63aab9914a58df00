//! The replication connection before streaming: logged in, answering queries.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::escape::escape_identifier;
use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::fallible_iterator::FallibleIterator;

use super::channel::{Reader, Writer, log_notice, parse, server_error, tag};
use super::feedback::Feedback;
use super::framing::Wire;
use super::login::{PINNED, login};
use super::progress::Progress;
use super::quote::literal;
use super::{ReplicationStream, SlotState, SourceError, TimelineHistory};
use crate::config::PostgresUrl;
use crate::model::Lsn;
use crate::postgres::{PostgresError, ServerError, address};

/// CopyBothResponse, which `postgres-protocol` does not know.
const COPY_BOTH_RESPONSE: u8 = b'W';

/// A slot that is free is altered at once; the server waits without end for one that is not.
const ALTER_MAX: Duration = Duration::from_secs(5);

const SETTINGS: &str = include_str!("../../sql/source/session_settings.sql");

/// Which server this is and how far it has got: the answer to IDENTIFY_SYSTEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Made once by initdb; the same on every standby, and on every restored copy.
    pub system_identifier: u64,
    /// The present timeline.
    pub timeline: u32,
    /// How far the log is flushed (on a standby: replayed).
    pub flush_lsn: Lsn,
    /// The database that this connection is to.
    pub database: String,
}

/// A connection in replication mode that is not streaming yet.
pub struct ReplicationConnection {
    reader: Reader,
    writer: Writer,
    backend_pid: i32,
    /// Set while a query's answer is being read: where the future was dropped in between, the rest of the answer would be
    /// taken for the next query's.
    busy: bool,
}

impl ReplicationConnection {
    /// Connects in replication mode, with the session settings that the payload's text depends on, and checks that they
    /// are in force.
    ///
    /// # Errors
    /// Where the server is not reached within the URL's `connect_timeout`, or refuses, each with its remedy.
    pub async fn connect(url: &PostgresUrl) -> Result<Self, SourceError> {
        let timed_out = |_| PostgresError::Timeout { address: address(url), after: url.connect_timeout };
        timeout(url.connect_timeout, Box::pin(Self::login(url))).await.map_err(timed_out)?
    }

    async fn login(url: &PostgresUrl) -> Result<Self, SourceError> {
        let login = login(url).await?;
        let mut connection =
            Self { reader: login.reader, writer: login.writer, backend_pid: login.backend_pid, busy: false };
        connection.check_settings().await?;
        Ok(connection)
    }

    /// The walsender's process, as pg_stat_replication and pg_stat_activity name it.
    #[must_use]
    pub const fn backend_pid(&self) -> i32 {
        self.backend_pid
    }

    async fn check_settings(&mut self) -> Result<(), SourceError> {
        let rows = self.query(SETTINGS).await.map_err(no_replication)?;
        for (name, expected) in PINNED {
            let wanted =
                |row: &&Vec<Option<String>>| text(row, 0).is_some_and(|found| found.eq_ignore_ascii_case(name));
            let value = rows.iter().find(wanted).and_then(|row| text(row, 1)).unwrap_or_default();
            if value != expected {
                return Err(SourceError::Setting { name: name.to_owned(), value: value.to_owned(), expected });
            }
        }
        Ok(())
    }

    /// IDENTIFY_SYSTEM.
    ///
    /// # Errors
    /// Where the connection breaks, or leads to something that is not Postgres itself.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, SourceError> {
        let rows = self.query("IDENTIFY_SYSTEM").await.map_err(no_replication)?;
        let identity = rows.first().and_then(|row| {
            Some(SystemIdentity {
                system_identifier: text(row, 0)?.parse().ok()?,
                timeline: text(row, 1)?.parse().ok()?,
                flush_lsn: text(row, 2)?.parse().ok()?,
                database: text(row, 3)?.to_owned(),
            })
        });
        let value = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        identity.ok_or(SourceError::Malformed { what: "the rows of IDENTIFY_SYSTEM", value })
    }

    /// TIMELINE_HISTORY. Timeline 1 has none, and is not asked for.
    ///
    /// # Errors
    /// Where the connection breaks, or the server does not have the file any more.
    pub async fn timeline_history(&mut self, timeline: u32) -> Result<TimelineHistory, SourceError> {
        if timeline == 1 {
            return Ok(TimelineHistory::first());
        }
        let rows = self.query(&format!("TIMELINE_HISTORY {timeline}")).await?;
        let content = rows.first().and_then(|row| text(row, 1));
        TimelineHistory::parse(timeline, content.unwrap_or_default())
    }

    /// One query by the simple protocol: SQL, or a replication command. All rows as text.
    ///
    /// # Errors
    /// Where the server refuses it, or the connection breaks.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, SourceError> {
        self.send_query(sql).await?;
        let mut rows = Vec::new();
        loop {
            match self.reader.message().await? {
                Message::DataRow(row) => rows.push(columns(&row)?),
                Message::ErrorResponse(body) => return Err(self.refused(server_error(&body)).await),
                Message::NoticeResponse(body) => log_notice(&body),
                Message::ReadyForQuery(_) => {
                    self.busy = false;
                    return Ok(rows);
                }
                _ => {}
            }
        }
    }

    async fn send_query(&mut self, sql: &str) -> Result<(), SourceError> {
        if std::mem::replace(&mut self.busy, true) {
            return Err(SourceError::Abandoned);
        }
        let mut buffer = BytesMut::new();
        frontend::query(sql, &mut buffer).map_err(SourceError::Unreadable)?;
        self.writer.send(&buffer).await
    }

    /// Reads on until the server is ready again. A fatal error closes the connection in place of that.
    async fn refused(&mut self, error: ServerError) -> SourceError {
        while let Ok(message) = self.reader.message().await {
            if matches!(message, Message::ReadyForQuery(_)) {
                self.busy = false;
                break;
            }
        }
        error.into()
    }

    /// What the server says of the slot.
    ///
    /// # Errors
    /// Where there is no such slot, or the connection breaks.
    pub async fn slot_state(&mut self, slot: &str) -> Result<SlotState, SourceError> {
        let rows = self.query(&SlotState::sql(slot)).await?;
        let row = rows.first().ok_or_else(|| SourceError::SlotMissing { slot: slot.to_owned() })?;
        Ok(SlotState::from_columns(slot, row))
    }

    /// ALTER_REPLICATION_SLOT: whether standbys get the slot too (17 and later, on a primary). Waits for who uses the slot,
    /// though not for long.
    ///
    /// # Errors
    /// Where the server refuses, the slot is in use, or the connection breaks.
    pub async fn set_failover(&mut self, slot: &str, failover: bool) -> Result<(), SourceError> {
        let command = format!("ALTER_REPLICATION_SLOT {} (FAILOVER {failover})", escape_identifier(slot));
        match timeout(ALTER_MAX, self.query(&command)).await {
            Ok(answer) => answer.map(drop),
            Err(_) => {
                let holder = "another process".to_owned();
                Err(SourceError::SlotActive { slot: slot.to_owned(), holder })
            }
        }
    }

    /// START_REPLICATION, always at 0/0: the server then begins at the slot's confirmed position.
    ///
    /// # Errors
    /// Where the slot cannot be read from, each reason with its remedy.
    pub async fn start(mut self, slot: &str, publication: &str) -> Result<(ReplicationStream, Feedback), SourceError> {
        let interval = Feedback::interval(self.wal_sender_timeout().await?);
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names {}, messages 'true')",
            escape_identifier(slot),
            literal(&escape_identifier(publication)),
        );
        self.send_query(&command).await?;
        if let Err(error) = self.copy_both().await {
            return Err(self.why_not(error, slot).await);
        }
        let progress = Arc::new(Progress::default());
        let feedback = Feedback::spawn(self.writer, Arc::clone(&progress), interval);
        Ok((ReplicationStream::new(self.reader, progress, publication, self.backend_pid), feedback))
    }

    async fn wal_sender_timeout(&mut self) -> Result<Duration, SourceError> {
        let sql = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'";
        let rows = self.query(sql).await?;
        let milliseconds = rows.first().and_then(|row| text(row, 0)?.parse().ok());
        Ok(Duration::from_millis(milliseconds.unwrap_or_default()))
    }

    async fn copy_both(&mut self) -> Result<(), SourceError> {
        loop {
            let Wire::Message(frame) = self.reader.next().await? else { continue };
            if tag(&frame) == COPY_BOTH_RESPONSE {
                return Ok(());
            }
            match parse(&frame)? {
                Message::ErrorResponse(body) => return Err(self.refused(server_error(&body)).await),
                Message::NoticeResponse(body) => log_notice(&body),
                _ => {}
            }
        }
    }

    /// The server's refusal, made exact by a look at the slot: one SQLSTATE stands for many reasons.
    async fn why_not(&mut self, error: SourceError, slot: &str) -> SourceError {
        if error.sqlstate().is_none() || self.busy {
            return error;
        }
        if let Err(level) = self.check_wal_level().await {
            return level;
        }
        let database = self.query("SELECT pg_catalog.current_database()").await.unwrap_or_default();
        let database = database.first().and_then(|row| text(row, 0)).unwrap_or_default();
        match self.slot_state(slot).await.and_then(|state| state.check(database)) {
            Err(exact) => exact,
            // The holder may be gone by now.
            Ok(()) if error.sqlstate() == Some(&SqlState::OBJECT_IN_USE) => SourceError::SlotActive {
                slot: slot.to_owned(),
                holder: "a process that has just let it go".to_owned(),
            },
            Ok(()) => error,
        }
    }

    async fn check_wal_level(&mut self) -> Result<(), SourceError> {
        let rows = self.query("SHOW wal_level").await?;
        match rows.first().and_then(|row| text(row, 0)) {
            Some("logical") | None => Ok(()),
            Some(level) => Err(SourceError::WalLevel { level: level.to_owned() }),
        }
    }
}

/// Something that does not know IDENTIFY_SYSTEM, or the catalogs, is not in replication mode.
fn no_replication(error: SourceError) -> SourceError {
    match error {
        SourceError::Postgres(PostgresError::Server(error)) if *error.sqlstate() == SqlState::SYNTAX_ERROR => {
            SourceError::NotReplicating(Box::new(error))
        }
        other => other,
    }
}

fn text(row: &[Option<String>], column: usize) -> Option<&str> {
    row.get(column)?.as_deref()
}

fn columns(row: &DataRowBody) -> Result<Vec<Option<String>>, SourceError> {
    let values = row.ranges().map(|range| {
        Ok(range.map(|range| String::from_utf8_lossy(row.buffer().get(range).unwrap_or_default()).into_owned()))
    });
    values.collect().map_err(SourceError::Unreadable)
}
