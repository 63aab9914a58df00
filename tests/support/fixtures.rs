//! Real WebhookDB tables, written to as WebhookDB writes.

use std::ops::RangeInclusive;

use bytes::Bytes;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::TestDatabase;

/// A replicated table of WebhookDB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    pub(crate) remote_key: &'static str,
    pub(crate) create: &'static str,
}

/// Denormalized text and numbers, and a jsonb column.
pub(crate) const CHARGES: Table = Table {
    service: "stripe_charge_v1",
    name: "stripe_charge_v1_fdcc",
    remote_key: "stripe_id",
    create: include_str!("../fixtures/stripe_charge_v1_fdcc.sql"),
};

/// Of the same kind as the charges, for whatever needs two tables.
pub(crate) const CUSTOMERS: Table = Table {
    service: "stripe_customer_v1",
    name: "stripe_customer_v1_512a",
    remote_key: "stripe_id",
    create: include_str!("../fixtures/stripe_customer_v1_512a.sql"),
};

/// A remote key that is a number, and arrays.
pub(crate) const ISSUES: Table = Table {
    service: "github_issue_v1",
    name: "github_issue_v1_a053",
    remote_key: "github_id",
    create: include_str!("../fixtures/github_issue_v1_a053.sql"),
};

/// A column named like a type.
pub(crate) const MESSAGES: Table = Table {
    service: "front_message_v1",
    name: "front_message_v1_e477",
    remote_key: "front_id",
    create: include_str!("../fixtures/front_message_v1_e477.sql"),
};

/// Partitioned, with keys of two columns.
pub(crate) const EVENTS: Table = Table {
    service: "icalendar_event_v1",
    name: "icalendar_event_v1_20b1",
    remote_key: "compound_identity",
    create: include_str!("../fixtures/icalendar_event_v1_20b1.sql"),
};

/// WebhookDB's own tables with the integration `svi_1` of the charges, without the columns that are optional.
pub(crate) const WEBHOOKDB_TABLES: &str = "
    CREATE TABLE organizations (id int PRIMARY KEY, name text, key text);
    CREATE TABLE service_integrations (
        id int PRIMARY KEY, organization_id int, opaque_id text, service_name text, table_name text);
    INSERT INTO organizations VALUES (1, 'Acme Corp', 'acme_corp');
    INSERT INTO service_integrations VALUES (1, 1, 'svi_1', 'stripe_charge_v1', 'stripe_charge_v1_fdcc')";

/// A resource as its service sends it, about 1.5 KB of it.
pub(crate) fn resource(id: &str, amount: i32) -> Value {
    json!({
        "id": id, "object": "charge", "amount": amount, "currency": "usd", "livemode": true,
        "description": "Zwei Pfund Äpfel — “fresh” \\ tab\there 🍏",
        "metadata": {"order": "4711", "note": "a line of a real resource ".repeat(50)},
        "refunds": {"object": "list", "data": [], "has_more": false, "total": 1.50},
    })
}

/// The statement that a webhook runs: not newer than the row at hand, nothing happens.
pub(crate) async fn upsert_charge(client: &Client, id: &str, amount: i32, updated: i64) {
    upsert_charge_with(client, id, amount, updated, &resource(id, amount)).await;
}

/// [`upsert_charge`] with this `data`.
pub(crate) async fn upsert_charge_with(client: &Client, id: &str, amount: i32, updated: i64, data: &Value) {
    let sql = include_str!("../fixtures/upsert_charge.sql");
    client.execute(sql, &[&id, &amount, &updated, &data.to_string()]).await.expect("the upsert");
}

/// Charges `ch_FIRST` to `ch_LAST` in one transaction, each with its number as amount; those that are there already
/// are updated, even to the same values.
pub(crate) async fn backfill_charges(client: &Client, numbers: RangeInclusive<i64>) {
    let sql = include_str!("../fixtures/backfill_charges.sql");
    client.execute(sql, &[numbers.start(), numbers.end()]).await.expect("the backfill");
}

/// Charges by one COPY.
pub(crate) async fn copy_charges(client: &Client, numbers: RangeInclusive<i64>) {
    let copy = "COPY stripe_charge_v1_fdcc (stripe_id, amount, data) FROM STDIN";
    let mut sink = std::pin::pin!(client.copy_in(copy).await.expect("COPY begins"));
    for number in numbers {
        let line = format!("ch_{number}\t{number}\t{{\"id\": \"ch_{number}\"}}\n");
        sink.send(Bytes::from(line)).await.expect("a row of COPY");
    }
    sink.finish().await.expect("COPY ends");
}

/// A customer, as an upsert would make it.
pub(crate) fn customer(id: &str, name: &str) -> String {
    format!(
        "INSERT INTO stripe_customer_v1_512a (stripe_id, name, updated, data)
         VALUES ('{id}', '{name}', '2026-11-01 09:30:00+00', '{{\"id\": \"{id}\"}}')
         ON CONFLICT (stripe_id) DO UPDATE SET name = excluded.name, updated = excluded.updated, data = excluded.data"
    )
}

/// `to_jsonb` of one row as the contract defines it: under pinned settings, whatever the session's are.
pub(crate) async fn to_jsonb(database: &TestDatabase, table: &Table, external_id: &str) -> Value {
    let Table { name, remote_key, .. } = table;
    let pinned = "SET LOCAL DateStyle = ISO; SET LOCAL IntervalStyle = postgres; SET LOCAL TimeZone = 'UTC';
                  SET LOCAL bytea_output = hex; SET LOCAL extra_float_digits = 1";
    database.execute(&format!("BEGIN; {pinned}")).await;
    let sql = format!("SELECT to_jsonb(t)::text FROM public.{name} AS t WHERE {remote_key}::text = '{external_id}'");
    let row = database.json(&sql).await;
    database.execute("COMMIT").await;
    row
}
