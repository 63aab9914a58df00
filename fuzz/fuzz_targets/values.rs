//! Values of every type, each as `OID:text`, with a zero byte between them, which no text of Postgres holds. Whatever the text
//! is, it is written as JSON of its type, or as itself.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use webhookdb_notifications::decode::{
    Casts, Column, Datum, OldKind, Relation, ReplicaIdentity, Shape, Types, Written,
};
use webhookdb_notifications_fuzz::{Catalog, is_json, written};

/// The first OID that differs between servers.
const BUILT_IN_END: u32 = 10_000;

const JSON: u32 = 114;
const JSONB: u32 = 3802;

/// Types of a database's own: an enum, domains, arrays and composites of them, casts to json, and one that nobody can tell.
const OWN_TYPES: [&str; 12] = [
    r#"{"oid":20000,"name":"mood","delimiter":",","opaque":false}"#,
    r#"{"oid":20001,"name":"_mood","element":20000,"delimiter":",","opaque":false}"#,
    r#"{"oid":20002,"name":"pair","base":1007,"delimiter":",","opaque":false}"#,
    r#"{"oid":20003,"name":"_pair","element":20002,"delimiter":";","opaque":false}"#,
    r#"{"oid":20004,"name":"moment","base":1184,"delimiter":",","opaque":false}"#,
    r#"{"oid":20005,"name":"payment","delimiter":",","field_names":["amount","Cur \"ren.cy\"","at","moods","pairs"],"field_types":[1700,25,20004,20001,20003],"opaque":false}"#,
    r#"{"oid":20006,"name":"_payment","element":20005,"delimiter":",","opaque":false}"#,
    r#"{"oid":20007,"name":"order","delimiter":",","field_names":["id","payment","payments","doc","point"],"field_types":[20,20005,20006,3802,20010],"opaque":false}"#,
    r#"{"oid":20008,"name":"nothing","delimiter":",","field_names":[],"field_types":[],"opaque":false}"#,
    r#"{"oid":20009,"name":"altered","delimiter":",","field_names":["a"],"field_types":[25],"opaque":true}"#,
    r#"{"oid":20010,"name":"point3","delimiter":",","cast_from":"public.point3","opaque":false}"#,
    r#"{"oid":20011,"name":"_point3","element":20010,"delimiter":",","opaque":false}"#,
];

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let mut catalog = Catalog::default();
    OWN_TYPES.iter().for_each(|json| catalog.answer(json.as_bytes()));
    catalog
});

/// A table with one column for each type that there is.
static SHAPES: LazyLock<BTreeMap<u32, Shape>> = LazyLock::new(|| {
    let mut catalog = Catalog::default();
    OWN_TYPES.iter().for_each(|json| catalog.answer(json.as_bytes()));
    let built_in = Types::new();
    let known = (1..BUILT_IN_END).filter(|oid| built_in.missing(&relation(*oid)).is_empty());
    known.chain(CATALOG.told()).map(|oid| (oid, catalog.shape(relation(oid)))).collect()
});

fuzz_target!(|values: &[u8]| {
    for value in values.split(|byte| *byte == 0) {
        let Some(colon) = value.iter().position(|byte| *byte == b':') else { continue };
        let digits = std::str::from_utf8(&value[..colon]).unwrap_or_default();
        let Ok(oid) = digits.parse() else { continue };
        check(oid, &value[colon + 1..]);
    }
});

fn relation(type_oid: u32) -> Relation {
    let column = Column { key: false, name: "c".to_owned(), type_oid, type_modifier: -1 };
    let (schema, name) = ("public".to_owned(), "t".to_owned());
    Relation { oid: 16_384, schema, name, replica_identity: ReplicaIdentity::Full, columns: vec![column] }
}

/// The type of this OID, else one of those that there are.
fn type_of(oid: u32) -> (u32, &'static Shape) {
    let nth = usize::try_from(oid).unwrap_or_default() % SHAPES.len();
    let found = SHAPES.get_key_value(&oid).or_else(|| SHAPES.iter().nth(nth));
    found.map(|(oid, shape)| (*oid, shape)).expect("there are types")
}

fn check(oid: u32, text: &[u8]) {
    let (oid, shape) = type_of(oid);
    let datum = Datum::Text(text);
    let (how, json) = written(|casts, out| shape.encode_value(0, datum, casts, out));
    all_ways_of_writing_agree(shape, datum, &json);
    if !is_json(&json) {
        assert!(CATALOG.embeds_json(oid), "type {oid}: no JSON: {}", json.escape_ascii());
        assert!(!matches!(oid, JSON | JSONB) || !is_json(text), "type {oid}: JSON is no more: {}", json.escape_ascii());
        return;
    }
    if let (Written::AsText, Ok(Value::String(string))) = (how, serde_json::from_slice(&json)) {
        assert_eq!(string, String::from_utf8_lossy(text), "type {oid}: another text than the value's");
    }
}

fn all_ways_of_writing_agree(shape: &Shape, datum: Datum<'_>, json: &[u8]) {
    let object = [br#"{"c":"#, json, b"}"].concat();
    let row = |casts: &mut Casts, out: &mut Vec<u8>| shape.encode_row(&[datum], None, casts, out);
    let old = |casts: &mut Casts, out: &mut Vec<u8>| shape.encode_old(&[datum], OldKind::Full, casts, out);
    let (row, old) = (written(row), written(old));
    assert_eq!(row.1, object, "a row has another value");
    assert_eq!(old, row, "an old row has another value than a new one");
}
