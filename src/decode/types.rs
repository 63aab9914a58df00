//! What is known of types: the built-in ones from the start, the others as they are looked up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Relation;
use super::kind::{BUILT_IN, Kind};

/// The SQL that tells what types are. Its parameter is an array of OIDs, what [`Types::missing`] says; its rows are
/// [`TypeRow`]s, those of the types that these are made of among them.
pub const TYPES_SQL: &str = include_str!("../../sql/types.sql");

/// How deep a type may be made of others. A real one is a few deep; catalogs read while they change might even show
/// a circle.
const NESTING_MAX: u8 = 32;

/// The name under which values of types without one are counted.
const UNKNOWN_NAME: &str = "unknown";

/// One row of [`TYPES_SQL`], its fields in the order of the columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeRow {
    /// The type.
    pub oid: u32,
    /// Its name, without its schema.
    pub name: String,
    /// What a domain is made of.
    pub base: Option<u32>,
    /// The elements of an array type. Types such as point, which can be subscripted but are no arrays, have none.
    pub element: Option<u32>,
    /// What stands between an array's elements: one ASCII character.
    pub delimiter: String,
}

/// What a type is made of.
#[derive(Debug)]
enum Definition {
    Plain(Kind),
    Domain { base: u32 },
    Array { element: u32, delimiter: u8 },
}

impl Definition {
    /// The type that has to be known before this one is.
    const fn part(&self) -> Option<u32> {
        match self {
            Self::Plain(_) => None,
            Self::Domain { base } => Some(*base),
            Self::Array { element, .. } => Some(*element),
        }
    }
}

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    definition: Definition,
}

/// The types by OID.
#[derive(Debug)]
pub struct Types {
    known: HashMap<u32, Known>,
    unknown_name: Arc<str>,
}

impl Default for Types {
    fn default() -> Self {
        Self::new()
    }
}

impl Types {
    /// Knows the built-in types and their arrays.
    #[must_use]
    pub fn new() -> Self {
        let mut types = Self { known: HashMap::with_capacity(BUILT_IN.len() * 2), unknown_name: UNKNOWN_NAME.into() };
        for built_in in BUILT_IN {
            let array = Definition::Array { element: built_in.oid, delimiter: built_in.delimiter() };
            types.insert(built_in.oid, built_in.name, Definition::Plain(built_in.kind.clone()));
            types.insert(built_in.array_oid, &format!("{}[]", built_in.name), array);
        }
        types
    }

    /// The OIDs that have to be looked up before rows of this relation can be written, without repetition.
    #[must_use]
    pub fn missing(&self, relation: &Relation) -> Vec<u32> {
        let mut missing = Vec::new();
        let mut seen = HashSet::new();
        for column in &relation.columns {
            let mut next = Some(column.type_oid);
            // Ends where a circle closes, too.
            while let Some(oid) = next.filter(|&oid| seen.insert(oid)) {
                match self.known.get(&oid) {
                    Some(known) => next = known.definition.part(),
                    None => {
                        missing.push(oid);
                        break;
                    }
                }
            }
        }
        missing
    }

    /// Takes in what the lookup of `asked` gave. A type that it did not give is gone: its values are sent as text and
    /// counted, and it is not asked for again.
    pub fn learn(&mut self, asked: &[u32], rows: Vec<TypeRow>) {
        for row in rows {
            let definition = definition(&row);
            let suffix = if row.element.is_some() { row.name.strip_prefix('_') } else { None };
            let name = suffix.map(|element| format!("{element}[]")).unwrap_or(row.name);
            // What is known stays: the parts of a type may be built in, with kinds that the catalog does not tell.
            self.known.entry(row.oid).or_insert(Known { name: name.into(), definition });
        }
        for &oid in asked {
            let gone = || Known { name: self.unknown_name.clone(), definition: Definition::Plain(Kind::Unknown) };
            self.known.entry(oid).or_insert_with(gone);
        }
    }

    /// How values of this type are written.
    pub(super) fn kind(&self, oid: u32) -> Kind {
        self.kind_within(oid, NESTING_MAX)
    }

    /// The name under which its values are counted.
    pub(super) fn name(&self, oid: u32) -> Arc<str> {
        self.known.get(&oid).map_or(&self.unknown_name, |known| &known.name).clone()
    }

    fn kind_within(&self, oid: u32, depth: u8) -> Kind {
        let (Some(known), Some(depth)) = (self.known.get(&oid), depth.checked_sub(1)) else {
            return Kind::Unknown;
        };
        match &known.definition {
            Definition::Plain(kind) => kind.clone(),
            Definition::Domain { base } => self.kind_within(*base, depth),
            Definition::Array { element, delimiter } => {
                Kind::Array { element: Arc::new(self.kind_within(*element, depth)), delimiter: *delimiter }
            }
        }
    }

    fn insert(&mut self, oid: u32, name: &str, definition: Definition) {
        self.known.insert(oid, Known { name: name.into(), definition });
    }
}

fn definition(row: &TypeRow) -> Definition {
    match (row.base, row.element) {
        (Some(base), _) => Definition::Domain { base },
        (None, Some(element)) => Definition::Array { element, delimiter: row.delimiter.bytes().next().unwrap_or(b',') },
        (None, None) => Definition::Plain(Kind::Text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::test_frames::charges;
    use crate::decode::{Column, Relation, Shape};

    fn relation(type_oids: &[u32]) -> Relation {
        let column = |&type_oid: &u32| Column { key: false, name: "c".to_owned(), type_oid, type_modifier: -1 };
        Relation { columns: type_oids.iter().map(column).collect(), ..charges() }
    }

    fn row(oid: u32, name: &str, base: Option<u32>, element: Option<u32>) -> TypeRow {
        TypeRow { oid, name: name.to_owned(), base, element, delimiter: ",".to_owned() }
    }

    #[test]
    fn built_in_types_are_known_from_the_start() {
        let types = Types::new();
        assert!(types.missing(&charges()).is_empty());
        assert!(types.missing(&relation(&[16, 1016, 1009, 1231, 1185, 3807, 2951, 199, 30, 1013])).is_empty());
        assert_eq!(&*types.name(1016), "int8[]");
    }

    #[test]
    fn oids_are_not_listed_twice() {
        let mut oids = HashSet::new();
        for built_in in BUILT_IN {
            assert!(oids.insert(built_in.oid) && oids.insert(built_in.array_oid), "{}", built_in.name);
        }
    }

    #[test]
    fn what_is_missing_is_named_once_with_what_it_is_made_of() {
        let mut types = Types::new();
        assert_eq!(types.missing(&relation(&[20_000, 23, 20_001, 20_000])), [20_000, 20_001]);
        types.learn(
            &[20_000, 20_001],
            vec![row(20_000, "d", Some(20_002), None), row(20_001, "_e", None, Some(20_003))],
        );
        assert_eq!(types.missing(&relation(&[20_000, 20_001])), [20_002, 20_003]);
        types.learn(&[20_002, 20_003], vec![row(20_002, "b", Some(3802), None), row(20_003, "e", None, None)]);
        assert!(types.missing(&relation(&[20_000, 20_001])).is_empty());
        assert_eq!(types.kind(20_000), Kind::Jsonb);
        assert_eq!(types.kind(20_001), Kind::Array { element: Arc::new(Kind::Text), delimiter: b',' });
        assert_eq!(&*types.name(20_001), "e[]");
    }

    #[test]
    fn a_type_that_is_gone_is_not_asked_for_again() {
        let mut types = Types::new();
        types.learn(&[20_000], vec![]);
        assert!(types.missing(&relation(&[20_000])).is_empty());
        assert_eq!(types.kind(20_000), Kind::Unknown);
        assert_eq!(&*types.name(20_000), "unknown");
    }

    #[test]
    fn a_lookup_does_not_change_what_is_built_in() {
        let mut types = Types::new();
        types.learn(&[20_000], vec![row(20_000, "d", Some(3802), None), row(3802, "jsonb", None, None)]);
        assert_eq!(types.kind(20_000), Kind::Jsonb);
    }

    #[test]
    fn types_made_of_each_other_end() {
        let mut types = Types::new();
        types.learn(&[], vec![row(1, "a", Some(2), None), row(2, "b", None, Some(1))]);
        assert!(types.missing(&relation(&[1, 2])).is_empty());
        assert_eq!(Shape::new(relation(&[1]), &types).type_name(0), Some("a"));
    }
}
