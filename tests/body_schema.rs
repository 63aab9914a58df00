//! The JSON Schema that subscribers are given describes what they get: it takes every body that is delivered, and nothing else.

use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::{Receiver, Site};

/// A schema of the documentation, which is one by its own schema.
fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    let text = std::fs::read_to_string(path).expect("the schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    jsonschema::meta::validate(&schema).expect("a schema by its own schema");
    schema
}

fn schema() -> Validator {
    jsonschema::draft202012::new(&read("notification.schema.json")).expect("a schema")
}

fn batch_schema() -> Validator {
    let notification = read("notification.schema.json");
    let name = notification["$id"].as_str().expect("an id").to_owned();
    let registry = jsonschema::Registry::new()
        .add(name, notification)
        .and_then(|registry| registry.prepare())
        .expect("a registry");
    let schema = read("batch.schema.json");
    jsonschema::draft202012::options().with_registry(&registry).build(&schema).expect("a schema")
}

/// Of each type; of updates and deletes under every kind of key and identity that shapes them.
const TABLES: [(&str, &str); 3] = [
    ("pair_v1_0000", "CREATE TABLE pair_v1_0000 (a int, b text, big text, PRIMARY KEY (a, b))"),
    ("bare_v1_0000", "CREATE TABLE bare_v1_0000 (a int, b text)"),
    (
        "number_v1_0000",
        "CREATE TABLE number_v1_0000 (pk bigint PRIMARY KEY, number_id bigint UNIQUE NOT NULL, doc jsonb)",
    ),
];

const CHANGES: &str = "
    INSERT INTO pair_v1_0000 SELECT 1, 'x', string_agg(md5(n::text), '') FROM generate_series(1, 2000) AS n;
    UPDATE pair_v1_0000 SET a = 2;
    DELETE FROM pair_v1_0000;
    INSERT INTO bare_v1_0000 VALUES (1, 'x');
    UPDATE bare_v1_0000 SET b = 'y';
    DELETE FROM bare_v1_0000;
    INSERT INTO number_v1_0000 VALUES (1, 7, '{\"a\": [1, 2.50, null]}');
    UPDATE number_v1_0000 SET doc = '[]';
    TRUNCATE number_v1_0000, stripe_charge_v1_fdcc";

/// What was delivered: at least one body of each type.
async fn delivered() -> Vec<Value> {
    let site = Site::new("body_schema").await;
    for (name, create) in TABLES {
        site.add_table(name, create).await;
    }
    let (whole, one) = (Receiver::start().await, Receiver::start().await);
    let organization = site.subscribe_organization(&whole.url("/")).await;
    let integration = site.subscribe("stripe_charge_v1", &one.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    upsert_charge(site.database.client(), "ch_1", 2, 2).await;
    site.database.execute("DELETE FROM stripe_charge_v1_fdcc").await;
    for statement in CHANGES.split(';') {
        site.database.execute(statement).await;
    }
    for id in [&organization, &integration] {
        site.webhookdb.run(&["notification", "test", id]).await.ok();
    }
    // Three charges, eight changes of the other tables, two truncates, a test event; and what the charges' own subscription gets.
    let all = [whole.wait_for(14).await, one.wait_for(5).await].concat();
    all.iter().map(|request| request.json()).collect()
}

/// A change to a body, by what it is about.
type Spoil = (&'static str, fn(&mut Value));

const WRONG: &[Spoil] = &[
    ("a field is missing", |body| drop(body.as_object_mut().expect("an object").remove("unchanged"))),
    ("a field too many", |body| body["extra"] = json!(1)),
    ("another type", |body| body["type"] = json!("row.upserted")),
    ("an id of another form", |body| body["id"] = json!("msg_1")),
    ("a timestamp without its zone", |body| body["timestamp"] = json!("2026-11-23T12:00:00.123456")),
    ("a column that is no name", |body| body["external_id_column"] = json!(1)),
    ("a row that is no object", |body| body["row"] = json!([])),
    ("an old row that is text", |body| body["old"] = json!("")),
    ("unchanged columns that are no list", |body| body["unchanged"] = json!({})),
    ("an unchanged column twice", |body| body["unchanged"] = json!(["a", "a"])),
    ("a service without a name", |body| body["service_name"] = json!("")),
];

/// Wrong for what is no test event.
const WRONG_CHANGE: &[Spoil] = &[
    ("no source", |body| body["source"] = Value::Null),
    ("a position as a number", |body| body["source"]["lsn"] = json!(1)),
    ("an index below zero", |body| body["source"]["index"] = json!(-1)),
    ("no index", |body| drop(body["source"].as_object_mut().expect("an object").remove("index"))),
    ("nobody's", |body| body["organization"] = Value::Null),
];

#[tokio::test]
async fn every_delivered_body_is_as_the_schema_says() {
    let schema = schema();
    let bodies = delivered().await;
    for body in &bodies {
        let errors: Vec<String> = schema.iter_errors(body).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{body:#}");
    }
    for kind in ["row.inserted", "row.updated", "row.deleted", "table.truncated", "test"] {
        let body = bodies.iter().find(|body| body["type"] == kind).unwrap_or_else(|| panic!("no {kind}"));
        let of_a_change: &[Spoil] = if kind == "test" { &[] } else { WRONG_CHANGE };
        for (what, spoil) in WRONG.iter().chain(of_a_change) {
            let mut wrong = body.clone();
            spoil(&mut wrong);
            assert!(!schema.is_valid(&wrong), "{kind}: {what} is let through\n{wrong:#}");
        }
        a_body_of_one_type_is_none_of_another(&schema, body);
    }
}

/// What a type has and has not is part of the schema: an insert has no old row, a delete no new one.
fn a_body_of_one_type_is_none_of_another(schema: &Validator, body: &Value) {
    let another = match body["type"].as_str() {
        // An insert would be an update without an old row, which there is.
        Some("row.inserted") => "row.deleted",
        Some("row.updated") => "table.truncated",
        Some("row.deleted") => "row.inserted",
        Some("table.truncated") => "row.deleted",
        _ => "row.inserted",
    };
    let mut wrong = body.clone();
    wrong["type"] = json!(another);
    assert!(!schema.is_valid(&wrong), "{wrong:#}");
}

#[tokio::test]
async fn every_delivered_batch_is_as_its_schema_says() {
    let (site, receiver) = (Site::new("batch_schema").await, Receiver::start().await);
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    site.webhookdb.run(&["notification", "update", &id, "--batch", "10"]).await.ok();
    let _daemon = site.serve().await;
    site.webhookdb.run(&["notification", "test", &id]).await.ok();
    backfill_charges(site.database.client(), 1..=30).await;
    let schema = batch_schema();
    let requests = receiver.wait_for(4).await;
    for request in &requests {
        let errors: Vec<String> = schema.iter_errors(&request.json()).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    let good = requests[0].json();
    let wrong: [Spoil; 5] = [
        ("no notification at all", |body| body["notifications"] = json!([])),
        ("a field too many", |body| body["id"] = json!("msg_1")),
        ("another type", |body| body["type"] = json!("batches")),
        ("something else among them", |body| body["notifications"][0] = json!({})),
        ("a notification by itself", |body| *body = body["notifications"][0].take()),
    ];
    for (what, spoil) in wrong {
        let mut wrong = good.clone();
        spoil(&mut wrong);
        assert!(!schema.is_valid(&wrong), "{what} is let through");
    }
}
