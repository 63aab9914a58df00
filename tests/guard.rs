//! The network guard: what it refuses, at each place where it is asked, and that what was judged is what is dialled.

mod table;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use toml::Value as Toml;

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::names::NameServer;
use crate::support::namespace;
use crate::support::receiver::SECRET;
use crate::support::{Output, Receiver, Reply, Site};
use table::{Destination, TABLE, Verdict};

/// Commands at once: a table has many rows.
const AT_ONCE: usize = 4;

#[test]
fn the_table_is_long_and_no_row_comes_twice() {
    let hostile = TABLE.iter().filter(|(_, verdict)| !matches!(verdict, Verdict::Passes)).count();
    assert!(hostile >= 60, "{hostile}");
    let mut rows: Vec<_> = TABLE.iter().map(|(destination, _)| format!("{destination:?}")).collect();
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), TABLE.len());
}

/// The subscriptions are made, and begin, while everything is allowed and no name exists. Then the default holds, the names get their
/// answers, and every row is judged by `create` and by an attempt of `serve`, those with a name by `update --url` too: it asks
/// as `create` does, and commands take their time. What is let through meets a network without a way out: it was dialled,
/// and nothing answered.
#[tokio::test]
async fn each_row_of_the_table_is_judged_by_the_commands_and_at_the_connection() {
    if !namespace::is_own("guard::each_row_of_the_table_is_judged_by_the_commands_and_at_the_connection").await {
        return;
    }
    let names = NameServer::start().await;
    let site = Site::with("guard_table", |config| {
        config.set("delivery.allow_networks", everywhere()).set("delivery.max_attempts", 1)
    })
    .await;
    let rows: Vec<_> = TABLE.iter().enumerate().map(|(number, row)| Row::new(number, row)).collect();
    let daemon = site.serve().await;
    for (row, output) in at_once(&rows, |row| create(&site, &row.url)).await {
        match row.verdict {
            Verdict::Malformed(words) => assert!(output.fails_with(1).contains(words), "{}", row.url),
            _ => drop(output.ok()),
        }
    }
    let ids = subscriptions(&site).await;
    let known: Vec<_> = rows.iter().filter(|row| !matches!(row.verdict, Verdict::Malformed(_))).collect();
    for row in &known {
        daemon.wait_for_log(&format!("the subscription starts here subscription={}", ids[&row.url])).await;
    }
    assert!(daemon.terminate().await.success());
    site.webhookdb.reconfigure(&site.config.clone().unset("delivery.allow_networks"));
    rows.iter().for_each(|row| row.tell(&names));
    for (row, output) in at_once(&rows, |row| create(&site, &row.url)).await {
        row.is_judged(output, "create");
    }
    let named = known.iter().copied().filter(|row| row.name.is_some());
    for (row, output) in at_once(named, |row| update(&site, &ids[&row.url], &row.url)).await {
        row.is_judged(output, "update");
    }
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    for row in &known {
        let attempts = |outcome| [("subscription", ids[&row.url].as_str()), ("outcome", outcome)];
        let (expected, other) = match row.verdict {
            Verdict::Passes => ("connect", "guard"),
            _ => ("guard", "connect"),
        };
        daemon.wait_for_metric("attempts_total", &attempts(expected), 1.0).await;
        assert_eq!(daemon.metric("attempts_total", &attempts(other)).await, 0.0, "{}", row.url);
    }
}

/// By turns the name is at the receiver, and at an address that no notification may go to, on which something listens: who asks
/// once to judge and once more to dial connects there. Each answer closes its connection, so that each attempt asks.
#[tokio::test]
async fn a_name_that_changes_its_answer_is_dialled_only_at_the_address_that_was_judged() {
    let test = "guard::a_name_that_changes_its_answer_is_dialled_only_at_the_address_that_was_judged";
    if !namespace::is_own(test).await {
        return;
    }
    let names = NameServer::start().await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Full(200, "connection", "close".to_owned(), String::new()));
    let url = receiver.url("/").replace("127.0.0.1", "rebind.test");
    let inside = Listener::at(&receiver.url("/").replace("http://127.0.0.1", "127.0.0.2").replace('/', "")).await;
    names.answer("rebind.test", &["127.0.0.1"]);
    let site = Site::with("guard_rebinding", |config| {
        config.set("delivery.allow_networks", Toml::Array(vec!["127.0.0.1/32".into()]))
    })
    .await;
    let id = site.subscribe("stripe_charge_v1", &url).await;
    names.take_turns("rebind.test", &[&["127.0.0.1"], &["127.0.0.2"]]);
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=20).await;
    receiver.wait_for_distinct(20).await;
    let guarded = [("subscription", id.as_str()), ("outcome", "guard")];
    daemon.wait_for_metric("attempts_total", &guarded, 1.0).await;
    assert!(names.lookups("rebind.test") > 20, "each attempt asks");
    assert_eq!(inside.connections(), 0);
    // By now the test's own connection shows that the listener would have noticed.
    drop(tokio::net::TcpStream::connect(&inside.address).await.expect("it listens"));
    inside.wait_for_connection().await;
}

#[tokio::test]
async fn no_redirect_is_followed_whatever_its_status() {
    let site = Site::with("guard_redirects", |config| config.set("delivery.max_attempts", 1)).await;
    let elsewhere = Receiver::start().await;
    let mut redirecting = Vec::new();
    for status in [300, 301, 302, 303, 307, 308] {
        let receiver = Receiver::start().await;
        receiver.always(Reply::Full(status, "location", elsewhere.url("/"), String::new()));
        let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
        redirecting.push((status, receiver, id));
    }
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    for (status, receiver, id) in &redirecting {
        let redirected = [("subscription", id.as_str()), ("outcome", "redirect")];
        daemon.wait_for_metric("attempts_total", &redirected, 1.0).await;
        assert_eq!(receiver.count(), 1, "{status}");
    }
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn proxies_of_the_environment_are_ignored() {
    let proxy = Listener::at("127.0.0.1:0").await;
    let mut site = Site::new("guard_proxies").await;
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        site.webhookdb = site.webhookdb.environment(name, &format!("http://{}", proxy.address));
    }
    let (plain, tls) = (Receiver::start().await, Receiver::start_with_tls().await);
    let roots = site.webhookdb.directory().join("roots.pem");
    std::fs::write(&roots, tls.certificate()).expect("the file of roots");
    let roots = roots.to_str().expect("UTF-8").to_owned();
    site.webhookdb.reconfigure(&site.config.clone().set("delivery.ca_file", roots));
    for receiver in [&plain, &tls] {
        site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    }
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    plain.wait_for(1).await;
    tls.wait_for(1).await;
    assert_eq!(proxy.connections(), 0);
}

/// A row of the table, as the test asks for it.
struct Row {
    url: String,
    /// The name in it and what it answers, where the row is about that.
    name: Option<(String, &'static [&'static str])>,
    verdict: Verdict,
}

impl Row {
    fn new(number: usize, (destination, verdict): &(Destination, Verdict)) -> Self {
        let (url, name) = match destination {
            Destination::Url(url) => ((*url).to_owned(), None),
            Destination::Answer(addresses) => {
                let name = format!("row{number}.test");
                (format!("https://{name}/"), Some((name, *addresses)))
            }
        };
        Self { url, name, verdict: *verdict }
    }

    fn tell(&self, names: &NameServer) {
        if let Some((name, addresses)) = &self.name {
            names.answer(name, addresses);
        }
    }

    fn is_judged(&self, output: Output, command: &str) {
        match self.verdict {
            Verdict::Passes => drop(output.ok()),
            Verdict::Refused(words) | Verdict::Malformed(words) => {
                let stderr = output.fails_with(1);
                assert!(stderr.contains(words), "{command} {} {:?}: {stderr}", self.url, self.name);
                assert!(stderr.contains("hint: "), "{command} {}: {stderr}", self.url);
            }
        }
    }
}

fn everywhere() -> Toml {
    Toml::Array(vec!["0.0.0.0/0".into(), "::/0".into()])
}

async fn create(site: &Site, url: &str) -> Output {
    let arguments = ["notification", "create", "--integration=stripe_charge_v1", "--secret", SECRET, "--url", url];
    site.webhookdb.run(&arguments).await
}

async fn update(site: &Site, id: &str, url: &str) -> Output {
    site.webhookdb.run(&["notification", "update", id, "--url", url]).await
}

/// Each row and what its command left behind, some commands at a time.
async fn at_once<'r, F: Future<Output = Output>>(
    rows: impl IntoIterator<Item = &'r Row>,
    command: impl Fn(&'r Row) -> F,
) -> Vec<(&'r Row, Output)> {
    let commands = rows.into_iter().map(|row| {
        let output = command(row);
        async move { (row, output.await) }
    });
    stream::iter(commands).buffered(AT_ONCE).collect().await
}

/// The ids of the subscriptions by their URLs.
async fn subscriptions(site: &Site) -> HashMap<String, String> {
    let list = site.webhookdb.run(&["notification", "list", "--format", "json"]).await.json();
    let text = |item: &Value, key: &str| item[key].as_str().expect("a text").to_owned();
    let items = list.as_array().expect("a list").iter();
    items.map(|item| (text(item, "deliver_to_url"), text(item, "opaque_id"))).collect()
}

/// Something that listens, and counts who comes.
struct Listener {
    address: String,
    connections: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Listener {
    async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("an address").to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let server = tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { address, connections, server }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    async fn wait_for_connection(&self) {
        let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
        while self.connections() == 0 {
            assert!(tokio::time::Instant::now() < deadline, "nobody came");
            tokio::time::sleep(crate::support::POLL).await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.server.abort();
    }
}
