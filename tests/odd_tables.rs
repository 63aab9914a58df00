//! Tables with odd names, and of sizes that are seldom met.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fixtures::Table;
use crate::support::oracle::{self, Old};
use crate::support::site::ORGANIZATION;
use crate::support::{Receiver, Site};

/// As SQL would have to write it.
const ODD_TABLE: &str = r#""Odd ""x"".y"."Odd ""x"".y""#;

/// Names with quotes, dots, spaces, upper case, multi-byte letters and all of SQL's and JSON's special characters, two that
/// differ in case only, and the longest that there may be.
const ODD_COLUMNS: [&str; 14] = [
    "id",
    "Id",
    "ID",
    "Größe in m²",
    "日本語 🦀",
    "a.b.c",
    "it's \"quoted\" \\ here",
    " space ",
    "tab\tand\nline",
    "select",
    "xmin_",
    "$1; DROP TABLE x --",
    "{a,b}",
    "sixty-three bytes: 45678901234567890123456789012345678901234567",
];

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[tokio::test]
async fn odd_names_of_schema_table_columns_slot_and_publication_come_through_whole() {
    let site = Site::with("names", |config| {
        let slot = "0_names_of_a_slot";
        config.set("source.slot", slot).set("source.publication", "1 \"Pub\" of ünicode.x")
    })
    .await;
    let columns: Vec<String> = ODD_COLUMNS.iter().map(|name| format!("{} text", quoted(name))).collect();
    let schema = ODD_TABLE.split_once("\".\"").map_or("", |(schema, _)| schema);
    let create = format!(
        "CREATE SCHEMA {schema}\";
         CREATE TABLE {ODD_TABLE} (\"P.K\" bigserial PRIMARY KEY, \"Remote \"\"Id\"\"\" text UNIQUE NOT NULL, {})",
        columns.join(", ")
    );
    site.database.execute(&create).await;
    let name = "Odd \"x\".y";
    let add = ["integrations", "add", "--org", ORGANIZATION, "--service", "odd_v1", "--table", name, "--schema", name];
    site.webhookdb.run(&add).await.ok();
    oracle::record(&site.database, ODD_TABLE).await;
    let receiver = Receiver::start().await;
    site.subscribe("odd_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    let values: Vec<String> = (0..ODD_COLUMNS.len()).map(|n| format!("'value {n}'")).collect();
    let names: Vec<String> = ODD_COLUMNS.iter().map(|name| quoted(name)).collect();
    let insert = format!(
        "INSERT INTO {ODD_TABLE} (\"Remote \"\"Id\"\"\", {}) VALUES ('r1', {})",
        names.join(", "),
        values.join(", ")
    );
    site.database.execute(&insert).await;
    site.database.execute(&format!("UPDATE {ODD_TABLE} SET {} = 'upper', {} = NULL", quoted("ID"), quoted("id"))).await;
    site.database.execute(&format!("DELETE FROM {ODD_TABLE}")).await;
    let requests = receiver.wait_for(3).await;
    oracle::assert_agrees(&site.database, &requests, Old::InPart).await;
    for body in requests.iter().map(|request| request.json()) {
        assert_eq!((&body["external_id_column"], &body["external_id"]), (&json!("Remote \"Id\""), &json!("r1")));
        assert_eq!(body["table_name"], name);
    }
}

#[tokio::test]
async fn a_table_of_1600_columns_comes_through_whole() {
    let site = Site::new("wide").await;
    let columns: String = (3..=1_600).map(|n| format!(", c{n} smallint")).collect();
    let create =
        format!("CREATE TABLE wide_v1_0000 (pk bigserial PRIMARY KEY, remote_id text UNIQUE NOT NULL{columns})");
    site.database.execute(&create).await;
    let table = Table { service: "wide_v1", name: "wide_v1_0000", remote_key: "remote_id", create: "" };
    site.integrate(&table).await;
    oracle::record(&site.database, table.name).await;
    let receiver = Receiver::start().await;
    site.subscribe(table.service, &receiver.url("/")).await;
    let _daemon = site.serve().await;
    let values: String = (3..=1_600).map(|n| format!(", {n}")).collect();
    site.database.execute(&format!("INSERT INTO wide_v1_0000 VALUES (1, 'r1'{values})")).await;
    site.database.execute("UPDATE wide_v1_0000 SET c1600 = -1, c800 = NULL").await;
    let requests = receiver.wait_for(2).await;
    oracle::assert_agrees(&site.database, &requests, Old::InPart).await;
    assert_eq!(requests[1].json()["row"].as_object().map(serde_json::Map::len), Some(1_600));
}

const DOCUMENTS: Table = Table {
    service: "document_v1",
    name: "document_v1_0000",
    remote_key: "remote_id",
    create: "CREATE TABLE document_v1_0000 (pk bigserial PRIMARY KEY, remote_id text UNIQUE NOT NULL, data text)",
};

#[tokio::test]
async fn a_row_of_100_mb_comes_through_whole_and_what_follows_it_too() {
    // Larger than `memory`: processed alone.
    let site = Site::with("huge", |config| config.set("delivery.memory", "32MiB").set("delivery.timeout", "2m")).await;
    site.add(&DOCUMENTS).await;
    let receiver = Receiver::start().await;
    site.subscribe(DOCUMENTS.service, &receiver.url("/")).await;
    let _daemon = site.serve().await;
    let insert = "INSERT INTO document_v1_0000 (remote_id, data) VALUES";
    site.database.execute(&format!("{insert} ('huge', repeat('0123456789', 10000000)), ('next', 'x')")).await;
    // A debug build escapes, signs and stores 100 MB at its own pace, the slower the more runs beside it.
    let within = Duration::from_secs(300);
    let requests = receiver.wait_within(within, "both rows", |requests| requests.len() == 2).await;
    let huge = requests.iter().find(|request| request.body.len() > 100_000_000).expect("the huge one").json();
    let data = huge["row"]["data"].as_str().expect("a text");
    assert_eq!(data.len(), 100_000_000);
    assert!(data.as_bytes().chunks(10).all(|chunk| chunk == b"0123456789"));
}

#[tokio::test]
async fn ten_thousand_transactions_of_one_row_each_arrive_each_by_itself() {
    const TRANSACTIONS: usize = 10_000;
    let site = Site::new("transactions").await;
    site.add(&DOCUMENTS).await;
    let receiver = Receiver::start().await;
    site.subscribe(DOCUMENTS.service, &receiver.url("/")).await;
    let _daemon = site.serve().await;
    let one_by_one = format!(
        "DO $$ BEGIN FOR n IN 1..{TRANSACTIONS} LOOP
             INSERT INTO document_v1_0000 (remote_id) VALUES ('r' || n);
             COMMIT;
         END LOOP; END $$"
    );
    site.database.execute("SET synchronous_commit = off").await;
    site.database.execute(&one_by_one).await;
    let within = Duration::from_secs(120);
    let all = |requests: &[std::sync::Arc<crate::support::Received>]| requests.len() >= TRANSACTIONS;
    let requests = receiver.wait_within(within, "all rows", all).await;
    let bodies: Vec<Value> = requests.iter().map(|request| request.json()).collect();
    let different = |pointer: &str| {
        bodies.iter().filter_map(|body| body.pointer(pointer)).map(Value::to_string).collect::<HashSet<_>>()
    };
    for pointer in ["/id", "/external_id", "/source/lsn", "/source/xid"] {
        assert_eq!(different(pointer).len(), TRANSACTIONS, "{pointer}");
    }
    assert_eq!((bodies.len(), different("/source/index").len()), (TRANSACTIONS, 1));
}
