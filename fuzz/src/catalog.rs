//! A source's database, as far as it is asked: what the types are that are not built in.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use webhookdb_notifications::decode::{Relation, Shape, TypeRow, Types};

/// json, jsonb and their arrays, of which a value goes into the row as it stands: the server has checked it.
const JSON_TYPES: [u32; 4] = [114, 199, 3802, 3807];

/// A row of `TYPES_SQL` as JSON.
#[derive(Deserialize)]
struct Answer {
    oid: u32,
    name: String,
    base: Option<u32>,
    element: Option<u32>,
    delimiter: String,
    field_names: Option<Vec<String>>,
    field_types: Option<Vec<u32>>,
    cast_from: Option<String>,
    opaque: bool,
}

impl From<Answer> for TypeRow {
    fn from(answer: Answer) -> Self {
        let Answer { oid, name, base, element, delimiter, field_names, field_types, cast_from, opaque } = answer;
        let fields = field_names.zip(field_types).map(|(names, types)| names.into_iter().zip(types).collect());
        Self { oid, name, base, element, delimiter, fields, cast_from, opaque }
    }
}

/// The database's types, and what has been learned of them.
#[derive(Default)]
pub struct Catalog {
    rows: HashMap<u32, TypeRow>,
    /// What each type is or ever was made of.
    parts: HashMap<u32, HashSet<u32>>,
    types: Types,
}

impl Catalog {
    /// From now on the database answers this for one type; what is no answer is passed over.
    pub fn answer(&mut self, json: &[u8]) {
        let Ok(answer) = serde_json::from_slice::<Answer>(json) else { return };
        let row = TypeRow::from(answer);
        let fields = row.fields.iter().flatten().map(|(_, oid)| *oid);
        self.parts.entry(row.oid).or_default().extend(row.base.into_iter().chain(row.element).chain(fields));
        self.rows.insert(row.oid, row);
    }

    /// Learns of a relation's types as the daemon does, and compiles it.
    pub fn shape(&mut self, relation: Relation) -> Shape {
        self.types.forget_passing(&relation);
        loop {
            let missing = self.types.missing(&relation);
            if missing.is_empty() {
                return Shape::new(relation, &self.types);
            }
            let rows = missing.iter().filter_map(|oid| self.rows.get(oid).cloned()).collect();
            self.types.learn(&missing, rows);
        }
    }

    /// The types of which the database has told.
    pub fn told(&self) -> impl Iterator<Item = u32> {
        self.rows.keys().copied()
    }

    /// Whether a value of this type may hold json, which is trusted to be JSON.
    #[must_use]
    pub fn embeds_json(&self, oid: u32) -> bool {
        let (mut seen, mut next) = (HashSet::new(), vec![oid]);
        while let Some(oid) = next.pop() {
            if JSON_TYPES.contains(&oid) {
                return true;
            }
            if seen.insert(oid) {
                next.extend(self.parts.get(&oid).into_iter().flatten());
            }
        }
        false
    }
}
