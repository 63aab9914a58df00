//! Whose tables are in which source, and what is said where that is open.

use serde_json::json;

use super::{CHARGES, CUSTOMERS, Config, Receiver, Site, TestDatabase, Webhookdb, customer, sources_of, upsert_charge};
use crate::support::receiver::SECRET;

/// The tables as WebhookDB has them, with an organization in each source and one that nobody claims.
const WEBHOOKDBS: &str = "
    CREATE TABLE organizations (id int PRIMARY KEY, name text, key text);
    CREATE TABLE service_integrations
        (id int PRIMARY KEY, organization_id int, opaque_id text, service_name text, table_name text);
    INSERT INTO organizations VALUES (1, 'Acme Corp', 'acme_corp'), (2, 'Beta', 'beta'), (3, 'Gamma', 'gamma');
    INSERT INTO service_integrations VALUES
        (1, 1, 'svi_acme', 'stripe_charge_v1', 'stripe_charge_v1_fdcc'),
        (2, 2, 'svi_beta', 'stripe_customer_v1', 'stripe_customer_v1_512a'),
        (3, 3, 'svi_gamma', 'other_v1', 'other_v1_0000')";

async fn create(webhookdb: &Webhookdb, scope: &str, url: &str) -> crate::support::Output {
    webhookdb.run(&["notification", "create", scope, "--secret", SECRET, "--url", url]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhookdbs_own_integrations_are_where_their_organizations_are() {
    let (a, b) = tokio::join!(TestDatabase::create("placed"), TestDatabase::create("placed"));
    a.execute(WEBHOOKDBS).await;
    a.execute(CHARGES.create).await;
    b.execute(CUSTOMERS.create).await;
    let config = Config::new(&a).set("source.name", "a").add_source("b", &b);
    let open = Webhookdb::new(&config);
    let claimed = config.set_of("a", "organizations", vec!["acme_corp"]).set_of("b", "organizations", vec!["beta"]);
    let placed = Webhookdb::new(&claimed);

    // Both sources may hold everybody's tables: that is said, and nothing is published at random.
    let said = open.run(&["setup"]).await.ok();
    assert!(said.contains("organization beta may be in source a or b") && said.contains("name \"beta\""), "{said}");
    let stderr = create(&open, "--org=beta", "https://127.0.0.1").await.fails_with(1);
    assert!(stderr.contains("may be in source a or b"), "{stderr}");

    let said = placed.run(&["setup"]).await.ok();
    assert!(said.contains("organization gamma is in no source") && said.contains("add \"gamma\""), "{said}");
    let stderr = create(&placed, "--org=gamma", "https://127.0.0.1").await.fails_with(1);
    assert!(stderr.contains("organization gamma is in no source"), "{stderr}");
    let list = placed.run(&["integrations", "list", "--format", "json"]).await.json();
    let sources: Vec<_> = list.as_array().expect("a list").iter().map(|one| one["source"].clone()).collect();
    assert_eq!(sources, [json!("a"), json!("b"), json!(null)]);

    let add = ["integrations", "add", "--org", "acme_corp", "--service", "x", "--table", "y", "--source", "b"];
    let stderr = placed.run(&add).await.fails_with(1);
    assert!(stderr.contains("source b holds no tables of organization acme_corp"), "{stderr}");

    let receiver = Receiver::start().await;
    create(&placed, "--org=acme_corp", &receiver.url("/")).await.ok();
    create(&placed, "--org=beta", &receiver.url("/")).await.ok();
    let daemon = placed.serve().await;
    assert!(daemon.log().contains("organization gamma is in no source"), "{}", daemon.log());
    upsert_charge(a.client(), "ch_1", 1, 1).await;
    b.execute(&customer("cus_1", "Ann")).await;
    let requests = receiver.wait_for(2).await;
    assert_eq!(sources_of(&requests).len(), 2);

    // The lists are taken away again: what is published stays where it is.
    open.run(&["setup"]).await.ok();
    b.execute(&customer("cus_2", "Bea")).await;
    receiver.wait_for_id("cus_2").await;
    drop(daemon);

    // The organization moves to the other database, and its subscription with it.
    a.execute(CUSTOMERS.create).await;
    let moved = claimed.set_of("a", "organizations", vec!["acme_corp", "beta"]);
    placed.reconfigure(&moved.set_of("b", "organizations", vec!["nobody"]));
    placed.run(&["setup"]).await.ok();
    a.execute(&customer("cus_3", "Cid")).await;
    let _daemon = placed.serve().await;
    let requests = receiver.wait_for_id("cus_3").await;
    let of_it = requests.iter().find(|request| request.external_id() == "cus_3").expect("it");
    assert_eq!(of_it.json()["source"]["name"], "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_subscription_gets_everything_of_a_source_that_is_added_later() {
    let site = Site::new("added_later").await;
    let b = TestDatabase::create("added_later").await;
    b.execute(super::CUSTOMERS.create).await;
    let receiver = Receiver::start().await;
    site.subscribe_organization(&receiver.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for_id("ch_1").await;
    drop(daemon);
    site.webhookdb.reconfigure(&site.config.clone().add_source("b", &b));
    site.webhookdb.run(&["setup"]).await.ok();
    b.execute("ALTER TABLE stripe_customer_v1_512a RENAME TO moved_customer_v1_512a").await;
    let add =
        ["integrations", "add", "--org", "acme_corp", "--service", "moved_v1", "--table", "moved_customer_v1_512a"];
    let stderr = site.webhookdb.run(&add).await.fails_with(1);
    assert!(stderr.contains("source main or b") && stderr.contains("--source"), "{stderr}");
    site.webhookdb.run(&[&add[..], &["--source", "b"]].concat()).await.ok();
    // No daemon has read anything of it yet, and none has marked a start in it.
    site.webhookdb.run(&["setup"]).await.ok();
    b.execute(&customer("cus_1", "Ann").replace("stripe_customer", "moved_customer")).await;
    let _daemon = site.serve().await;
    let requests = receiver.wait_for_id("cus_1").await;
    assert_eq!(requests.len(), 2);
}
