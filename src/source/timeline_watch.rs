//! How far the log of a standby is known to be of one timeline. A primary leaves its timeline by a restart only, which cuts
//! every connection; a standby that is promoted, or follows another primary, goes on streaming. Ids and checkpoints name the
//! timeline, so nothing beyond the switch may be taken for what came before it.

use super::{ReplicationConnection, SourceError};
use crate::config::PostgresUrl;
use crate::model::Lsn;

/// A second replication connection, which is asked where the standby is.
pub struct TimelineWatch {
    connection: ReplicationConnection,
    timeline: u32,
    known_until: Lsn,
}

impl TimelineWatch {
    /// For a stream that was begun on this timeline.
    ///
    /// # Errors
    /// Where the server is not reached, or refuses.
    pub async fn connect(url: &PostgresUrl, timeline: u32) -> Result<Self, SourceError> {
        let connection = ReplicationConnection::connect(url).await?;
        Ok(Self { connection, timeline, known_until: Lsn::ZERO })
    }

    /// Whether what was read up to here is still of the stream's timeline. Asks the server only beyond what it has told.
    ///
    /// # Errors
    /// [`SourceError::TimelineLeft`] where the server is on another timeline by now, and where the query fails.
    pub async fn check(&mut self, lsn: Lsn) -> Result<(), SourceError> {
        if lsn <= self.known_until {
            return Ok(());
        }
        let now = self.connection.identify_system().await?;
        if now.timeline != self.timeline {
            return Err(SourceError::TimelineLeft { from: self.timeline, to: now.timeline });
        }
        // What was streamed is replayed, though a server that has received no more may say less.
        self.known_until = now.flush_lsn.max(lsn);
        Ok(())
    }
}
