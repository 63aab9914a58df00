//! What one change costs, piece by piece: decoding it, writing its body, signing that, and finding who is due it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes};
use criterion::{Criterion, Throughput};
use webhookdb_notifications::catalog::{
    CatalogIndex, Integration, Organization, Relation, RelationState, Route, Snapshot,
};
use webhookdb_notifications::decode::{self, Casts, Column, Message, ReplicaIdentity, Shape, Tuple, Types, parse};
use webhookdb_notifications::deliver::Signer;
use webhookdb_notifications::model::{
    EventId, Lsn, Position, Scope, Secret, Subscription, SubscriptionId, SubscriptionState,
};
use webhookdb_notifications::route::{Change, Origin, RoutedTable};

const OID: u32 = 16_500;

/// Subscriptions among which those that are due are found.
const SUBSCRIPTIONS: i64 = 100_000;

/// A charge's columns: name, type, and the value's text.
fn columns() -> Vec<(&'static str, u32, String)> {
    let description = "a charge with a description, ".repeat(30);
    let data = format!(
        r#"{{"id": "ch_123456", "amount": 123456, "object": "charge", "currency": "usd", "livemode": true, "description": "{description}"}}"#
    );
    let text = |text: &str| text.to_owned();
    vec![
        ("pk", 20, text("123456")),
        ("stripe_id", 25, text("ch_123456")),
        ("amount", 23, text("123456")),
        ("balance_transaction", 25, text("txn_123456")),
        ("billing_email", 25, text("jane@example.com")),
        ("created", 1184, text("2026-11-01 09:30:00+00")),
        ("customer", 25, text("cus_56")),
        ("status", 25, text("succeeded")),
        ("updated", 1184, text("1970-01-02 10:17:36+00")),
        ("data", 3802, data),
    ]
}

/// As a server sends it (`INSERT`, protocol version 1).
fn insert() -> Bytes {
    let columns = columns();
    let mut frame = vec![b'I'];
    frame.put_u32(OID);
    frame.put_u8(b'N');
    frame.put_u16(u16::try_from(columns.len()).expect("few columns"));
    for (_, _, value) in columns {
        frame.put_u8(b't');
        frame.put_u32(u32::try_from(value.len()).expect("a short value"));
        frame.put_slice(value.as_bytes());
    }
    frame.into()
}

fn integration() -> Integration {
    Integration {
        opaque_id: "svi_c1lih496odohq4aftvzii6l4a".into(),
        organization: "acme_corp".into(),
        service_name: "stripe_charge_v1".into(),
        table_name: "stripe_charge_v1_fdcc".into(),
        schema: "public".into(),
        source: Some("main".into()),
    }
}

fn table() -> RoutedTable {
    let column = |(name, type_oid, _): (&str, u32, String)| Column {
        key: name == "pk",
        name: name.to_owned(),
        type_oid,
        type_modifier: -1,
    };
    let relation = decode::Relation {
        oid: OID,
        schema: "public".into(),
        name: "stripe_charge_v1_fdcc".into(),
        replica_identity: ReplicaIdentity::Default,
        columns: columns().into_iter().map(column).collect(),
    };
    RoutedTable::new(Shape::new(relation, &Types::new()), &integration(), None)
}

fn origin() -> Origin<'static> {
    let (position, committed_at) = (Position::new(Lsn::new(0x0016_B374_8000), 7), SystemTime::now());
    let event_id = EventId::new(7_000_000_000_000_000_000, 1, position, 742, committed_at);
    Origin { source_name: "main", event_id, position, xid: 742, committed_at }
}

fn body(table: &RoutedTable, tuple: &Tuple) -> Vec<u8> {
    let mut out = Vec::new();
    let written = Change::Insert(tuple).write_body(table, &origin(), &mut Casts::default(), &mut out);
    written.expect("a row of this table");
    out
}

/// Everybody but one is subscribed to another integration.
fn index() -> CatalogIndex {
    let subscription = |id: i64| Subscription {
        id,
        opaque_id: SubscriptionId::random(),
        scope: Scope::Integration(if id == 0 { integration().opaque_id } else { "svi_another".into() }),
        url: "https://example.com/".into(),
        batching: None,
        secret: Some(Secret::new("webhook_secret123".into())),
        previous_secrets: Box::default(),
        state: SubscriptionState::Active,
        nonce: Box::default(),
        created_at: SystemTime::now(),
        starts: Box::new([("main".into(), Some(Lsn::new(1)))]),
    };
    let relation = Relation {
        source: "main".into(),
        oid: OID,
        integration: Some(integration().opaque_id),
        organization: Some("acme_corp".into()),
        state: RelationState::Published,
        schema_name: "public".into(),
        table_name: "stripe_charge_v1_fdcc".into(),
        primary_key: vec![1],
        remote_key: vec![2],
        publishing_xid: None,
        published_at: None,
    };
    let organization = Organization { key: "acme_corp".into(), name: "Acme Corp".into(), schema: "public".into() };
    CatalogIndex::new(&Snapshot {
        organizations: vec![organization],
        integrations: vec![integration()],
        relations: vec![relation],
        subscriptions: (0..SUBSCRIPTIONS).map(|id| Arc::new(subscription(id))).collect(),
        ..Snapshot::default()
    })
}

fn due(index: &CatalogIndex, commit_lsn: Lsn) -> usize {
    let Some(Route::Table(route)) = index.route("main", OID) else { return 0 };
    route.subscriptions.iter().filter(|subscription| subscription.is_due("main", commit_lsn)).count()
}

fn main() {
    let mut criterion = Criterion::default().measurement_time(Duration::from_secs(3)).configure_from_args();
    let (frame, table) = (insert(), table());
    let Ok(Message::Insert { new, .. }) = parse(frame.clone()) else { unreachable!("an insert") };
    let body_bytes = body(&table, &new);
    let mut group = criterion.benchmark_group("one change");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("decode", |bencher| bencher.iter(|| parse(black_box(frame.clone()))));
    group.bench_function("encode", |bencher| bencher.iter(|| body(&table, black_box(&new))));
    group.throughput(Throughput::Bytes(body_bytes.len() as u64));
    let signer = Signer::new(&[7; 32]);
    let message = EventId::message(&origin().event_id.event(), SubscriptionId::random());
    group.bench_function("sign", |bencher| {
        bencher.iter(|| signer.sign(&message, 1_795_000_000, std::iter::once(black_box(&body_bytes[..]))))
    });
    group.finish();
    let index = index();
    assert_eq!(due(&index, Lsn::new(2)), 1);
    criterion.bench_function("match, among 100,000 subscriptions", |bencher| {
        bencher.iter(|| due(black_box(&index), Lsn::new(2)))
    });
    criterion.final_summary();
}
