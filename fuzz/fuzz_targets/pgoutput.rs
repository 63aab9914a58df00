//! A stream of pgoutput messages, each with its length in two bytes before it, and between them the database's answers about
//! types, which begin with a brace. Whatever comes is refused, or is written as JSON.
#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use webhookdb_notifications::decode::{Datum, DecodeError, Message, OldTuple, Relation, Shape, Tuple, parse};
use webhookdb_notifications_fuzz::{Catalog, is_json, written};

fuzz_target!(|stream: &[u8]| {
    let mut reader = Reader::default();
    for frame in Frames(stream) {
        if let Err(error) = reader.take(frame) {
            assert!(!error.to_string().is_empty() && error.hint().is_some());
        }
    }
});

struct Frames<'a>(&'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    /// A length that is longer than what is left means all of it.
    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (frame, rest) = rest.split_at(length);
        self.0 = rest;
        Some(frame)
    }
}

#[derive(Default)]
struct Reader {
    catalog: Catalog,
    shapes: HashMap<u32, Shape>,
}

impl Reader {
    fn take(&mut self, frame: &[u8]) -> Result<(), DecodeError> {
        if frame.first() == Some(&b'{') {
            self.catalog.answer(frame);
            return Ok(());
        }
        match parse(frame.to_vec().into())? {
            Message::Relation(relation) => self.relation(relation),
            Message::Insert { relation_oid, new } => self.change(relation_oid, None, Some(&new))?,
            Message::Update { relation_oid, old, new } => self.change(relation_oid, old.as_ref(), Some(&new))?,
            Message::Delete { relation_oid, old } => self.change(relation_oid, Some(&old), None)?,
            _ => {}
        }
        Ok(())
    }

    fn relation(&mut self, relation: Relation) {
        let columns: Vec<usize> = (0..relation.columns.len()).collect();
        let shape = self.catalog.shape(relation);
        let mut names = Vec::new();
        shape.encode_names(&columns, &mut names);
        assert!(is_json(&names), "the names are no JSON: {}", names.escape_ascii());
        self.shapes.insert(shape.relation().oid, shape);
    }

    fn change(&self, oid: u32, old: Option<&OldTuple>, new: Option<&Tuple>) -> Result<(), DecodeError> {
        let Some(shape) = self.shapes.get(&oid) else { return Ok(()) };
        let before = old.map(|old| self.values(shape, &old.tuple)).transpose()?;
        if let Some(new) = new {
            let values = self.values(shape, new)?;
            let (notes, row) = written(|casts, out| shape.encode_row(&values, before.as_deref(), casts, out));
            assert!(is_json(&row), "the row is no JSON: {}", row.escape_ascii());
            assert!(notes.sent_as_text.iter().all(|&column| shape.type_name(column).is_some()));
        }
        if let Some((old, values)) = old.zip(before) {
            let (_, before) = written(|casts, out| shape.encode_old(&values, old.kind, casts, out));
            assert!(is_json(&before), "the old row is no JSON: {}", before.escape_ascii());
        }
        Ok(())
    }

    /// A tuple's values, without those that no server sends: json that is none.
    fn values<'a>(&self, shape: &Shape, tuple: &'a Tuple) -> Result<Vec<Datum<'a>>, DecodeError> {
        let mut values = shape.read(tuple)?;
        for (index, (value, column)) in values.iter_mut().zip(&shape.relation().columns).enumerate() {
            let (_, json) = written(|casts, out| shape.encode_value(index, *value, casts, out));
            if !is_json(&json) {
                let embeds_json = self.catalog.embeds_json(column.type_oid);
                assert!(embeds_json, "the value is no JSON: {}", json.escape_ascii());
                *value = Datum::Null;
            }
        }
        Ok(values)
    }
}
