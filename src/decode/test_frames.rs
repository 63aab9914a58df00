//! Messages as a server writes them, for the tests of this room.

use bytes::{BufMut, Bytes};

use super::{Column, Datum, OldKind, Relation, ReplicaIdentity};

/// A frame with this tag.
pub(super) fn frame(tag: u8, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = vec![tag];
    write(&mut bytes);
    bytes.into()
}

pub(super) fn put_name(name: &str, out: &mut Vec<u8>) {
    out.put_slice(name.as_bytes());
    out.put_u8(0);
}

pub(super) fn put_tuple(values: &[Datum<'_>], out: &mut Vec<u8>) {
    out.put_u16(u16::try_from(values.len()).unwrap());
    for value in values {
        match value {
            Datum::Null => out.put_u8(b'n'),
            Datum::Unchanged => out.put_u8(b'u'),
            Datum::Text(text) => {
                out.put_u8(b't');
                out.put_u32(u32::try_from(text.len()).unwrap());
                out.put_slice(text);
            }
        }
    }
}

pub(super) fn insert(relation_oid: u32, new: &[Datum<'_>]) -> Bytes {
    frame(b'I', |out| {
        out.put_u32(relation_oid);
        out.put_u8(b'N');
        put_tuple(new, out);
    })
}

pub(super) fn update(relation_oid: u32, old: Option<(OldKind, &[Datum<'_>])>, new: &[Datum<'_>]) -> Bytes {
    frame(b'U', |out| {
        out.put_u32(relation_oid);
        if let Some((kind, values)) = old {
            put_old(kind, values, out);
        }
        out.put_u8(b'N');
        put_tuple(new, out);
    })
}

pub(super) fn delete(relation_oid: u32, kind: OldKind, old: &[Datum<'_>]) -> Bytes {
    frame(b'D', |out| {
        out.put_u32(relation_oid);
        put_old(kind, old, out);
    })
}

fn put_old(kind: OldKind, values: &[Datum<'_>], out: &mut Vec<u8>) {
    out.put_u8(if kind == OldKind::Key { b'K' } else { b'O' });
    put_tuple(values, out);
}

pub(super) fn relation_frame(relation: &Relation) -> Bytes {
    frame(b'R', |out| {
        out.put_u32(relation.oid);
        put_name(&relation.schema, out);
        put_name(&relation.name, out);
        out.put_u8(match relation.replica_identity {
            ReplicaIdentity::Default => b'd',
            ReplicaIdentity::Nothing => b'n',
            ReplicaIdentity::Full => b'f',
            ReplicaIdentity::Index => b'i',
        });
        out.put_u16(u16::try_from(relation.columns.len()).unwrap());
        for column in &relation.columns {
            out.put_u8(u8::from(column.key));
            put_name(&column.name, out);
            out.put_u32(column.type_oid);
            out.put_i32(column.type_modifier);
        }
    })
}

/// A table like those of WebhookDB: pk, stripe_id (its replica identity), amount, data.
pub(super) fn charges() -> Relation {
    let column = |name: &str, type_oid, key| Column { key, name: name.to_owned(), type_oid, type_modifier: -1 };
    Relation {
        oid: 16_385,
        schema: "public".to_owned(),
        name: "stripe_charge_v1_fdcc".to_owned(),
        replica_identity: ReplicaIdentity::Index,
        columns: vec![
            column("pk", 20, false),
            column("stripe_id", 25, true),
            column("amount", 23, false),
            column("data", 3802, false),
        ],
    }
}
