//! What the walsender says inside CopyData: row data, and keepalives.

use bytes::{Buf, Bytes};

use super::SourceError;
use super::framing::DATA;
use crate::model::Lsn;

const KEEPALIVE: u8 = b'k';

/// One thing that happened in the log, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One pgoutput message.
    Data {
        /// Where what it speaks of stands in the log (0/0 for a RELATION).
        wal_start: Lsn,
        /// How far the server has read.
        wal_end: Lsn,
        /// The pgoutput message. A slice of a large read: what is kept of it for long should be copied out.
        payload: Bytes,
    },
    /// A logical message too long to be ours, dropped while it arrived. It is no change and counts for no index.
    Skipped {
        /// Where it stands in the log.
        wal_start: Lsn,
        /// How long it was.
        bytes: usize,
    },
    /// The server has nothing (more) for us below this position: a marker in the order of the stream.
    Keepalive {
        /// How far the server has read.
        wal_end: Lsn,
    },
}

/// What a CopyData message holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CopyData {
    Data { wal_start: Lsn, wal_end: Lsn, payload: Bytes },
    Keepalive { wal_end: Lsn, reply_wanted: bool },
}

impl CopyData {
    /// Reads the contents of a CopyData message.
    pub(super) fn parse(mut body: Bytes) -> Result<Self, SourceError> {
        match body.try_get_u8() {
            Ok(DATA) => Self::data(body).map_err(short),
            Ok(KEEPALIVE) => Self::keepalive(body).map_err(short),
            Ok(tag) => Err(SourceError::Malformed { what: "the kind of a replication message", value: tag.into() }),
            Err(error) => Err(short(error)),
        }
    }

    fn data(mut body: Bytes) -> Result<Self, bytes::TryGetError> {
        let wal_start = Lsn::new(body.try_get_u64()?);
        let wal_end = Lsn::new(body.try_get_u64()?);
        let _clock = body.try_get_i64()?;
        Ok(Self::Data { wal_start, wal_end, payload: body })
    }

    fn keepalive(mut body: Bytes) -> Result<Self, bytes::TryGetError> {
        let wal_end = Lsn::new(body.try_get_u64()?);
        let _clock = body.try_get_i64()?;
        Ok(Self::Keepalive { wal_end, reply_wanted: body.try_get_u8()? != 0 })
    }
}

fn short(error: bytes::TryGetError) -> SourceError {
    SourceError::Malformed {
        what: "the bytes left of a replication message",
        value: u64::try_from(error.available).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_data_and_keepalives() {
        let data = [b"w".as_slice(), &7_u64.to_be_bytes(), &9_u64.to_be_bytes(), &[0; 8], b"B..."].concat();
        let read = CopyData::parse(data.into()).unwrap();
        assert_eq!(
            read,
            CopyData::Data { wal_start: Lsn::new(7), wal_end: Lsn::new(9), payload: Bytes::from_static(b"B...") }
        );
        let keepalive = [b"k".as_slice(), &9_u64.to_be_bytes(), &[0; 8], &[1]].concat();
        let read = CopyData::parse(keepalive.into()).unwrap();
        assert_eq!(read, CopyData::Keepalive { wal_end: Lsn::new(9), reply_wanted: true });
    }

    proptest! {
        #[test]
        fn short_or_strange_contents_are_errors(bytes in prop::collection::vec(any::<u8>(), 0..17)) {
            prop_assert!(CopyData::parse(bytes.into()).is_err());
        }
    }
}
