//! The reading half of a replication stream.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use postgres_protocol::message::backend::Message;
use tracing::debug;

use super::channel::{Reader, log_notice, parse, position_of_error, server_error, server_notice, tag};
use super::frame::CopyData;
use super::framing::{COPY_DATA, Wire};
use super::progress::Progress;
use super::shutdown::ShutdownSigns;
use super::{Frame, SourceError};

/// Tag and length field of a message.
const HEADER: usize = 5;

/// The log as it comes. Dropped, it gives its half of the connection to the [`Feedback`](super::Feedback), which goes on
/// reporting: reading can end before what was read is settled.
pub struct ReplicationStream {
    /// Always there, until the stream is dropped.
    reader: Option<Reader>,
    progress: Arc<Progress>,
    signs: ShutdownSigns,
    publication: String,
    backend_pid: i32,
}

impl ReplicationStream {
    pub(super) fn new(reader: Reader, progress: Arc<Progress>, publication: &str, backend_pid: i32) -> Self {
        let publication = publication.to_owned();
        Self { reader: Some(reader), progress, signs: ShutdownSigns::default(), publication, backend_pid }
    }

    /// The walsender's process, as pg_stat_replication and pg_stat_activity name it.
    #[must_use]
    pub const fn backend_pid(&self) -> i32 {
        self.backend_pid
    }

    /// The next frame. Nothing is lost where the future is dropped. It may be called as rarely as one likes: status updates
    /// go on without it.
    ///
    /// # Errors
    /// Where the connection or the server ends the stream; [`SourceError::ShuttingDown`] where the server waits for us to
    /// let go. The stream is over then.
    pub async fn next(&mut self) -> Result<Frame, SourceError> {
        loop {
            let reader = self.reader.as_mut().ok_or(SourceError::Ended)?;
            let frame = match reader.next().await? {
                Wire::Message(message) => self.read(message)?,
                Wire::Skipped { wal_start, bytes } => {
                    self.progress.receive(wal_start);
                    Some(Frame::Skipped { wal_start, bytes })
                }
            };
            if let Some(frame) = frame {
                return Ok(frame);
            }
        }
    }

    fn read(&mut self, mut message: Bytes) -> Result<Option<Frame>, SourceError> {
        if tag(&message) == COPY_DATA {
            message.advance(HEADER);
            return self.copy_data(CopyData::parse(message)?).map(Some);
        }
        match parse(&message)? {
            Message::ErrorResponse(body) => {
                let (error, position) = (server_error(&body), position_of_error(&body));
                Err(SourceError::while_streaming(error, position, &self.publication))
            }
            Message::CopyDone | Message::CommandComplete(_) | Message::ReadyForQuery(_) => Err(SourceError::Ended),
            Message::NoticeResponse(body) => {
                SourceError::check_notice(server_notice(&body), &self.publication)?;
                log_notice(&body);
                Ok(None)
            }
            // A setting was reloaded, or something that concerns us even less.
            _ => Ok(None),
        }
    }

    fn copy_data(&mut self, data: CopyData) -> Result<Frame, SourceError> {
        match data {
            CopyData::Data { wal_start, wal_end, payload } => {
                self.progress.receive(wal_start);
                Ok(Frame::Data { wal_start, wal_end, payload })
            }
            CopyData::Keepalive { wal_end, reply_wanted } => {
                self.progress.receive(wal_end);
                if reply_wanted && self.signs.observe(wal_end, self.progress.want_reply(), Instant::now()) {
                    debug!(%wal_end, "the server asks again and again: it is shutting down");
                    return Err(SourceError::ShuttingDown);
                }
                Ok(Frame::Keepalive { wal_end })
            }
        }
    }
}

impl Drop for ReplicationStream {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.progress.give_back(reader);
        }
    }
}
