//! What is known of types: the built-in ones from the start, the others as they are looked up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Relation;
use super::kind::{BUILT_IN, Kind};
use super::object::Member;

/// The SQL that tells what types are. Its parameters are an array of OIDs, what [`Types::missing`] says, and the id of the
/// transaction whose values are to be read, as text; its rows are [`TypeRow`]s, those of the types that these are made of
/// among them.
pub const TYPES_SQL: &str = include_str!("../../sql/types.sql");

/// How deep a type may be made of others. A real one is a few deep; catalogs read while they change might even show
/// a circle.
const NESTING_MAX: u8 = 32;

/// The name under which values of types without one are counted.
const UNKNOWN_NAME: &str = "unknown";

/// One row of [`TYPES_SQL`], its fields in the order of the columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// The names and types of a composite's fields.
    pub fields: Option<Vec<(String, u32)>>,
    /// The type as SQL names it, where it has a cast to json.
    pub cast_from: Option<String>,
    /// Whether there is no telling what the text means: a composite that may have been altered since, or a cast that we
    /// must not call.
    pub opaque: bool,
}

/// What a type is made of.
#[derive(Debug)]
enum Definition {
    Plain(Kind),
    Domain { base: u32 },
    Array { element: u32, delimiter: u8 },
    Composite { fields: Vec<(String, u32)> },
}

impl Definition {
    /// The types that have to be known before this one is.
    fn parts(&self) -> Vec<u32> {
        match self {
            Self::Plain(_) => Vec::new(),
            Self::Domain { base: part } | Self::Array { element: part, .. } => vec![*part],
            Self::Composite { fields } => fields.iter().map(|(_, type_oid)| *type_oid).collect(),
        }
    }
}

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    definition: Definition,
    /// Whether it is good for one transaction only: composites are altered without a word in the stream.
    passing: bool,
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
        self.of(relation).into_iter().filter(|oid| !self.known.contains_key(oid)).collect()
    }

    /// Whether any type of this relation may be altered without a RELATION message: then what is known of it is good for one
    /// transaction only.
    #[must_use]
    pub fn are_passing(&self, relation: &Relation) -> bool {
        self.of(relation).iter().any(|oid| self.is_passing(*oid))
    }

    /// Forgets these types.
    pub fn forget_passing(&mut self, relation: &Relation) {
        for oid in self.of(relation) {
            if self.is_passing(oid) {
                self.known.remove(&oid);
            }
        }
    }

    fn is_passing(&self, oid: u32) -> bool {
        self.known.get(&oid).is_some_and(|known| known.passing)
    }

    /// The types of the relation's columns and all that these are made of, as far as it is known; each once.
    fn of(&self, relation: &Relation) -> Vec<u32> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut next: Vec<u32> = relation.columns.iter().rev().map(|column| column.type_oid).collect();
        // Ends where a circle closes, too.
        while let Some(oid) = next.pop() {
            if seen.insert(oid) {
                found.push(oid);
                next.extend(self.known.get(&oid).into_iter().flat_map(|known| known.definition.parts()));
            }
        }
        found
    }

    /// Takes in what the lookup of `asked` gave. A type that it did not give is gone: its values are sent as text and
    /// counted, and it is not asked for again.
    pub fn learn(&mut self, asked: &[u32], rows: Vec<TypeRow>) {
        for row in rows {
            // What is known stays: the parts of a type may be built in, with kinds that the catalog does not tell.
            self.known.entry(row.oid).or_insert_with(|| Known::from(row));
        }
        for &oid in asked {
            self.known.entry(oid).or_insert_with(|| Known {
                name: self.unknown_name.clone(),
                definition: Definition::Plain(Kind::Unknown),
                passing: false,
            });
        }
    }

    /// How values of this type are written.
    pub(super) fn kind(&self, oid: u32) -> Kind {
        self.kind_within(oid, NESTING_MAX, &mut HashMap::new())
    }

    /// The name under which its values are counted.
    pub(super) fn name(&self, oid: u32) -> Arc<str> {
        self.known.get(&oid).map_or(&self.unknown_name, |known| &known.name).clone()
    }

    /// `made` has the composites that are done: one that many others hold is made once.
    fn kind_within(&self, oid: u32, depth: u8, made: &mut HashMap<u32, Kind>) -> Kind {
        let (Some(known), Some(depth)) = (self.known.get(&oid), depth.checked_sub(1)) else {
            return Kind::Unknown;
        };
        match &known.definition {
            Definition::Plain(kind) => kind.clone(),
            Definition::Domain { base } => self.kind_within(*base, depth, made),
            Definition::Array { element, delimiter } => {
                Kind::Array { element: Arc::new(self.kind_within(*element, depth, made)), delimiter: *delimiter }
            }
            Definition::Composite { fields } => {
                if let Some(kind) = made.get(&oid) {
                    return kind.clone();
                }
                let member =
                    |(name, type_oid): &(String, u32)| Member::new(name, self.kind_within(*type_oid, depth, made));
                let kind = Kind::Composite(fields.iter().map(member).collect());
                made.insert(oid, kind.clone());
                kind
            }
        }
    }

    fn insert(&mut self, oid: u32, name: &str, definition: Definition) {
        self.known.insert(oid, Known { name: name.into(), definition, passing: false });
    }
}

impl From<TypeRow> for Known {
    fn from(row: TypeRow) -> Self {
        let passing = row.fields.is_some();
        let element_name = row.element.and_then(|_| row.name.strip_prefix('_'));
        let name = element_name.map_or_else(|| row.name.as_str().into(), |element| format!("{element}[]").into());
        Self { name, definition: row.into(), passing }
    }
}

impl From<TypeRow> for Definition {
    /// In the order in which `to_jsonb` looks at a type.
    fn from(row: TypeRow) -> Self {
        match row {
            TypeRow { base: Some(base), .. } => Self::Domain { base },
            TypeRow { element: Some(element), delimiter, .. } => {
                Self::Array { element, delimiter: delimiter.bytes().next().unwrap_or(b',') }
            }
            TypeRow { opaque: true, .. } => Self::Plain(Kind::Unknown),
            TypeRow { fields: Some(fields), .. } => Self::Composite { fields },
            TypeRow { cast_from: Some(type_name), .. } => Self::Plain(Kind::Cast(type_name.into())),
            _ => Self::Plain(Kind::Text),
        }
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
        TypeRow { oid, name: name.to_owned(), base, element, delimiter: ",".to_owned(), ..TypeRow::default() }
    }

    fn composite(oid: u32, field_types: &[u32]) -> TypeRow {
        let fields = field_types.iter().map(|&type_oid| ("f".to_owned(), type_oid)).collect();
        TypeRow { fields: Some(fields), ..row(oid, "c", None, None) }
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
    fn what_a_composite_is_made_of_is_asked_for_anew_in_each_transaction() {
        let mut types = Types::new();
        let relation = relation(&[20_001]);
        types.learn(&[], vec![row(20_001, "_c", None, Some(20_000)), composite(20_000, &[23, 20_002])]);
        assert_eq!(types.missing(&relation), [20_002]);
        types.learn(&[20_002], vec![row(20_002, "plain", None, None)]);
        assert!(types.are_passing(&relation));
        types.forget_passing(&relation);
        assert_eq!(types.missing(&relation), [20_000]);
        types.learn(&[20_000], vec![TypeRow { opaque: true, ..composite(20_000, &[23]) }]);
        assert_eq!(types.kind(20_000), Kind::Unknown);
        assert!(types.are_passing(&relation), "it may be told apart again for the next transaction");
    }

    #[test]
    fn a_cast_to_json_is_left_to_the_server_unless_it_must_not_be_called() {
        let mut types = Types::new();
        let cast = |oid| TypeRow { cast_from: Some("public.v".to_owned()), ..row(oid, "v", None, None) };
        types.learn(&[], vec![cast(1), TypeRow { opaque: true, ..cast(2) }]);
        assert_eq!(types.kind(1), Kind::Cast("public.v".into()));
        assert_eq!(types.kind(2), Kind::Unknown);
    }

    #[test]
    fn a_composite_of_composites_of_composites_is_no_more_than_its_parts() {
        let mut types = Types::new();
        types.learn(&[], (1..NESTING_MAX.into()).map(|oid| composite(oid, &[oid + 1, oid + 1])).collect());
        assert!(matches!(types.kind(1), Kind::Composite(_)));
    }

    #[test]
    fn types_made_of_each_other_end() {
        let mut types = Types::new();
        types.learn(&[], vec![row(1, "a", Some(2), None), row(2, "b", None, Some(1))]);
        assert!(types.missing(&relation(&[1, 2])).is_empty());
        assert_eq!(Shape::new(relation(&[1]), &types).type_name(0), Some("a"));
    }
}
