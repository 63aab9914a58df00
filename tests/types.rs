//! Each delivered `row` equals `to_jsonb` of the same row, for every type's edge values.

use std::sync::Arc;

use crate::support::edge_values::{EDGE_TYPES, EDGE_VALUES, EDGE_VALUES_SENT_AS_TEXT};
use crate::support::fixtures::Table;
use crate::support::{Received, Receiver, Site};

const EDGE: Table = Table {
    service: "edge_v1",
    name: "edge_v1_0000",
    remote_key: "remote_id",
    create: "CREATE TABLE edge_v1_0000 (pk bigserial PRIMARY KEY, remote_id text UNIQUE NOT NULL)",
};

/// A site with a table of a column for each value, and a row of the values.
async fn deliver(name: &str, values: &[(&str, &str)]) -> (Site, Arc<Received>, f64) {
    let site = Site::new(name).await;
    for statement in EDGE_TYPES {
        site.database.execute(statement).await;
    }
    site.add(&EDGE).await;
    let columns: Vec<String> =
        values.iter().enumerate().map(|(n, (kind, _))| format!("ADD COLUMN c{n} {kind}")).collect();
    site.database.execute(&format!("ALTER TABLE {} {}", EDGE.name, columns.join(", "))).await;
    let receiver = Receiver::start().await;
    site.subscribe(EDGE.service, &receiver.url("/")).await;
    let daemon = site.serve().await;
    let literal = |(kind, value): &(&str, &str)| format!("'{}'::{kind}", value.replace('\'', "''"));
    let literals: Vec<String> = values.iter().map(literal).collect();
    let names: Vec<String> = (0..values.len()).map(|n| format!("c{n}")).collect();
    let insert =
        format!("INSERT INTO {} (remote_id, {}) VALUES ('edge', {})", EDGE.name, names.join(", "), literals.join(", "));
    site.database.execute(&insert).await;
    let request = Arc::clone(&receiver.wait_for(1).await[0]);
    let sent_as_text = daemon.metric("values_sent_as_text_total", &[]).await;
    (site, request, sent_as_text)
}

#[tokio::test]
async fn edge_values_of_every_type_equal_to_jsonb() {
    let (site, request, sent_as_text) = deliver("edge_values", EDGE_VALUES).await;
    let body = std::str::from_utf8(&request.body).expect("UTF-8");
    // The server compares: as jsonb, with numbers of any size. A difference names its column and both sides.
    let sql = format!(
        "SELECT string_agg(format('%s: expected %s, delivered %s', key, value, delivered -> key), E'\\n')
         FROM (SELECT $1::text::jsonb -> 'row' AS delivered) AS body,
              (SELECT to_jsonb(t) AS expected FROM public.{} AS t) AS own, jsonb_each(expected)
         WHERE value IS DISTINCT FROM delivered -> key",
        EDGE.name
    );
    site.database.execute("SET search_path = pg_catalog; SET TimeZone = 'UTC'; SET extra_float_digits = 1").await;
    let rows = site.database.query(&sql, &[&body]).await;
    let differences = rows[0].get::<_, Option<String>>(0).unwrap_or_default();
    assert!(differences.is_empty(), "{}", with_types(&differences));
    assert_eq!(sent_as_text, 0.0);
}

/// The type and the value in front of each line that begins with a column's name.
fn with_types(differences: &str) -> String {
    let line = |line: &str| {
        let number: Option<usize> = line.split(':').next().and_then(|name| name.strip_prefix('c')?.parse().ok());
        format!("{:?} {line}\n", number.and_then(|n| EDGE_VALUES.get(n)))
    };
    differences.lines().map(line).collect()
}

#[tokio::test]
async fn values_that_to_jsonb_refuses_are_sent_as_their_text_and_counted() {
    let (_site, request, sent_as_text) = deliver("edge_text", EDGE_VALUES_SENT_AS_TEXT).await;
    let row = &request.json()["row"];
    for (n, (_, value)) in EDGE_VALUES_SENT_AS_TEXT.iter().enumerate() {
        assert_eq!(row[format!("c{n}")], *value);
    }
    assert_eq!(sent_as_text, EDGE_VALUES_SENT_AS_TEXT.len() as f64);
}
