//! A table's columns, made ready once per RELATION message to write many rows.

use std::sync::Arc;

use super::kind::Kind;
use super::object::{Member, finish, write_or_null};
use super::string::write_json_string;
use super::tuple::OldKind;
use super::value::Written;
use super::{Casts, Datum, DecodeError, Relation, Tuple, Types};

/// What is to be said about a row that was written. Columns are named by their index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct RowNotes {
    /// Those left out because their large value was not logged.
    pub unchanged: Vec<usize>,
    /// Those that could not be read as their type; [`Shape::type_name`] names it.
    pub sent_as_text: Vec<usize>,
}

impl RowNotes {
    fn note(&mut self, column: usize, written: Written) {
        if written == Written::AsText {
            self.sent_as_text.push(column);
        }
    }
}

/// A [`Relation`] compiled with [`Types`]: good until the next RELATION message of the same table.
#[derive(Debug)]
pub struct Shape {
    relation: Relation,
    columns: Vec<Member>,
    type_names: Vec<Arc<str>>,
    /// What a row takes beside its values.
    overhead: usize,
}

impl Shape {
    /// Compiles it. The types should be known: see [`Types::missing`].
    #[must_use]
    pub fn new(relation: Relation, types: &Types) -> Self {
        let column = |column: &super::Column| Member::new(&column.name, types.kind(column.type_oid));
        let columns: Vec<_> = relation.columns.iter().map(column).collect();
        let type_names = relation.columns.iter().map(|column| types.name(column.type_oid)).collect();
        let overhead = columns.iter().map(Member::overhead).sum();
        Self { relation, columns, type_names, overhead }
    }

    /// What it was made of.
    #[must_use]
    pub const fn relation(&self) -> &Relation {
        &self.relation
    }

    /// The index of the column of this name.
    #[must_use]
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.relation.columns.iter().position(|column| column.name == name)
    }

    /// The name of a column's type.
    #[must_use]
    pub fn type_name(&self, column: usize) -> Option<&str> {
        self.type_names.get(column).map(|name| &**name)
    }

    /// Cuts a tuple of this table into its columns' values, one for each.
    pub fn read<'a>(&self, tuple: &'a Tuple) -> Result<Vec<Datum<'a>>, DecodeError> {
        let values = tuple.columns()?;
        if values.len() == self.columns.len() {
            return Ok(values);
        }
        let (relation_oid, expected) = (self.relation.oid, self.columns.len());
        Err(DecodeError::ColumnCount { relation_oid, expected, found: values.len() })
    }

    /// What this row version takes as JSON, where few of its bytes are to be escaped.
    #[must_use]
    pub const fn json_size(&self, tuple: &Tuple) -> usize {
        self.overhead + tuple.size()
    }

    /// Appends `row`, the JSON object of a row version. A value that was not logged because it did not change is
    /// taken from the old tuple where that holds it, else the column is left out and noted.
    pub fn encode_row(
        &self,
        new: &[Datum<'_>],
        old: Option<&[Datum<'_>]>,
        casts: &mut Casts,
        out: &mut Vec<u8>,
    ) -> RowNotes {
        let mut notes = RowNotes::default();
        let start = self.begin(new, out);
        for (index, (column, &datum)) in self.columns.iter().zip(new).enumerate() {
            let value = match datum {
                Datum::Text(text) => Some(text),
                Datum::Null => None,
                // An unchanged value is not NULL, so a NULL in the old tuple means that it does not hold the column.
                Datum::Unchanged => match old.and_then(|old| old.get(index)) {
                    Some(Datum::Text(text)) => Some(*text),
                    _ => {
                        notes.unchanged.push(index);
                        continue;
                    }
                },
            };
            notes.note(index, column.write(value, casts, out));
        }
        finish(start, out);
        notes
    }

    /// Appends `old`, the JSON object of what the log holds of a row before its change.
    ///
    /// The columns of a key tuple are told by their values and not by the relation's flags: an identity's columns are
    /// never NULL, all others always are, and a partition's identity may differ from that of the root, whose flags
    /// RELATION bears.
    pub fn encode_old(&self, old: &[Datum<'_>], kind: OldKind, casts: &mut Casts, out: &mut Vec<u8>) -> RowNotes {
        let mut notes = RowNotes::default();
        let start = self.begin(old, out);
        for (index, (column, &datum)) in self.columns.iter().zip(old).enumerate() {
            let written = match (datum, kind) {
                (Datum::Text(text), _) => column.write(Some(text), casts, out),
                (Datum::Null, OldKind::Full) => column.write(None, casts, out),
                (Datum::Null, OldKind::Key) | (Datum::Unchanged, _) => continue,
            };
            notes.note(index, written);
        }
        finish(start, out);
        notes
    }

    /// Appends one value as it stands in `row`; null where the log does not hold it, or there is no such column.
    pub fn encode_value(&self, column: usize, datum: Datum<'_>, casts: &mut Casts, out: &mut Vec<u8>) -> Written {
        let kind = self.columns.get(column).map_or(&Kind::Unknown, |column| &column.kind);
        write_or_null(kind, datum.text(), casts, out)
    }

    /// Appends `unchanged`, the JSON array of these columns' names.
    pub fn encode_names(&self, columns: &[usize], out: &mut Vec<u8>) {
        out.push(b'[');
        for (nth, column) in columns.iter().filter_map(|&index| self.relation.columns.get(index)).enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            write_json_string(&column.name, out);
        }
        out.push(b']');
    }

    /// Makes room for the object and says where it begins.
    fn begin(&self, values: &[Datum<'_>], out: &mut Vec<u8>) -> usize {
        let text: usize = values.iter().filter_map(|value| value.text()).map(<[u8]>::len).sum();
        out.reserve(self.overhead + text);
        out.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Column;
    use crate::decode::message::{Message, parse};
    use crate::decode::test_frames::{charges, insert};

    const UNCHANGED_DATA: [Datum<'_>; 4] = [Datum::Text(b"1"), Datum::Text(b"ch_1"), Datum::Null, Datum::Unchanged];

    fn shape() -> Shape {
        Shape::new(charges(), &Types::new())
    }

    fn row(shape: &Shape, new: &[Datum<'_>], old: Option<&[Datum<'_>]>) -> (String, RowNotes) {
        let mut out = b"before".to_vec();
        let notes = shape.encode_row(new, old, &mut Casts::default(), &mut out);
        (String::from_utf8(out).unwrap().replacen("before", "", 1), notes)
    }

    fn old(values: &[Datum<'_>], kind: OldKind) -> String {
        let mut out = Vec::new();
        assert_eq!(shape().encode_old(values, kind, &mut Casts::default(), &mut out), RowNotes::default());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_row_is_an_object_in_the_order_of_its_columns() {
        let new = [Datum::Text(b"1"), Datum::Text(b"ch_\"1\""), Datum::Text(b"100"), Datum::Text(br#"{"id": "ch_1"}"#)];
        let json = r#"{"pk":1,"stripe_id":"ch_\"1\"","amount":100,"data":{"id": "ch_1"}}"#;
        assert_eq!(row(&shape(), &new, None), (json.to_owned(), RowNotes::default()));
    }

    #[test]
    fn an_unchanged_value_is_left_out_and_noted() {
        let (json, notes) = row(&shape(), &UNCHANGED_DATA, None);
        assert_eq!(json, r#"{"pk":1,"stripe_id":"ch_1","amount":null}"#);
        assert_eq!(notes.unchanged, [3]);
        let mut names = Vec::new();
        shape().encode_names(&notes.unchanged, &mut names);
        assert_eq!(names, br#"["data"]"#);
    }

    #[test]
    fn an_unchanged_value_is_taken_from_a_full_old_tuple() {
        let before = [Datum::Text(b"1"), Datum::Text(b"ch_1"), Datum::Text(b"5"), Datum::Text(b"{}")];
        let (json, notes) = row(&shape(), &UNCHANGED_DATA, Some(&before));
        assert_eq!(json, r#"{"pk":1,"stripe_id":"ch_1","amount":null,"data":{}}"#);
        assert_eq!(notes, RowNotes::default());
    }

    #[test]
    fn an_unchanged_value_is_not_guessed_from_a_key_tuple_that_does_not_hold_it() {
        let before = [Datum::Null, Datum::Text(b"ch_0"), Datum::Null, Datum::Null];
        let (json, notes) = row(&shape(), &UNCHANGED_DATA, Some(&before));
        assert_eq!(json, r#"{"pk":1,"stripe_id":"ch_1","amount":null}"#);
        assert_eq!(notes.unchanged, [3]);
    }

    #[test]
    fn a_large_key_that_is_unchanged_is_taken_from_the_key_tuple() {
        let new = [Datum::Text(b"1"), Datum::Unchanged, Datum::Null, Datum::Text(b"{}")];
        let before = [Datum::Null, Datum::Text(b"ch_0"), Datum::Null, Datum::Null];
        let (json, notes) = row(&shape(), &new, Some(&before));
        assert_eq!(json, r#"{"pk":1,"stripe_id":"ch_0","amount":null,"data":{}}"#);
        assert_eq!(notes.unchanged, [0usize; 0]);
    }

    #[test]
    fn all_columns_unchanged_is_an_empty_object() {
        assert_eq!(row(&shape(), &[Datum::Unchanged; 4], None).0, "{}");
    }

    #[test]
    fn nulls_of_a_key_tuple_are_absent_and_those_of_a_full_one_are_null() {
        let values = [Datum::Null, Datum::Text(b"ch_0"), Datum::Null, Datum::Null];
        assert_eq!(old(&values, OldKind::Key), r#"{"stripe_id":"ch_0"}"#);
        assert_eq!(old(&values, OldKind::Full), r#"{"pk":null,"stripe_id":"ch_0","amount":null,"data":null}"#);
        assert_eq!(old(&[Datum::Null; 4], OldKind::Key), "{}");
    }

    /// A partition may be identified by its primary key where the root says the remote key.
    #[test]
    fn a_key_tuple_tells_its_own_columns() {
        let values = [Datum::Text(b"7"), Datum::Null, Datum::Null, Datum::Null];
        assert_eq!(old(&values, OldKind::Key), r#"{"pk":7}"#);
    }

    #[test]
    fn values_sent_as_text_are_noted_with_their_type() {
        let new = [Datum::Text(b"1"), Datum::Text(b"ch_1"), Datum::Text(b"a lot"), Datum::Null];
        let (json, notes) = row(&shape(), &new, None);
        assert_eq!(json, r#"{"pk":1,"stripe_id":"ch_1","amount":"a lot","data":null}"#);
        assert_eq!(notes.sent_as_text, [2]);
        assert_eq!(shape().type_name(2), Some("int4"));
    }

    #[test]
    fn names_of_columns_are_escaped() {
        let name = "a \"Größe\".\\b";
        let column = Column { key: false, name: name.to_owned(), type_oid: 23, type_modifier: -1 };
        let shape = Shape::new(Relation { columns: vec![column], ..charges() }, &Types::new());
        let (json, _) = row(&shape, &[Datum::Text(b"1")], None);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), serde_json::json!({ name: 1 }));
        assert_eq!(shape.column_index(name), Some(0));
    }

    #[test]
    fn a_single_value_is_written_as_in_the_row() {
        let value = |column, datum| {
            let mut out = Vec::new();
            let _ = shape().encode_value(column, datum, &mut Casts::default(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(value(0, Datum::Text(b"1")), "1");
        assert_eq!(value(1, Datum::Text(b"1")), r#""1""#);
        assert_eq!(value(1, Datum::Unchanged), "null");
    }

    #[test]
    fn a_tuple_of_another_width_is_refused() {
        let Ok(Message::Insert { new, .. }) = parse(insert(16_385, &[Datum::Null; 3])) else { panic!("no INSERT") };
        let error = DecodeError::ColumnCount { relation_oid: 16_385, expected: 4, found: 3 };
        assert_eq!(shape().read(&new), Err(error));
    }
}
