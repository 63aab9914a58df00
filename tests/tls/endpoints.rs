//! TLS with endpoints: whom `serve` believes, by which versions, and HTTP/2 where both sides know it.

use hyper::Version;

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::openssl::OpensslServer;
use crate::support::pki::{Authority, Issued, Subject};
use crate::support::{Daemon, Proxy, Receiver, Site};

const HOST: &str = "127.0.0.1";

/// A site whose endpoints may be vouched for by this authority.
async fn site(name: &str, root: &Authority) -> Site {
    let site = Site::with(name, |config| config.set("delivery.max_attempts", 1_000)).await;
    let roots = site.webhookdb.directory().join("roots.pem");
    std::fs::write(&roots, root.pem()).expect("the file of roots");
    let roots = roots.to_str().expect("UTF-8").to_owned();
    site.webhookdb.reconfigure(&site.config.clone().set("delivery.ca_file", roots));
    site
}

async fn fails_by_tls(daemon: &Daemon, id: &str, words: &str) {
    daemon.wait_for_metric("attempts_total", &[("subscription", id), ("outcome", "tls")], 1.0).await;
    daemon.wait_for_log(id).await;
    let log = daemon.log();
    assert!(log.lines().any(|line| line.contains(id) && line.contains(words)), "{words}\n{log}");
}

#[tokio::test]
async fn an_endpoint_is_believed_by_its_certificate_or_what_is_wrong_with_it_is_told() {
    let (root, other) = (Authority::new("a private root"), Authority::new("another root"));
    let site = site("tls_certificates", &root).await;
    let good = [root.issue(Subject::server(HOST)), root.intermediate("between").issue(Subject::server(HOST))];
    let bad: [(Issued, &str); 5] = [
        (root.issue(Subject::server("elsewhere.example")), "the URL must name the endpoint as its certificate does"),
        (root.issue(Subject::server("127.0.0.2")), "the URL must name the endpoint as its certificate does"),
        (root.issue(Subject::server(HOST).expired()), "the endpoint's certificate is to be renewed"),
        (root.issue(Subject::server(HOST).of_the_future()), "is the clock here right?"),
        (other.issue(Subject::server(HOST)), "a private authority is named in [delivery] ca_file"),
    ];
    let mut believed = Vec::new();
    for shown in &good {
        let receiver = Receiver::start_showing(shown, &[]).await;
        site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
        believed.push(receiver);
    }
    let mut refused = Vec::new();
    for (shown, words) in &bad {
        let receiver = Receiver::start_showing(shown, &[]).await;
        let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
        refused.push((receiver, id, *words));
    }
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    for receiver in &believed {
        receiver.wait_for(1).await;
    }
    for (receiver, id, words) in &refused {
        fails_by_tls(&daemon, id, words).await;
        assert_eq!(receiver.count(), 0, "{words}");
    }
}

#[tokio::test]
async fn http_2_is_spoken_where_the_endpoint_offers_it_and_http_1_1_elsewhere() {
    let root = Authority::new("a private root");
    let site = site("tls_alpn", &root).await;
    let shown = root.issue(Subject::server(HOST));
    let mut receivers = Vec::new();
    for (offered, expected) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1", "h2"], Version::HTTP_11),
        (&["h2"], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let receiver = Receiver::start_showing(&shown, offered).await;
        site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
        receivers.push((receiver, offered, expected));
    }
    let _daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=50).await;
    for (receiver, offered, expected) in receivers {
        let requests = receiver.wait_for_distinct(50).await;
        assert!(requests.iter().all(|request| request.version == expected), "{offered:?}: {:?}", requests[0]);
        assert_eq!(requests.len(), 50, "{offered:?}");
    }
}

/// Every request of a host goes by the one HTTP/2 connection, and those that time out leave it as it is.
#[tokio::test]
async fn an_http_2_connection_that_has_gone_without_a_word_is_given_up() {
    let root = Authority::new("a private root");
    let site = site("tls_http2_gone", &root).await;
    site.webhookdb.reconfigure(
        &site
            .config
            .clone()
            .set("delivery.ca_file", site.webhookdb.directory().join("roots.pem").to_str().expect("UTF-8"))
            .set("delivery.timeout", "2s"),
    );
    let receiver = Receiver::start_showing(&root.issue(Subject::server(HOST)), &["h2"]).await;
    let url = receiver.url("/");
    let port = url.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok()).expect("a port");
    let proxy = Proxy::to(port).await;
    site.subscribe("stripe_charge_v1", &proxy.url(&url, port)).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for_id("ch_1").await;
    proxy.strand();
    upsert_charge(site.database.client(), "ch_2", 2, 2).await;
    receiver.wait_for_id("ch_2").await;
    assert!(proxy.connections() > 1);
}

/// Against OpenSSL's own server, of one version each.
#[tokio::test]
async fn tls_1_2_is_the_least_that_is_spoken() {
    let root = Authority::new("a private root");
    let site = site("tls_versions", &root).await;
    let shown = root.issue(Subject::server(HOST));
    let mut servers = Vec::new();
    for (version, expected) in [("-tls1", false), ("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)] {
        let server = OpensslServer::start(version, &shown).await;
        assert!(server.is_reached_by_openssl().await, "{version}: {}", server.said());
        let id = site.subscribe("stripe_charge_v1", &server.url()).await;
        servers.push((server, version, expected, id));
    }
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    for (server, version, expected, id) in &servers {
        if *expected {
            server.wait_for("POST / HTTP/1.1").await;
        } else {
            fails_by_tls(&daemon, id, "the endpoint must speak TLS 1.2 or 1.3").await;
            assert!(!server.said().contains("POST"), "{version}: {}", server.said());
        }
    }
}
