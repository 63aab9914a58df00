//! The byte stream cut into protocol messages: sliced out of large reads without a copy.
//!
//! Memory follows what has arrived, never what a length field claims.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::SourceError;
use crate::model::Lsn;

/// What one read asks for. Messages are slices of such a chunk and keep it alive, so it is not larger than what saves
/// system calls.
const CHUNK: usize = 128 * 1024;
/// A chunk with less room than this left is not worth another system call.
const ROOM_MIN: usize = 16 * 1024;
/// Tag and length field.
const HEADER: usize = 5;
/// The largest message that Postgres can build (`MaxAllocSize`), with its header.
const MESSAGE_MAX: usize = 0x3fff_ffff + HEADER;
/// The largest message other than row data: anything beyond this is no Postgres.
const CONTROL_MESSAGE_MAX: usize = 16 * 1024 * 1024;
/// Our own logical messages are far shorter. Any role may write others of hundreds of megabytes: they are dropped as they
/// arrive.
const LOGICAL_MESSAGE_MAX: usize = 64 * 1024;
/// In a CopyData message with row data: `w`, then two LSNs and a clock before the payload.
const DATA_HEADER: usize = 25;

/// The tag of CopyData.
pub(super) const COPY_DATA: u8 = b'd';
/// The tag of row data inside CopyData.
pub(super) const DATA: u8 = b'w';
/// The tag of a logical message inside row data.
const LOGICAL_MESSAGE: u8 = b'M';

/// One thing that the server sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// A whole message, header included; at least five bytes.
    Message(Bytes),
    /// A logical message that was too long to be ours and was dropped while it arrived.
    Skipped {
        /// Where it stands in the log.
        wal_start: Lsn,
        /// How long it was, header included.
        bytes: usize,
    },
}

/// Cuts what arrived into messages.
#[derive(Debug, Default)]
pub(super) struct Framer {
    buffer: BytesMut,
    /// The whole length of the message that `buffer` begins with, once its header is there.
    expected: usize,
    skipping: Option<Skipping>,
}

#[derive(Debug)]
struct Skipping {
    wal_start: Lsn,
    bytes: usize,
    left: usize,
}

impl Framer {
    /// The next whole message; `None` where more has to arrive first.
    pub(super) fn next(&mut self) -> Result<Option<Wire>, SourceError> {
        if self.skipping.is_some() {
            return Ok(self.skip());
        }
        let Some((tag, length)) = self.header()? else {
            self.expected = 0;
            return Ok(None);
        };
        self.expected = length;
        if tag == COPY_DATA && length > LOGICAL_MESSAGE_MAX {
            match self.foreign_message() {
                Foreign::Unknown => return Ok(None),
                Foreign::Yes(wal_start) => {
                    self.skipping = Some(Skipping { wal_start, bytes: length, left: length });
                    return Ok(self.skip());
                }
                Foreign::No => {}
            }
        }
        Ok((self.buffer.len() >= length).then(|| Wire::Message(self.take(length))))
    }

    fn header(&self) -> Result<Option<(u8, usize)>, SourceError> {
        let Some(mut header) = self.buffer.get(..HEADER) else { return Ok(None) };
        let tag = header.get_u8();
        // The field counts itself, but not the tag.
        let length = usize::try_from(header.get_u32()).unwrap_or(usize::MAX).saturating_add(1);
        let max = if tag == COPY_DATA { MESSAGE_MAX } else { CONTROL_MESSAGE_MAX };
        if length < HEADER || length > max {
            return Err(SourceError::Malformed {
                what: "the length of a message",
                value: u64::try_from(length).unwrap_or(u64::MAX),
            });
        }
        Ok(Some((tag, length)))
    }

    /// Whether the message at the front is a logical message. Decided by the same bytes however they were cut.
    fn foreign_message(&self) -> Foreign {
        let Some(mut start) = self.buffer.get(HEADER..=HEADER + DATA_HEADER) else { return Foreign::Unknown };
        if start.get_u8() != DATA || start.last() != Some(&LOGICAL_MESSAGE) {
            return Foreign::No;
        }
        Foreign::Yes(Lsn::new(start.get_u64()))
    }

    fn skip(&mut self) -> Option<Wire> {
        let skipping = self.skipping.as_mut()?;
        let here = skipping.left.min(self.buffer.len());
        self.buffer.advance(here);
        skipping.left -= here;
        self.expected = 0;
        if skipping.left > 0 {
            return None;
        }
        self.skipping.take().map(|done| Wire::Skipped { wal_start: done.wal_start, bytes: done.bytes })
    }

    fn take(&mut self, length: usize) -> Bytes {
        self.expected = 0;
        if length > CHUNK {
            // A buffer that has grown for one large message goes with it.
            let mut whole = std::mem::take(&mut self.buffer);
            self.buffer.extend_from_slice(whole.get(length..).unwrap_or_default());
            whole.truncate(length);
            return whole.freeze();
        }
        self.buffer.split_to(length).freeze()
    }

    /// Reads once, whatever is there; 0 at the end of the stream. Nothing is lost where the future is dropped.
    pub(super) async fn fill<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> std::io::Result<usize> {
        let limit = self.make_room();
        reader.read_buf(&mut (&mut self.buffer).limit(limit)).await
    }

    /// Makes room for one read and says how much of it to use.
    fn make_room(&mut self) -> usize {
        let held = self.buffer.len();
        if self.expected > CHUNK {
            // Doubles with what has arrived. Not a byte beyond the message is read, so that nothing has to be moved out
            // of the large buffer afterwards.
            let rest = self.expected.saturating_sub(held).max(1);
            let room = rest.min(held.max(CHUNK));
            self.buffer.reserve(room);
            return rest.min(self.buffer.capacity() - held);
        }
        let room = self.buffer.capacity() - held;
        if room >= ROOM_MIN && room >= self.expected.saturating_sub(held) {
            return room;
        }
        // `held` is less than a chunk: it is the beginning of a message that fits into one.
        if !self.buffer.try_reclaim(CHUNK.saturating_sub(held)) {
            let mut chunk = BytesMut::with_capacity(CHUNK.max(held + ROOM_MIN));
            chunk.extend_from_slice(&self.buffer);
            self.buffer = chunk;
        }
        self.buffer.capacity() - held
    }

    #[cfg(test)]
    fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }
}

enum Foreign {
    /// Too little has arrived to tell.
    Unknown,
    /// It is one, at this LSN.
    Yes(Lsn),
    No,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut message = vec![tag];
        message.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        message.extend(body);
        message
    }

    fn data(wal_start: u64, payload: &[u8]) -> Vec<u8> {
        let mut body = vec![DATA];
        body.extend(wal_start.to_be_bytes());
        body.extend([0; 16]);
        body.extend(payload);
        message(COPY_DATA, &body)
    }

    fn frames(chunks: &[&[u8]]) -> Vec<Wire> {
        let mut framer = Framer::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            framer.feed(chunk);
            while let Some(frame) = framer.next().unwrap() {
                frames.push(frame);
            }
        }
        frames
    }

    /// Messages around every threshold: empty, small, one that is longer than a chunk, and logical messages below and
    /// above the length that is dropped.
    fn any_message() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![0..64_usize, 60_000..70_000_usize, 130_000..140_000_usize];
        let first = prop_oneof![Just(b'M'), Just(b'I')];
        prop_oneof![
            (any::<u8>().prop_filter("no row data", |tag| *tag != COPY_DATA), 0..64_usize)
                .prop_map(|(tag, length)| message(tag, &vec![7; length])),
            (any::<u64>(), first, length).prop_map(|(wal_start, first, length)| {
                let mut payload = vec![first];
                payload.resize(length + 1, 7);
                data(wal_start, &payload)
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn however_the_stream_is_cut_the_messages_are_the_same(
            messages in prop::collection::vec(any_message(), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let stream = messages.concat();
            let mut cuts = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect::<Vec<_>>();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect::<Vec<_>>();
            let cut = frames(&chunks);
            prop_assert_eq!(&cut, &frames(&[&stream]));
            prop_assert_eq!(cut.len(), messages.len());
            for (frame, message) in cut.iter().zip(&messages) {
                match frame {
                    Wire::Message(frame) => prop_assert_eq!(frame, message),
                    Wire::Skipped { bytes, .. } => prop_assert!(*bytes == message.len() && message[30] == b'M'),
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let mut framer = Framer::default();
            framer.feed(&bytes);
            while let Ok(Some(_)) = framer.next() {}
        }
    }

    #[test]
    fn a_long_logical_message_is_dropped_with_its_position_kept() {
        let long = data(0x16B_3748, &[b"M".as_slice(), &[0; 2 * CHUNK]].concat());
        let stream = [long.clone(), message(b'Z', b"I")].concat();
        let found = frames(&[&stream[..20], &stream[20..]]);
        assert_eq!(found[0], Wire::Skipped { wal_start: Lsn::new(0x16B_3748), bytes: long.len() });
        assert_eq!(found[1], Wire::Message(message(b'Z', b"I").into()));
    }

    #[test]
    fn lengths_that_no_postgres_sends_are_refused() {
        for header in [*b"d\0\0\0\x03", *b"d\x7f\xff\xff\xff", *b"E\x02\0\0\0"] {
            let mut framer = Framer::default();
            framer.feed(&header);
            assert!(matches!(framer.next(), Err(SourceError::Malformed { .. })), "{header:?}");
        }
    }

    #[tokio::test]
    async fn memory_follows_what_arrives_and_shrinks_back() {
        let mut framer = Framer::default();
        let claim = [b"d\x3f\0\0\0w".as_slice(), &[0; 24], b"I"].concat();
        framer.fill(&mut claim.as_slice()).await.unwrap();
        assert_eq!(framer.next().unwrap(), None);
        framer.make_room();
        assert!(framer.buffer.capacity() <= 2 * CHUNK, "a claim of a gigabyte allocates nothing");

        let large = data(1, &vec![b'I'; 8 * CHUNK]);
        let stream = [large.clone(), message(b'Z', b"I")].concat();
        let (mut framer, mut rest) = (Framer::default(), stream.as_slice());
        while framer.fill(&mut rest).await.unwrap() > 0 {
            if let Some(Wire::Message(frame)) = framer.next().unwrap() {
                assert_eq!(frame, large);
                break;
            }
        }
        framer.fill(&mut rest).await.unwrap();
        assert!(framer.buffer.capacity() <= 2 * CHUNK, "the large buffer is gone with its message");
        assert!(matches!(framer.next(), Ok(Some(Wire::Message(_)))));
    }

    #[tokio::test]
    async fn a_chunk_that_nobody_holds_is_used_again() {
        let one = data(1, &[b'I'; 1000]);
        let stream = one.repeat(1000);
        let (mut framer, mut rest) = (Framer::default(), stream.as_slice());
        let mut chunks = std::collections::HashSet::new();
        while framer.fill(&mut rest).await.unwrap() > 0 {
            chunks.insert(framer.buffer.as_ptr() as usize / CHUNK);
            while let Some(frame) = framer.next().unwrap() {
                drop(frame);
            }
        }
        assert!(chunks.len() <= 3, "{} chunks", chunks.len());
    }
}
