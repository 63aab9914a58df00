//! What the log holds of a row before its change, under each replica identity, and what is made of it.

use serde_json::{Value, json};

use crate::support::fixtures::{CHARGES, Table};
use crate::support::oracle::{self, Old};
use crate::support::{Site, in_order};

/// Columns whose values are stored out of line, and one that is not.
const LARGE: Table = Table {
    service: "large_v1",
    name: "large_v1_0000",
    remote_key: "remote_id",
    create: "CREATE EXTENSION hstore;
             CREATE TYPE pair AS (a text, b text);
             CREATE TABLE large_v1_0000 (pk bigserial PRIMARY KEY, remote_id text UNIQUE NOT NULL, small integer,
                 text text, varchar varchar, json json, jsonb jsonb, bytea bytea, hstore hstore, xml xml, bits varbit,
                 vector tsvector, pair pair, texts text[], integers integer[], numbers numeric[],
                 moments timestamptz[], documents jsonb[], pairs pair[], hstores hstore[], ranges int4range[])",
};

/// The columns of [`LARGE`] that an UPDATE leaves alone, in their order.
const LARGE_COLUMNS: [&str; 18] = [
    "text",
    "varchar",
    "json",
    "jsonb",
    "bytea",
    "hstore",
    "xml",
    "bits",
    "vector",
    "pair",
    "texts",
    "integers",
    "numbers",
    "moments",
    "documents",
    "pairs",
    "hstores",
    "ranges",
];

/// A row in which each value is some 10 KB that do not compress, so that it is stored out of line.
const INSERT_LARGE: &str = "
    WITH noise AS (SELECT string_agg(encode(sha256(n::text::bytea), 'hex'), ' ') AS text FROM generate_series(1, 150) n)
    INSERT INTO large_v1_0000
        (remote_id, small, text, varchar, json, jsonb, bytea, hstore, xml, bits, vector, pair, texts, integers,
         numbers, moments, documents, pairs, hstores, ranges)
    SELECT 'large', 1, text, text, json_build_object('a', text), jsonb_build_object('a', text), text::bytea,
        hstore('a', text), xmlelement(name a, text), ('x' || translate(text, ' ', ''))::varbit, text::tsvector,
        ROW(text, text)::pair, string_to_array(text, ' '),
        ARRAY(SELECT hashint4(n) FROM generate_series(1, 2500) n),
        ARRAY(SELECT hashint4(n)::numeric / 7 FROM generate_series(1, 1000) n),
        ARRAY(SELECT to_timestamp(hashint4(n)) FROM generate_series(1, 1500) n),
        ARRAY[jsonb_build_object('a', text)], ARRAY[ROW(text, NULL)::pair], ARRAY[hstore('a', text)],
        ARRAY(SELECT int4range(hashint4(n), NULL) FROM generate_series(1, 1000) n)
    FROM noise";

async fn identity(site: &Site, table: &Table, identity: &str) {
    site.database.execute(&format!("ALTER TABLE {} REPLICA IDENTITY {identity}", table.name)).await;
}

#[tokio::test]
async fn large_values_that_an_update_leaves_alone_are_named_under_every_identity_and_filled_in_under_full() {
    let (site, receiver) = Site::watching("large", "keep", &LARGE).await;
    let _daemon = site.serve().await;
    site.database.execute(INSERT_LARGE).await;
    let updates = ["DEFAULT", "USING INDEX large_v1_0000_remote_id_key", "FULL"];
    for (n, kind) in updates.iter().enumerate() {
        identity(&site, &LARGE, kind).await;
        site.database.execute(&format!("UPDATE large_v1_0000 SET small = {n}")).await;
        site.database.execute("UPDATE large_v1_0000 SET text = text || '.', texts = texts || 'x'::text").await;
    }
    let requests = receiver.wait_for(7).await;
    oracle::assert_agrees(&site.database, &requests, Old::InPart).await;
    let bodies = in_order(requests);
    let but_two: Vec<&str> = LARGE_COLUMNS.into_iter().filter(|name| !["text", "texts"].contains(name)).collect();
    for (n, kind) in updates.iter().enumerate() {
        let unchanged = [&bodies[2 * n + 1]["unchanged"], &bodies[2 * n + 2]["unchanged"]];
        let expected = if *kind == "FULL" { [json!([]), json!([])] } else { [json!(LARGE_COLUMNS), json!(but_two)] };
        assert_eq!(unchanged, [&expected[0], &expected[1]], "{kind}");
    }
}

const PLAIN: Table = Table {
    service: "plain_v1",
    name: "plain_v1_0000",
    remote_key: "remote_id",
    create: "CREATE TABLE plain_v1_0000 (pk bigint PRIMARY KEY, remote_id text UNIQUE NOT NULL, a text, b text)",
};

#[tokio::test]
async fn an_identity_that_changes_while_it_streams_is_followed_from_change_to_change() {
    let (site, receiver) = Site::watching("identities", "keep", &PLAIN).await;
    let _daemon = site.serve().await;
    site.database.execute("INSERT INTO plain_v1_0000 VALUES (1, 'r1', 'a', NULL)").await;
    let mut expected = vec![Value::Null];
    let whole = json!({"pk": 3, "remote_id": "r1xx", "a": "a", "b": null});
    for (kind, old, old_of_new_key) in [
        ("DEFAULT", Value::Null, json!({"pk": 1})),
        ("USING INDEX plain_v1_0000_remote_id_key", Value::Null, json!({"remote_id": "r1x"})),
        ("FULL", whole.clone(), whole),
        ("DEFAULT", Value::Null, json!({"pk": 4})),
    ] {
        identity(&site, &PLAIN, kind).await;
        site.database.execute("UPDATE plain_v1_0000 SET a = a").await;
        site.database.execute("UPDATE plain_v1_0000 SET pk = pk + 1, remote_id = remote_id || 'x'").await;
        expected.extend([old, old_of_new_key]);
    }
    let requests = receiver.wait_for(expected.len()).await;
    oracle::assert_agrees(&site.database, &requests, Old::InPart).await;
    let old: Vec<Value> = in_order(requests).iter().map(|body| body["old"].clone()).collect();
    assert_eq!(old, expected);
}

#[tokio::test]
async fn a_key_that_is_itself_large_is_there_although_it_did_not_change() {
    let (site, receiver) = Site::watching("large_key", "key", &PLAIN).await;
    let _daemon = site.serve().await;
    // Too long to stand in the row, and just short enough for an index.
    let key: String = std::iter::repeat_with(|| format!("{:016x}", rand::random::<u64>())).take(150).collect();
    site.database.execute(&format!("INSERT INTO plain_v1_0000 VALUES (1, '{key}', 'a')")).await;
    site.database.execute("UPDATE plain_v1_0000 SET a = 'b'").await;
    site.database.execute("DELETE FROM plain_v1_0000").await;
    let requests = receiver.wait_for(3).await;
    oracle::assert_agrees(&site.database, &requests, Old::InPart).await;
    for body in in_order(requests) {
        assert_eq!((&body["external_id"], &body["unchanged"]), (&json!(key), &json!([])));
    }
}

#[tokio::test]
async fn a_delete_names_its_external_id_unless_the_identity_is_the_primary_key() {
    for (policy, external_id, old) in [
        ("key", json!("r1"), json!({"remote_id": "r1"})),
        ("full", json!("r1"), json!({"pk": 1, "remote_id": "r1", "a": null, "b": null})),
        ("keep", Value::Null, json!({"pk": 1})),
    ] {
        let (site, receiver) = Site::watching("deletes", policy, &PLAIN).await;
        let _daemon = site.serve().await;
        site.database.execute("INSERT INTO plain_v1_0000 VALUES (1, 'r1')").await;
        site.database.execute("DELETE FROM plain_v1_0000").await;
        let delete = &in_order(receiver.wait_for(2).await)[1];
        assert_eq!(delete["external_id_column"], "remote_id");
        assert_eq!(
            (&delete["external_id"], &delete["old"], &delete["row"]),
            (&external_id, &old, &Value::Null),
            "{policy}"
        );
    }
}

#[tokio::test]
async fn under_the_identity_nothing_inserts_arrive_and_postgres_refuses_the_rest() {
    let (site, receiver) = Site::watching("nothing", "keep", &PLAIN).await;
    let _daemon = site.serve().await;
    identity(&site, &PLAIN, "NOTHING").await;
    site.database.execute("INSERT INTO plain_v1_0000 VALUES (1, 'r1')").await;
    for refused in ["UPDATE plain_v1_0000 SET a = 'b'", "DELETE FROM plain_v1_0000"] {
        let error = site.database.client().batch_execute(refused).await.expect_err("no identity");
        assert_eq!(error.code().map(|code| code.code()), Some("55000"), "{error:?}");
    }
    site.database.execute("INSERT INTO plain_v1_0000 VALUES (2, 'r2')").await;
    oracle::assert_agrees(&site.database, &receiver.wait_for(2).await, Old::InPart).await;
}

const KEYLESS: Table = Table {
    service: "keyless_v1",
    name: "keyless_v1_0000",
    remote_key: "a",
    create: "CREATE TABLE keyless_v1_0000 (a integer, b text)",
};

#[tokio::test]
async fn a_table_without_a_key_is_told_of_in_whole_rows() {
    let (site, receiver) = Site::watching("keyless", "key", &KEYLESS).await;
    let _daemon = site.serve().await;
    site.database.execute("INSERT INTO keyless_v1_0000 VALUES (1, 'x'), (1, 'x'), (NULL, NULL)").await;
    site.database.execute("UPDATE keyless_v1_0000 SET b = 'y' WHERE a = 1").await;
    site.database.execute("DELETE FROM keyless_v1_0000").await;
    let requests = receiver.wait_for(8).await;
    oracle::assert_agrees(&site.database, &requests, Old::Whole).await;
    for body in in_order(requests) {
        assert_eq!((&body["external_id_column"], &body["external_id"]), (&Value::Null, &Value::Null));
    }
}

async fn warnings(site: &Site) -> (String, String) {
    let setup = site.webhookdb.run(&["setup"]).await.ok();
    let status = site.webhookdb.run(&["status", "--format", "json"]).await;
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    (setup, status["sources"][0]["warnings"].to_string())
}

#[tokio::test]
async fn setup_and_status_warn_of_tables_whose_deletes_do_not_name_their_external_id() {
    let (site, _receiver) = Site::watching("delete_warnings", "keep", &PLAIN).await;
    identity(&site, &CHARGES, "FULL").await;
    let remedy =
        "ALTER TABLE ONLY \"public\".\"plain_v1_0000\" REPLICA IDENTITY USING INDEX \"plain_v1_0000_remote_id_key\"";
    let warning = "a DELETE in table public.plain_v1_0000 does not name the row's external id";
    let (setup, status) = warnings(&site).await;
    for said in [&setup, &status] {
        assert!(said.contains(warning) && !said.contains("stripe_charge"), "{said}");
    }
    assert!(setup.contains(remedy), "{setup}");
    let text = site.webhookdb.run(&["status"]).await.stdout;
    assert!(text.contains(&format!("warning: {warning}")), "{text}");
    site.database.execute(remedy).await;
    let (setup, status) = warnings(&site).await;
    assert!(!setup.contains("plain_v1_0000") && !status.contains("plain_v1_0000"), "{setup}\n{status}");
}

#[tokio::test]
async fn a_table_without_a_key_is_warned_of_once() {
    let site = Site::new("keyless_warning").await;
    site.add(&KEYLESS).await;
    site.webhookdb.run(&["setup"]).await.ok();
    let (setup, status) = warnings(&site).await;
    let warning = "table public.keyless_v1_0000 has neither a primary key nor a unique column";
    assert_eq!((setup.matches(warning).count(), status.matches(warning).count()), (1, 1), "{setup}\n{status}");
}
