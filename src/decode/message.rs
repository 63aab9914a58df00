//! The messages of pgoutput, protocol version 1.

use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};

use super::reader::Reader;
use super::tuple::{self, OldKind, OldTuple, Tuple};
use super::{DecodeError, Relation, relation};
use crate::model::Lsn;

/// Seconds from the Unix epoch to the epoch of Postgres, 2000-01-01.
const POSTGRES_EPOCH_SECONDS: u64 = 946_684_800;

const FLAG_TRANSACTIONAL: u8 = 1;
const FLAG_CASCADE: u8 = 1;
const FLAG_RESTART_IDENTITY: u8 = 2;

/// One message of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A transaction begins.
    Begin {
        /// The LSN of its commit record.
        final_lsn: Lsn,
        /// When it was committed.
        committed_at: SystemTime,
        /// Its transaction id.
        xid: u32,
    },
    /// The transaction is complete.
    Commit {
        /// The LSN of its commit record, the same as BEGIN's.
        commit_lsn: Lsn,
        /// The end of its commit record: what can be acknowledged.
        end_lsn: Lsn,
        /// When it was committed.
        committed_at: SystemTime,
    },
    /// The transaction came here by replication from elsewhere.
    Origin {
        /// Its commit LSN there.
        commit_lsn: Lsn,
        /// The replication origin's name.
        name: String,
    },
    /// A table's description, before its first change and again whenever it may have changed.
    Relation(Relation),
    /// The name of a type that is not built in, before the relation that uses it.
    Type {
        /// The type's OID.
        oid: u32,
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// A row came to be.
    Insert {
        /// The table.
        relation_oid: u32,
        /// The row.
        new: Tuple,
    },
    /// A row was written anew.
    Update {
        /// The table.
        relation_oid: u32,
        /// The row before, where the log holds any of it.
        old: Option<OldTuple>,
        /// The row after.
        new: Tuple,
    },
    /// A row went.
    Delete {
        /// The table.
        relation_oid: u32,
        /// The row before.
        old: OldTuple,
    },
    /// Tables were emptied.
    Truncate {
        /// Whether CASCADE was said.
        cascade: bool,
        /// Whether RESTART IDENTITY was said.
        restart_identity: bool,
        /// The tables.
        relation_oids: Vec<u32>,
    },
    /// What somebody wrote by `pg_logical_emit_message`.
    Logical {
        /// Whether it belongs to the transaction it stands in.
        transactional: bool,
        /// Where it stands in the log.
        lsn: Lsn,
        /// Whose message it is.
        prefix: Bytes,
        /// The message.
        content: Bytes,
    },
}

/// Reads one message. Tuples are cut into columns later, by [`Tuple::columns`].
pub fn parse(frame: Bytes) -> Result<Message, DecodeError> {
    match frame.first() {
        Some(b'I') => insert(frame),
        Some(b'U') => update(frame),
        Some(b'D') => delete(frame),
        Some(b'M') => logical(&frame),
        Some(&tag) => control(tag, &frame),
        None => Err(DecodeError::Truncated { offset: 0, wanted: 1, left: 0 }),
    }
}

/// The messages that hold no slice of their frame.
fn control(tag: u8, frame: &[u8]) -> Result<Message, DecodeError> {
    let mut reader = Reader::after_tag(frame);
    let message = match tag {
        b'B' => begin(&mut reader)?,
        b'C' => commit(&mut reader)?,
        b'O' => Message::Origin { commit_lsn: lsn(&mut reader)?, name: reader.name()?.to_owned() },
        b'R' => Message::Relation(Relation::read(&mut reader)?),
        b'Y' => type_name(&mut reader)?,
        b'T' => truncate(&mut reader)?,
        _ => return Err(DecodeError::UnknownMessage { tag }),
    };
    reader.finish()?;
    Ok(message)
}

fn begin(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    Ok(Message::Begin { final_lsn: lsn(reader)?, committed_at: time(reader)?, xid: reader.u32()? })
}

fn commit(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    // Flags, of which none is in use.
    reader.u8()?;
    Ok(Message::Commit { commit_lsn: lsn(reader)?, end_lsn: lsn(reader)?, committed_at: time(reader)? })
}

fn type_name(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    let oid = reader.u32()?;
    Ok(Message::Type { oid, schema: relation::schema(reader)?, name: reader.name()?.to_owned() })
}

fn truncate(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    let count = reader.u32()?;
    let flags = reader.u8()?;
    Ok(Message::Truncate {
        cascade: flags & FLAG_CASCADE != 0,
        restart_identity: flags & FLAG_RESTART_IDENTITY != 0,
        relation_oids: (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?,
    })
}

fn insert(frame: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::after_tag(&frame);
    let relation_oid = reader.u32()?;
    expect_new(&mut reader)?;
    let offset = reader.offset();
    Ok(Message::Insert { relation_oid, new: tuple_from(frame, offset) })
}

fn update(frame: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::after_tag(&frame);
    let relation_oid = reader.u32()?;
    let tag = reader.u8()?;
    let old = match old_kind(tag) {
        Some(kind) => {
            let old = Some(OldTuple { kind, tuple: tuple_between(&frame, &mut reader)? });
            expect_new(&mut reader)?;
            old
        }
        None if tag == b'N' => None,
        None => return Err(reader.unknown("tuple", tag)),
    };
    let offset = reader.offset();
    Ok(Message::Update { relation_oid, old, new: tuple_from(frame, offset) })
}

fn delete(frame: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::after_tag(&frame);
    let relation_oid = reader.u32()?;
    let tag = reader.u8()?;
    let kind = old_kind(tag).ok_or_else(|| reader.unknown("old tuple", tag))?;
    let offset = reader.offset();
    Ok(Message::Delete { relation_oid, old: OldTuple { kind, tuple: tuple_from(frame, offset) } })
}

fn logical(frame: &Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::after_tag(frame);
    let transactional = reader.u8()? & FLAG_TRANSACTIONAL != 0;
    let lsn = lsn(&mut reader)?;
    let prefix = frame.slice_ref(reader.terminated()?);
    let content = frame.slice_ref(reader.sized()?);
    reader.finish()?;
    Ok(Message::Logical { transactional, lsn, prefix, content })
}

const fn old_kind(tag: u8) -> Option<OldKind> {
    match tag {
        b'K' => Some(OldKind::Key),
        b'O' => Some(OldKind::Full),
        _ => None,
    }
}

fn expect_new(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match reader.u8()? {
        b'N' => Ok(()),
        tag => Err(reader.unknown("new tuple", tag)),
    }
}

/// The tuple that goes on to the end of the message, which takes the frame over.
fn tuple_from(mut frame: Bytes, offset: usize) -> Tuple {
    frame.advance(offset);
    Tuple::new(frame, offset)
}

/// The tuple that stands before another one.
fn tuple_between(frame: &Bytes, reader: &mut Reader<'_>) -> Result<Tuple, DecodeError> {
    let start = reader.offset();
    tuple::skip(reader)?;
    Ok(Tuple::new(frame.slice(start..reader.offset()), start))
}

fn lsn(reader: &mut Reader<'_>) -> Result<Lsn, DecodeError> {
    reader.u64().map(Lsn::new)
}

fn time(reader: &mut Reader<'_>) -> Result<SystemTime, DecodeError> {
    let microseconds = reader.i64()?;
    let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(POSTGRES_EPOCH_SECONDS);
    let distance = Duration::from_micros(microseconds.unsigned_abs());
    let time = if microseconds < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) };
    time.ok_or(DecodeError::TimeOutOfRange { microseconds })
}

#[cfg(test)]
mod tests;
