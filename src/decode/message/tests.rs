//! Every message read, cut short, damaged and made up.

use super::*;
use crate::decode::test_frames::{charges, delete, frame, insert, put_name, relation_frame, update};
use crate::decode::{Casts, Datum, RowNotes, Shape, Types};
use bytes::BufMut;
use proptest::prelude::*;

const NEW: &[Datum<'_>] = &[Datum::Text(b"1"), Datum::Text(b"ch_1"), Datum::Null, Datum::Unchanged];
const OLD: &[Datum<'_>] = &[Datum::Null, Datum::Text(b"ch_0"), Datum::Null, Datum::Null];

fn time_after_2000(microseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_800) + Duration::from_micros(microseconds)
}

fn begin_frame(microseconds: i64) -> Bytes {
    frame(b'B', |out| {
        out.put_u64(0x16B_3748);
        out.put_i64(microseconds);
        out.put_u32(742);
    })
}

fn commit_frame() -> Bytes {
    frame(b'C', |out| {
        out.put_u8(0);
        out.put_u64(1);
        out.put_u64(2);
        out.put_i64(3);
    })
}

fn logical_frame() -> Bytes {
    frame(b'M', |out| {
        out.put_u8(1);
        out.put_u64(5);
        put_name("webhookdb.notifications", out);
        out.put_u32(3);
        out.put_slice(b"a\0b");
    })
}

fn truncate_frame() -> Bytes {
    frame(b'T', |out| {
        out.put_u32(2);
        out.put_u8(3);
        out.put_u32(16_385);
        out.put_u32(16_390);
    })
}

/// One message of each kind that has a kind of its own.
fn frames() -> Vec<Bytes> {
    vec![
        begin_frame(1),
        commit_frame(),
        logical_frame(),
        truncate_frame(),
        frame(b'O', |out| {
            out.put_u64(9);
            put_name("elsewhere", out);
        }),
        frame(b'Y', |out| {
            out.put_u32(20_000);
            put_name("", out);
            put_name("mood", out);
        }),
        relation_frame(&charges()),
        insert(16_385, NEW),
        update(16_385, None, NEW),
        update(16_385, Some((OldKind::Key, OLD)), NEW),
        delete(16_385, OldKind::Full, OLD),
    ]
}

/// Reads everything that a message holds: no part of it may panic.
fn read_whole(frame: Bytes) -> Result<(), DecodeError> {
    match parse(frame)? {
        Message::Insert { new, .. } => new.columns().map(drop),
        Message::Update { old, new, .. } => {
            old.map_or(Ok(()), |old| old.tuple.columns().map(drop))?;
            new.columns().map(drop)
        }
        Message::Delete { old, .. } => old.tuple.columns().map(drop),
        _ => Ok(()),
    }
}

#[test]
fn transactions_are_read() {
    let begin = Message::Begin { final_lsn: Lsn::new(0x16B_3748), committed_at: time_after_2000(1), xid: 742 };
    assert_eq!(parse(begin_frame(1)), Ok(begin));
    let commit = Message::Commit { commit_lsn: Lsn::new(1), end_lsn: Lsn::new(2), committed_at: time_after_2000(3) };
    assert_eq!(parse(commit_frame()), Ok(commit));
}

#[test]
fn commit_times_before_2000_are_read() {
    let Ok(Message::Begin { committed_at, .. }) = parse(begin_frame(-1)) else { panic!("no BEGIN") };
    assert_eq!(time_after_2000(0).duration_since(committed_at).unwrap(), Duration::from_micros(1));
    assert!(parse(begin_frame(i64::MIN)).is_ok());
    assert!(parse(begin_frame(i64::MAX)).is_ok());
}

#[test]
fn relations_types_and_origins_are_read() {
    assert_eq!(parse(relation_frame(&charges())), Ok(Message::Relation(charges())));
    let unnamed = Relation { schema: String::new(), ..charges() };
    let pg_catalog = Relation { schema: "pg_catalog".to_owned(), ..charges() };
    assert_eq!(parse(relation_frame(&unnamed)), Ok(Message::Relation(pg_catalog)));
    let frames = frames();
    let origin = Message::Origin { commit_lsn: Lsn::new(9), name: "elsewhere".to_owned() };
    assert_eq!(parse(frames[4].clone()), Ok(origin));
    let mood = Message::Type { oid: 20_000, schema: "pg_catalog".to_owned(), name: "mood".to_owned() };
    assert_eq!(parse(frames[5].clone()), Ok(mood));
}

#[test]
fn a_truncate_names_its_tables() {
    let truncate = Message::Truncate { cascade: true, restart_identity: true, relation_oids: vec![16_385, 16_390] };
    assert_eq!(parse(truncate_frame()), Ok(truncate));
}

#[test]
fn a_logical_message_may_hold_any_bytes() {
    let prefix = Bytes::from_static(b"webhookdb.notifications");
    let content = Bytes::from_static(b"a\0b");
    let logical = Message::Logical { transactional: true, lsn: Lsn::new(5), prefix, content };
    assert_eq!(parse(logical_frame()), Ok(logical));
}

#[test]
fn rows_are_cut_into_columns_when_asked() {
    let Ok(Message::Insert { relation_oid, new }) = parse(insert(16_385, NEW)) else { panic!("no INSERT") };
    assert_eq!((relation_oid, new.columns().unwrap()), (16_385, NEW.to_vec()));

    let Ok(Message::Update { old: Some(old), new, .. }) = parse(update(1, Some((OldKind::Key, OLD)), NEW)) else {
        panic!("no UPDATE with an old tuple")
    };
    assert_eq!((old.kind, old.tuple.columns().unwrap()), (OldKind::Key, OLD.to_vec()));
    assert_eq!(new.columns().unwrap(), NEW);

    let Ok(Message::Update { old: None, new, .. }) = parse(update(1, None, NEW)) else { panic!("no UPDATE") };
    assert_eq!(new.columns().unwrap(), NEW);

    let Ok(Message::Delete { old, .. }) = parse(delete(1, OldKind::Full, OLD)) else { panic!("no DELETE") };
    assert_eq!((old.kind, old.tuple.columns().unwrap()), (OldKind::Full, OLD.to_vec()));
}

#[test]
fn a_parsed_row_shares_the_memory_of_its_frame() {
    let frame = insert(16_385, NEW);
    let range = frame.as_ptr_range();
    let Ok(Message::Insert { new, .. }) = parse(frame) else { panic!("no INSERT") };
    let text = new.columns().unwrap()[1].text().unwrap();
    assert!(range.contains(&text.as_ptr()));
}

#[test]
fn errors_say_where() {
    let mut short = insert(1, NEW).to_vec();
    short.truncate(10);
    assert_eq!(read_whole(short.into()), Err(DecodeError::Truncated { offset: 9, wanted: 4, left: 1 }));

    let mut binary = insert(1, NEW).to_vec();
    binary[8] = b'b';
    assert_eq!(read_whole(binary.into()), Err(DecodeError::BinaryValue { offset: 8 }));

    let mut long = insert(1, NEW).to_vec();
    long.extend_from_slice(b"xy");
    assert_eq!(read_whole(long.clone().into()), Err(DecodeError::TrailingBytes { offset: long.len() - 2, count: 2 }));

    assert_eq!(parse(Bytes::from_static(b"Z")), Err(DecodeError::UnknownMessage { tag: b'Z' }));
    assert_eq!(parse(Bytes::new()), Err(DecodeError::Truncated { offset: 0, wanted: 1, left: 0 }));
    let unknown = DecodeError::UnknownTag { what: "new tuple", tag: b'X', offset: 5 };
    assert_eq!(parse(Bytes::from_static(b"I\0\0\0\x01X")), Err(unknown));
    assert_eq!(parse(Bytes::from_static(b"R\0\0\0\x01ab")), Err(DecodeError::Unterminated { offset: 5 }));
    assert!(matches!(
        parse(Bytes::from_static(b"R\0\0\0\x01a\xFF\0")),
        Err(DecodeError::NameNotUtf8 { offset: 5, .. })
    ));
}

#[test]
fn every_truncation_of_every_message_is_an_error() {
    for frame in frames() {
        assert_eq!(read_whole(frame.clone()), Ok(()));
        for end in 0..frame.len() {
            assert!(read_whole(frame.slice(..end)).is_err(), "{} bytes of {frame:?}", end);
        }
    }
}

#[test]
fn what_follows_a_message_is_an_error() {
    for frame in frames() {
        let longer = [&frame[..], b"\0"].concat();
        assert!(matches!(read_whole(longer.into()), Err(DecodeError::TrailingBytes { count: 1, .. })), "{frame:?}");
    }
}

#[test]
fn counts_that_lie_reserve_no_memory() {
    let truncate = Bytes::from_static(b"T\xFF\xFF\xFF\xFF\0");
    assert!(matches!(parse(truncate), Err(DecodeError::Truncated { .. })));
    let insert = Bytes::from_static(b"I\0\0\0\x01N\xFF\xFFt\xFF\xFF\xFF\xFF");
    assert!(matches!(read_whole(insert), Err(DecodeError::Truncated { .. })));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(tag in prop::sample::select(b"BCORYIUDTM\0".to_vec()), rest: Vec<u8>) {
        let _ = read_whole(frame(tag, |out| out.extend(rest)));
    }

    #[test]
    fn damaged_messages_never_panic(
        index in 0..11usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = frames()[index].to_vec();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(Message::Relation(relation)) = parse(bytes.clone().into()) {
            let _ = Types::new().missing(&relation);
            let _ = Shape::new(relation, &Types::new());
        }
        let _ = read_whole(bytes.into());
    }

    #[test]
    fn any_values_can_be_written(texts in prop::collection::vec(prop::option::of(any::<Vec<u8>>()), 4)) {
        let values: Vec<_> = texts.iter().map(|text| text.as_deref().map_or(Datum::Null, Datum::Text)).collect();
        let Ok(Message::Insert { new, .. }) = parse(insert(1, &values)) else { panic!("no INSERT") };
        let shape = Shape::new(charges(), &Types::new());
        let mut out = Vec::new();
        let RowNotes { unchanged, .. } = shape.encode_row(&shape.read(&new).unwrap(), None, &mut Casts::default(), &mut out);
        prop_assert!(unchanged.is_empty());
        prop_assert!(std::str::from_utf8(&out).is_ok());
    }
}
