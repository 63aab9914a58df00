//! A WebhookDB deployment with our program beside it: what most tests begin with.

use std::sync::Arc;

use serde_json::Value;
use webhookdb_notifications::demo::ThrowawayPostgres;

use super::fixtures::{CHARGES, CUSTOMERS, Table};
use super::receiver::SECRET;
use super::{Config, Daemon, Receiver, TestDatabase, Webhookdb, oracle};

/// The organization's key.
pub(crate) const ORGANIZATION: &str = "acme_corp";

/// A database with the organization Acme Corp and integrated tables, set up; no daemon runs yet.
pub(crate) struct Site {
    pub(crate) webhookdb: Webhookdb,
    pub(crate) config: Config,
    pub(crate) database: TestDatabase,
}

impl Site {
    /// With the charges and the customers, on the shared server.
    pub(crate) async fn new(name: &str) -> Self {
        Self::in_database(TestDatabase::create(name).await, |config| config).await
    }

    /// The same, on this server.
    pub(crate) async fn on(cluster: &Arc<ThrowawayPostgres>, name: &str) -> Self {
        Self::in_database(TestDatabase::create_on(cluster, name).await, |config| config).await
    }

    /// The same, with a config that is changed first.
    pub(crate) async fn with(name: &str, change: impl FnOnce(Config) -> Config) -> Self {
        Self::in_database(TestDatabase::create(name).await, change).await
    }

    /// The same, in this database.
    pub(crate) async fn in_database(database: TestDatabase, change: impl FnOnce(Config) -> Config) -> Self {
        let config = change(Config::new(&database));
        let site = Self { webhookdb: Webhookdb::new(&config), config, database };
        site.database.execute(CHARGES.create).await;
        site.database.execute(CUSTOMERS.create).await;
        site.webhookdb.run(&["setup"]).await.ok();
        site.webhookdb.run(&["org", "create", "Acme Corp"]).await.ok();
        site.integrate(&CHARGES).await;
        site.integrate(&CUSTOMERS).await;
        site
    }

    /// A site with this further table, under this `replica_identity`, and an endpoint that is subscribed to it. Every version of
    /// the table's rows is recorded: see [`oracle`].
    pub(crate) async fn watching(name: &str, replica_identity: &str, table: &Table) -> (Self, Receiver) {
        let site = Self::with(name, |config| config.set("source.replica_identity", replica_identity)).await;
        site.add(table).await;
        oracle::record(&site.database, table.name).await;
        let receiver = Receiver::start().await;
        site.subscribe(table.service, &receiver.url("/")).await;
        (site, receiver)
    }

    /// The same with a catalog elsewhere, at this URL. `database` is the source's.
    pub(crate) async fn with_catalog_at(
        database: TestDatabase,
        url: &str,
        change: impl FnOnce(Config) -> Config,
    ) -> Self {
        Self::in_database(database, |config| change(config.set("catalog.url", url))).await
    }

    /// Makes a further table and its integration.
    pub(crate) async fn add(&self, table: &Table) {
        self.database.execute(table.create).await;
        self.integrate(table).await;
    }

    /// A table made so, and its integration, whose service bears its name.
    pub(crate) async fn add_table(&self, name: &'static str, create: &'static str) {
        self.add(&Table { service: name, name, remote_key: "id", create }).await;
    }

    /// Makes the integration of a table.
    pub(crate) async fn integrate(&self, table: &Table) {
        let arguments =
            ["integrations", "add", "--org", ORGANIZATION, "--service", table.service, "--table", table.name];
        self.webhookdb.run(&arguments).await.ok();
    }

    /// Subscribes a URL to one integration, named as a user would; returns the subscription's id.
    pub(crate) async fn subscribe(&self, integration: &str, url: &str) -> String {
        self.create_notification(&format!("--integration={integration}"), url).await
    }

    /// Subscribes a URL to the whole organization; returns the subscription's id.
    pub(crate) async fn subscribe_organization(&self, url: &str) -> String {
        self.create_notification(&format!("--org={ORGANIZATION}"), url).await
    }

    async fn create_notification(&self, scope: &str, url: &str) -> String {
        let arguments = ["notification", "create", scope, "--secret", SECRET, "--url", url];
        self.webhookdb.run(&arguments).await.ok();
        self.newest_subscription_to(url).await
    }

    /// The id of the last subscription made for this URL, as `notification list` shows it.
    pub(crate) async fn newest_subscription_to(&self, url: &str) -> String {
        let list = self.webhookdb.run(&["notification", "list", "--format", "json"]).await.json();
        let items = list.as_array().expect("a list").iter();
        let mut to_url: Vec<&Value> = items.filter(|item| item["deliver_to_url"] == url).collect();
        to_url.sort_by_key(|item| item["created_at"].as_str().map(str::to_owned));
        to_url.last().and_then(|item| item["opaque_id"].as_str()).expect("the new subscription").to_owned()
    }

    /// `status` fails, shows this reason of the source, and how to get past it.
    pub(crate) async fn status_tells(&self, words: &str, remedy: &str) {
        let output = self.webhookdb.run(&["status"]).await;
        assert_eq!(output.status, 1, "{output:#?}");
        assert!(output.stdout.contains(words) && output.stdout.contains(remedy), "{words}, {remedy}: {output:#?}");
    }

    /// The opaque id of a table's integration.
    pub(crate) async fn integration_id(&self, table: &Table) -> String {
        let list = self.webhookdb.run(&["integrations", "list", "--format", "json"]).await.json();
        let item = list.as_array().and_then(|items| items.iter().find(|item| item["table_name"] == table.name));
        item.and_then(|item| item["opaque_id"].as_str()).expect("the integration").to_owned()
    }

    /// Starts the daemon and waits until it streams.
    pub(crate) async fn serve(&self) -> Daemon {
        self.webhookdb.serve().await
    }
}
