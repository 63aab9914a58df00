//! The body of a notification: the same bytes for every subscription and every attempt.

use std::time::SystemTime;

use super::RoutedTable;
use crate::decode::{Casts, Datum, DecodeError, OldKind, OldTuple, Tuple, Written, write_json_string};
use crate::model::{EventId, Operation, Position, RowKeys};

/// Where and when a change was committed.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The source's name.
    pub source_name: &'a str,
    /// Its id.
    pub event_id: EventId,
    /// Its place.
    pub position: Position,
    /// Its transaction.
    pub xid: u32,
    /// When that was committed.
    pub committed_at: SystemTime,
}

/// What a body has beside its table's description and its rows, the external id included where it is short.
const ENVELOPE: usize = 512;

/// One byte of so many takes another one, to be escaped.
const ESCAPES: usize = 16;

/// A change of one table.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A row came to be.
    Insert(&'a Tuple),
    /// A row was written anew.
    Update(Option<&'a OldTuple>, &'a Tuple),
    /// A row went.
    Delete(&'a OldTuple),
    /// The table was emptied.
    Truncate,
}

/// What is to be counted about a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyNotes {
    /// The types of values that were sent as their text since they could not be read, one for each value.
    pub sent_as_text: Vec<String>,
}

impl Change<'_> {
    /// What kind of change it is.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Insert(_) => Operation::Insert,
            Self::Update(..) => Operation::Update,
            Self::Delete(_) => Operation::Delete,
            Self::Truncate => Operation::Truncate,
        }
    }

    /// Enough for most bodies: one that grows is copied, and a large one is in memory twice then.
    fn size_hint(&self, table: &RoutedTable) -> usize {
        let rows = match self {
            Self::Insert(new) => table.shape.json_size(new),
            Self::Update(old, new) => {
                table.shape.json_size(new) + old.map_or(0, |old| table.shape.json_size(&old.tuple))
            }
            Self::Delete(old) => table.shape.json_size(&old.tuple),
            Self::Truncate => 0,
        };
        ENVELOPE + table.description.len() + rows + rows / ESCAPES
    }

    /// Appends the body, and says which rows the change touches. Where `casts` wants something afterwards, that is to be
    /// answered and the body written again.
    ///
    /// # Errors
    /// Where the tuples are not of this table.
    pub fn write_body(
        &self,
        table: &RoutedTable,
        origin: &Origin<'_>,
        casts: &mut Casts,
        out: &mut Vec<u8>,
    ) -> Result<(RowKeys, BodyNotes), DecodeError> {
        let (new, old) = match self {
            Self::Insert(new) => (Some(table.shape.read(new)?), None),
            Self::Update(old, new) => (Some(table.shape.read(new)?), *old),
            Self::Delete(old) => (None, Some(*old)),
            Self::Truncate => (None, None),
        };
        let old_values = old.map(|old| table.shape.read(&old.tuple)).transpose()?;
        let values = Values { new: new.as_deref(), old: old_values.as_deref(), kind: old.map(|old| old.kind) };
        out.reserve(self.size_hint(table));
        write_head(self.operation(), origin, out);
        out.extend_from_slice(&table.description);
        values.write_external_id(table, casts, out);
        let notes = values.write_row(table, casts, out);
        write_source(origin, out);
        let keys = match self {
            Self::Truncate => RowKeys::Table,
            _ => table.row_keys(values.new, values.old),
        };
        Ok((keys, notes))
    }
}

struct Values<'a> {
    new: Option<&'a [Datum<'a>]>,
    old: Option<&'a [Datum<'a>]>,
    kind: Option<OldKind>,
}

impl Values<'_> {
    /// A column's value: the new one, or the old one where the new one was not logged, or there is none.
    fn value(&self, column: usize) -> Datum<'_> {
        let shown = |values: Option<&[Datum<'_>]>| values?.get(column)?.text().is_some().then_some(());
        let from = if shown(self.new).is_some() { self.new } else { self.old };
        from.and_then(|values| values.get(column)).copied().unwrap_or(Datum::Null)
    }

    fn write_external_id(&self, table: &RoutedTable, casts: &mut Casts, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"external_id\":");
        let columns = table.external_id();
        let held = !columns.is_empty() && columns.iter().all(|column| self.value(*column).text().is_some());
        match columns {
            _ if !held => out.extend_from_slice(b"null"),
            [column] => drop_note(table.shape.encode_value(*column, self.value(*column), casts, out)),
            columns => {
                for (nth, column) in columns.iter().enumerate() {
                    out.push(if nth == 0 { b'[' } else { b',' });
                    drop_note(table.shape.encode_value(*column, self.value(*column), casts, out));
                }
                out.push(b']');
            }
        }
    }

    fn write_row(&self, table: &RoutedTable, casts: &mut Casts, out: &mut Vec<u8>) -> BodyNotes {
        let shape = &table.shape;
        let mut columns = Vec::new();
        let mut unchanged = Vec::new();
        out.extend_from_slice(b",\"row\":");
        match self.new {
            Some(new) => {
                let notes = shape.encode_row(new, self.old, casts, out);
                columns.extend(notes.sent_as_text);
                unchanged = notes.unchanged;
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"old\":");
        match (self.old, self.kind) {
            (Some(old), Some(kind)) => columns.extend(shape.encode_old(old, kind, casts, out).sent_as_text),
            _ => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"unchanged\":");
        shape.encode_names(&unchanged, out);
        BodyNotes {
            sent_as_text: columns.into_iter().filter_map(|column| shape.type_name(column).map(Into::into)).collect(),
        }
    }
}

/// The external id's value stands in `row` or `old` as well, where it is counted.
const fn drop_note(_: Written) {}

fn write_head(operation: Operation, origin: &Origin<'_>, out: &mut Vec<u8>) {
    let event = origin.event_id.event();
    let timestamp = humantime::format_rfc3339_micros(origin.committed_at);
    let event_type = operation.event_type();
    out.extend_from_slice(format!(r#"{{"id":"{event}","type":"{event_type}","timestamp":"{timestamp}""#).as_bytes());
}

fn write_source(origin: &Origin<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"source\":{\"name\":");
    write_json_string(origin.source_name, out);
    let Position { commit_lsn, index } = origin.position;
    out.extend_from_slice(format!(r#","lsn":"{commit_lsn}","index":{index},"xid":{}}}}}"#, origin.xid).as_bytes());
}

/// The body of a test event, and its id; both are of chance, unlike those of notifications.
#[must_use]
pub fn test_body(organization: Option<&str>, integration: Option<&str>) -> (String, Vec<u8>) {
    let mut bytes = [0u8; 15];
    rand::fill(&mut bytes);
    let mut random = data_encoding::BASE32_NOPAD.encode(&bytes);
    random.make_ascii_lowercase();
    let event = format!("evt_test_{random}");
    let mut out = Vec::new();
    let timestamp = humantime::format_rfc3339_micros(SystemTime::now());
    out.extend_from_slice(format!(r#"{{"id":"{event}","type":"test","timestamp":"{timestamp}""#).as_bytes());
    for (name, value) in [("organization", organization), ("service_integration", integration)] {
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        match value {
            Some(value) => write_json_string(value, &mut out),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.extend_from_slice(TEST_TABLE.as_bytes());
    out.extend_from_slice(format!(r#""{random}",{TEST_ROW}}}"#).as_bytes());
    (event, out)
}

/// What a test event says of its table; its external id follows.
const TEST_TABLE: &str = r#","service_name":"test service","table_name":"test_table_name","external_id_column":"external_id","external_id":"#;

/// What a test event says of its row.
const TEST_ROW: &str = r#""row":{"data":["alpha","beta","charlie","delta"]},"old":null,"unchanged":[],"source":null"#;
