//! The two halves of a replication connection: whole messages in, bytes out.

use std::io;

use bytes::{Bytes, BytesMut};
use postgres_protocol::message::backend::{self, ErrorFields, Message};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_postgres::error::SqlState;
use tokio_postgres::fallible_iterator::FallibleIterator;
use tracing::warn;

use super::SourceError;
use super::framing::{Framer, Wire};
use crate::model::Lsn;
use crate::postgres::{PostgresError, ServerError, Stream};

/// The reading half.
pub(super) struct Reader {
    half: ReadHalf<Stream>,
    framer: Framer,
}

impl Reader {
    pub(super) fn new(half: ReadHalf<Stream>) -> Self {
        Self { half, framer: Framer::default() }
    }

    /// The next message. Nothing is lost where the future is dropped: what has arrived stays in the framer.
    pub(super) async fn next(&mut self) -> Result<Wire, SourceError> {
        loop {
            if let Some(wire) = self.framer.next()? {
                return Ok(wire);
            }
            if self.framer.fill(&mut self.half).await.map_err(PostgresError::Io)? == 0 {
                return Err(PostgresError::Closed.into());
            }
        }
    }

    /// The next message, read by `postgres-protocol`; for everything but CopyData and CopyBoth, which it does not know.
    pub(super) async fn message(&mut self) -> Result<Message, SourceError> {
        loop {
            match self.next().await? {
                Wire::Message(frame) => return parse(&frame),
                Wire::Skipped { .. } => {}
            }
        }
    }
}

/// Reads a whole message of a kind that `postgres-protocol` knows.
pub(super) fn parse(frame: &Bytes) -> Result<Message, SourceError> {
    let parsed = Message::parse(&mut BytesMut::from(frame.as_ref())).map_err(SourceError::Unreadable)?;
    parsed.ok_or_else(|| SourceError::Unreadable(io::ErrorKind::UnexpectedEof.into()))
}

/// A message's tag; 0, which is no tag, where it has none.
pub(super) fn tag(frame: &Bytes) -> u8 {
    frame.first().copied().unwrap_or_default()
}

/// The error that an ErrorResponse tells of.
pub(super) fn server_error(body: &backend::ErrorResponseBody) -> ServerError {
    read_fields(body.fields())
}

/// The position in the log that an error's context tells where an output plugin was at work: `…, associated LSN 0/16B3748`
/// in whatever language.
pub(super) fn position_of_error(body: &backend::ErrorResponseBody) -> Option<Lsn> {
    let mut fields = body.fields();
    while let Ok(Some(field)) = fields.next() {
        if field.type_() == b'W' {
            let context = String::from_utf8_lossy(field.value_bytes()).into_owned();
            return context.split(|c: char| !(c.is_ascii_hexdigit() || c == '/')).find_map(|word| word.parse().ok());
        }
    }
    None
}

/// What a NoticeResponse tells of.
pub(super) fn server_notice(body: &backend::NoticeResponseBody) -> ServerError {
    read_fields(body.fields())
}

/// Says a notice in the log; the walsender's are rare, and mean something.
pub(super) fn log_notice(body: &backend::NoticeResponseBody) {
    let notice = server_notice(body);
    warn!(sqlstate = notice.sqlstate().code(), "notice from the server: {}", notice.message());
}

fn read_fields(mut fields: ErrorFields<'_>) -> ServerError {
    let (mut sqlstate, mut message, mut detail, mut file) = (SqlState::INTERNAL_ERROR, String::new(), None, None);
    // A field that cannot be read ends the reading: what has been understood is reported.
    while let Ok(Some(field)) = fields.next() {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => sqlstate = SqlState::from_code(&value),
            b'M' => message = value,
            b'D' => detail = Some(value),
            b'F' => file = Some(value),
            _ => {}
        }
    }
    ServerError::new(sqlstate, message, detail).raised_in(file.as_deref())
}

/// The writing half.
pub(super) struct Writer {
    half: WriteHalf<Stream>,
}

impl Writer {
    pub(super) fn new(half: WriteHalf<Stream>) -> Self {
        Self { half }
    }

    /// Sends the bytes, through TLS too.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.half.write_all(bytes).await.map_err(PostgresError::Io)?;
        Ok(self.half.flush().await.map_err(PostgresError::Io)?)
    }

    /// Ends the writing direction.
    pub(super) async fn shut_down(&mut self) -> io::Result<()> {
        self.half.shutdown().await
    }
}
