//! Types that a database has of its own: they change while the log is behind, and their casts are somebody's functions.

use serde_json::json;

use crate::support::fixtures::Table;
use crate::support::oracle::{self, Old};
use crate::support::{Receiver, Site, in_order};

const PAYMENTS: Table = Table {
    service: "payment_v1",
    name: "payment_v1_0000",
    remote_key: "remote_id",
    create: "CREATE TYPE payment AS (amount integer, currency text);
             CREATE TYPE mood AS ENUM ('sad');
             CREATE TABLE payment_v1_0000 (pk bigserial PRIMARY KEY, remote_id text UNIQUE NOT NULL,
                 paid payment, all_paid payment[], mood mood)",
};

async fn site(name: &str) -> (Site, Receiver) {
    Site::watching(name, "full", &PAYMENTS).await
}

async fn insert(site: &Site, id: &str, payment: &str) {
    let values = format!("('{id}', {payment}, ARRAY[{payment}, NULL]::payment[])");
    site.database.execute(&format!("INSERT INTO payment_v1_0000 (remote_id, paid, all_paid) VALUES {values}")).await;
}

#[tokio::test]
async fn a_composite_that_is_altered_while_it_streams_is_read_as_it_is_now() {
    let (site, receiver) = site("altered").await;
    let daemon = site.serve().await;
    let steps = [
        ("SELECT", "(1, 'eur')::payment"),
        ("ALTER TYPE payment RENAME ATTRIBUTE currency TO coin", "(2, 'usd')::payment"),
        ("ALTER TYPE payment ADD ATTRIBUTE at timestamptz", "(3, 'yen', '2026-01-01 00:00:00+00')::payment"),
        ("ALTER TYPE payment DROP ATTRIBUTE amount", "('chf', 'infinity')::payment"),
    ];
    for (n, (alter, payment)) in steps.iter().enumerate() {
        site.database.execute(alter).await;
        insert(&site, &format!("p{n}"), payment).await;
        // Before the next change of the type: what is read afterwards cannot be told for sure, see the next test.
        receiver.wait_for(n + 1).await;
    }
    oracle::assert_agrees(&site.database, &receiver.received(), Old::Whole).await;
    assert_eq!(daemon.metric("values_sent_as_text_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_composite_that_was_altered_since_is_sent_as_its_text_and_counted() {
    let (site, receiver) = site("altered_since").await;
    insert(&site, "before", "(1, 'eur')::payment").await;
    // As many fields as before: nothing in the text tells that these are not their names.
    site.database.execute("ALTER TYPE payment RENAME ATTRIBUTE currency TO coin").await;
    insert(&site, "after", "(2, 'usd')::payment").await;
    let daemon = site.serve().await;
    let bodies = in_order(receiver.wait_for(2).await);
    let (before, after) = (&bodies[0], &bodies[1]);
    assert_eq!((&before["row"]["paid"], &before["row"]["all_paid"]), (&json!("(1,eur)"), &json!(["(1,eur)", null])));
    assert_eq!(after["row"]["paid"], json!({"amount": 2, "coin": "usd"}));
    assert_eq!(daemon.metric("values_sent_as_text_total", &[("type", "payment")]).await, 1.0);
    assert_eq!(daemon.metric("values_sent_as_text_total", &[("type", "payment[]")]).await, 1.0);
}

#[tokio::test]
async fn a_value_added_to_an_enum_while_it_streams_is_like_any_other() {
    let (site, receiver) = site("enum").await;
    let _daemon = site.serve().await;
    let insert = "INSERT INTO payment_v1_0000 (remote_id, mood) VALUES";
    site.database.execute(&format!("{insert} ('a', 'sad')")).await;
    receiver.wait_for(1).await;
    site.database.execute("ALTER TYPE mood ADD VALUE 'glad'").await;
    site.database.execute(&format!("{insert} ('b', 'glad')")).await;
    oracle::assert_agrees(&site.database, &receiver.wait_for(2).await, Old::Whole).await;
}

#[tokio::test]
async fn a_type_made_and_used_in_one_transaction_is_known() {
    let (site, receiver) = site("made").await;
    let _daemon = site.serve().await;
    site.database
        .execute(
            "CREATE TYPE place AS (x integer, y integer); ALTER TABLE payment_v1_0000 ADD COLUMN place place;
             INSERT INTO payment_v1_0000 (remote_id, place) VALUES ('a', (1, 2))",
        )
        .await;
    oracle::assert_agrees(&site.database, &receiver.wait_for(1).await, Old::Whole).await;
}

#[tokio::test]
async fn a_type_that_is_gone_is_sent_as_its_text_and_counted() {
    let (site, receiver) = site("gone").await;
    insert(&site, "a", "(1, 'eur')::payment").await;
    site.database
        .execute("ALTER TABLE payment_v1_0000 DROP COLUMN paid, DROP COLUMN all_paid; DROP TYPE payment")
        .await;
    let daemon = site.serve().await;
    let row = &receiver.wait_for(1).await[0].json()["row"];
    assert_eq!((&row["paid"], &row["all_paid"]), (&json!("(1,eur)"), &json!("{\"(1,eur)\",NULL}")));
    assert_eq!(daemon.metric("values_sent_as_text_total", &[("type", "unknown")]).await, 2.0);
}

/// A type whose cast to json is what `body` says of `$1`.
fn type_with_a_cast(body: &str) -> String {
    format!(
        "CREATE TYPE vec;
         CREATE FUNCTION vec_in(cstring) RETURNS vec LANGUAGE internal IMMUTABLE STRICT AS 'textin';
         CREATE FUNCTION vec_out(vec) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
         CREATE TYPE vec (INPUT = vec_in, OUTPUT = vec_out, LIKE = text);
         CREATE FUNCTION vec_json(vec) RETURNS json LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
         CREATE CAST (vec AS json) WITH FUNCTION vec_json(vec);
         ALTER TABLE payment_v1_0000 ADD COLUMN vec vec"
    )
}

async fn insert_vectors(site: &Site, vectors: &[&str]) {
    for (n, vector) in vectors.iter().enumerate() {
        let insert = format!("INSERT INTO payment_v1_0000 (remote_id, vec) VALUES ('v{n}', '{vector}')");
        site.database.execute(&insert).await;
    }
}

#[tokio::test]
async fn a_cast_that_fails_writes_or_takes_too_long_leaves_its_text_and_stops_nothing() {
    let (site, receiver) = site("casts").await;
    let body = "IF public.vec_out($1)::text = 'slow' THEN PERFORM pg_sleep(60); END IF;
                IF public.vec_out($1)::text = 'write' THEN CREATE TABLE public.written (); END IF;
                RETURN public.vec_out($1)::text::json;";
    site.database.execute("DROP TRIGGER oracle ON payment_v1_0000").await;
    site.database.execute(&type_with_a_cast(body)).await;
    let daemon = site.serve().await;
    insert_vectors(&site, &["[1, 2]", "no json", "slow", "write", "{\"x\": 3}"]).await;
    let mut requests = receiver.wait_for(5).await;
    requests.sort_by_key(|request| request.position());
    let vectors: Vec<_> = requests.iter().map(|request| request.json()["row"]["vec"].clone()).collect();
    assert_eq!(vectors, [json!([1, 2]), json!("no json"), json!("slow"), json!("write"), json!({"x": 3})]);
    assert_eq!(daemon.metric("values_sent_as_text_total", &[("type", "vec")]).await, 3.0);
    assert!(site.database.is_true("SELECT to_regclass('public.written') IS NULL").await);
}

#[tokio::test]
async fn a_cast_of_somebody_with_fewer_rights_is_not_called() {
    let (site, receiver) = site("stranger").await;
    let stranger = format!("{}_stranger", site.database.name());
    site.database.execute(&type_with_a_cast("RETURN '{}'::json;")).await;
    site.database.execute(&format!("CREATE ROLE {stranger}; ALTER FUNCTION vec_json OWNER TO {stranger}")).await;
    let daemon = site.serve().await;
    insert_vectors(&site, &["[1]"]).await;
    assert_eq!(receiver.wait_for(1).await[0].json()["row"]["vec"], "[1]");
    assert_eq!(daemon.metric("values_sent_as_text_total", &[("type", "vec")]).await, 1.0);
    site.database
        .execute(&format!("DROP TABLE payment_v1_0000; DROP OWNED BY {stranger} CASCADE; DROP ROLE {stranger}"))
        .await;
}
