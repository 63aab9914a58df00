//! Records what the fuzz targets begin with: streams of a real server. No test, hence ignored: see `make fuzz-seeds`.

use std::path::Path;

use bytes::Bytes;
use webhookdb_notifications::decode::{Message, Relation, TYPES_SQL, Tuple, parse};

use crate::support::TestDatabase;
use crate::support::edge_values::{EDGE_TYPES, EDGE_VALUES};
use crate::support::fixtures::{self, CHARGES, CUSTOMERS, EVENTS, ISSUES, MESSAGES};

/// A fuzzer makes more of several small seeds than of a large one.
const VALUES_IN_A_SEED: usize = 48;

/// OIDs from here on differ between servers.
const BUILT_IN_END: u32 = 10_000;

#[tokio::test]
#[ignore = "no test, it writes fuzz/seeds: `make fuzz-seeds`"]
async fn record() {
    let database = TestDatabase::create("seeds").await;
    for statement in EDGE_TYPES {
        database.execute(statement).await;
    }
    for table in [&CHARGES, &CUSTOMERS, &ISSUES, &MESSAGES, &EVENTS] {
        database.execute(table.create).await;
    }
    database.execute("CREATE PUBLICATION seeds FOR ALL TABLES").await;
    database.query("SELECT pg_create_logical_replication_slot(current_database(), 'pgoutput')", &[]).await;
    change_webhookdb_tables(&database).await;
    record_stream(&database, "webhookdb").await;
    for (n, values) in EDGE_VALUES.chunks(VALUES_IN_A_SEED).enumerate() {
        change_table_of(&database, values).await;
        record_stream(&database, &format!("types_{n}")).await;
    }
}

async fn change_webhookdb_tables(database: &TestDatabase) {
    database.execute(include_str!("fixtures/rows_of_each_table.sql")).await;
    fixtures::backfill_charges(database.client(), 1..=2).await;
    database.execute("UPDATE stripe_charge_v1_fdcc SET amount = 3, stripe_id = 'ch_3' WHERE stripe_id = 'ch_2'").await;
    database.execute("DELETE FROM stripe_charge_v1_fdcc WHERE stripe_id = 'ch_3'").await;
    database.execute("SELECT pg_logical_emit_message(true, 'prefix', 'content')").await;
    database.execute("TRUNCATE stripe_charge_v1_fdcc, stripe_customer_v1_512a").await;
}

/// A row with these values appears in a table of its own, and goes.
async fn change_table_of(database: &TestDatabase, values: &[(&str, &str)]) {
    let columns: Vec<String> = values.iter().enumerate().map(|(n, (name, _))| format!("c{n} {name}")).collect();
    let literal = |(name, value): &(&str, &str)| format!("'{}'::{name}", value.replace('\'', "''"));
    let literals: Vec<String> = values.iter().map(literal).collect();
    database.execute(&format!("CREATE TABLE seed ({})", columns.join(", "))).await;
    database.execute("ALTER TABLE seed REPLICA IDENTITY FULL").await;
    database.execute(&format!("INSERT INTO seed VALUES ({})", literals.join(", "))).await;
    database.execute("DELETE FROM seed").await;
    database.execute("DROP TABLE seed").await;
}

/// Writes what the slot has as a seed of each target, in the form that it reads.
async fn record_stream(database: &TestDatabase, name: &str) {
    let (mut stream, mut values, mut relation) = (Vec::new(), Vec::new(), None);
    for frame in frames(database).await {
        match parse(frame.clone()).expect("a message of pgoutput") {
            Message::Relation(described) => {
                for answer in answers(database, &described).await {
                    put_frame(answer.as_bytes(), &mut stream);
                }
                relation = Some(described);
            }
            Message::Insert { new, .. } => put_values(relation.as_ref().expect("its RELATION"), &new, &mut values),
            _ => {}
        }
        put_frame(&frame, &mut stream);
    }
    write("pgoutput", name, &stream);
    write("values", name, &values);
}

async fn frames(database: &TestDatabase) -> Vec<Bytes> {
    let sql = "SELECT data FROM pg_logical_slot_get_binary_changes(current_database(), NULL, NULL,
                   'proto_version', '1', 'publication_names', 'seeds', 'messages', 'true')";
    database.query(sql, &[]).await.iter().map(|row| Bytes::from(row.get::<_, Vec<u8>>(0))).collect()
}

/// What the database says of the types that are not built in.
async fn answers(database: &TestDatabase, relation: &Relation) -> Vec<String> {
    let oids: Vec<u32> = relation.columns.iter().map(|column| column.type_oid).collect();
    let numbers = "oid::bigint, name, base::bigint, element::bigint, delimiter, field_names,
                   field_types::bigint[] AS field_types, cast_from, opaque";
    let sql = format!(
        "SELECT row_to_json(t)::text
         FROM (SELECT {numbers} FROM ({TYPES_SQL}) AS types WHERE oid >= {BUILT_IN_END} ORDER BY oid) AS t"
    );
    database.query(&sql, &[&oids, &"0"]).await.iter().map(|row| row.get(0)).collect()
}

fn put_frame(frame: &[u8], stream: &mut Vec<u8>) {
    let length = u16::try_from(frame.len()).expect("a seed is small");
    stream.extend(length.to_be_bytes());
    stream.extend(frame);
}

/// Those of built-in types: the target has own types of its own.
fn put_values(relation: &Relation, row: &Tuple, values: &mut Vec<u8>) {
    let row = row.columns().expect("a tuple of pgoutput");
    for (column, value) in relation.columns.iter().zip(row).filter(|(column, _)| column.type_oid < BUILT_IN_END) {
        let Some(text) = value.text() else { continue };
        values.extend(format!("{}:", column.type_oid).into_bytes());
        values.extend(text);
        values.push(0);
    }
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    std::fs::create_dir_all(&directory).expect("the directory of the seeds");
    std::fs::write(directory.join(name), bytes).expect("the seed is written");
}
