//! Every `sslmode` in every situation, for SQL and for replication, against a real server whose certificates are made here.

use webhookdb_notifications::postgres::PostgresError;

use crate::support::fixtures::upsert_charge;
use crate::support::interceptor::Interceptor;
use crate::support::logins::{refusal, uses_tls};
use crate::support::pki::{Authority, Subject};
use crate::support::secured::Secured;
use crate::support::{Config, Receiver, Site, TestDatabase, Webhookdb, shared_cluster};

/// How a login ends, by both ways alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Logged in without TLS.
    Plain,
    /// Logged in by TLS.
    Tls,
    /// Not logged in, with a hint that has these words.
    Refused(&'static str),
}

use End::{Plain, Refused, Tls};

const OF_AUTHORITY: &str = "sslrootcert";
const OF_NAME: &str = "not for this host name";
const EXPIRED: &str = "has expired: renew it";
const NOT_YET: &str = "not valid yet";
const NO_TLS: &str = "set ssl = on";

/// Each mode that a URL takes, with the authority that the server's certificate should be of, and without.
const MODES: [&str; 7] = [
    "sslmode=disable",
    "sslmode=prefer",
    "sslmode=require",
    "sslmode=require&sslrootcert={root}",
    "sslmode=verify-ca&sslrootcert={root}",
    "sslmode=verify-full&sslrootcert={root}",
    "sslrootcert=system",
];

/// What the server shows, and how a login ends under each of these.
type Situation = (&'static str, [End; 7]);

const SITUATIONS: [Situation; 6] = [
    ("its own", [Plain, Tls, Tls, Tls, Tls, Tls, Refused(OF_AUTHORITY)]),
    ("by an intermediate", [Plain, Tls, Tls, Tls, Tls, Tls, Refused(OF_AUTHORITY)]),
    ("of another host", [Plain, Tls, Tls, Tls, Tls, Refused(OF_NAME), Refused(OF_AUTHORITY)]),
    ("expired", [Plain, Tls, Tls, Refused(EXPIRED), Refused(EXPIRED), Refused(EXPIRED), Refused("")]),
    ("of the future", [Plain, Tls, Tls, Refused(NOT_YET), Refused(NOT_YET), Refused(NOT_YET), Refused("")]),
    (
        "of another authority",
        [Plain, Tls, Tls, Refused(OF_AUTHORITY), Refused(OF_AUTHORITY), Refused(OF_AUTHORITY), Refused(OF_AUTHORITY)],
    ),
];

#[tokio::test]
async fn each_sslmode_ends_as_libpq_has_it_whatever_certificate_the_server_shows() {
    let server = Secured::own().await;
    let (root, other) = (server.root(), Authority::new("another root"));
    for (number, (shown, ends)) in SITUATIONS.iter().enumerate() {
        let localhost = || Subject::server("localhost");
        let certificate = match *shown {
            "its own" => root.issue(localhost()),
            "by an intermediate" => root.intermediate("between").issue(localhost()),
            "of another host" => root.issue(Subject::server("elsewhere.example")),
            "expired" => root.issue(localhost().expired()),
            "of the future" => root.issue(localhost().of_the_future()),
            "of another authority" => other.issue(localhost()),
            shown => unreachable!("{shown}"),
        };
        server.show(&format!("shown{number}"), &certificate).await;
        for (parameters, expected) in MODES.iter().zip(ends) {
            let root = server.file("root.pem").display().to_string();
            let url = server.url_at("localhost", "scram", &parameters.replace("{root}", &root));
            ends_as(&url, *expected, shown).await;
        }
    }
}

#[tokio::test]
async fn without_tls_on_the_server_only_the_modes_that_do_not_need_it_log_in() {
    let server = shared_cluster();
    let root = Secured::shared().await.file("root.pem").display().to_string();
    let ends = [Plain, Plain, Refused(NO_TLS), Refused(NO_TLS), Refused(NO_TLS), Refused(NO_TLS), Refused(NO_TLS)];
    for (parameters, expected) in MODES.iter().zip(ends) {
        let url = format!("{}?{}", server.url("postgres"), parameters.replace("{root}", &root));
        ends_as(&url, expected, "no TLS").await;
    }
}

/// libpq's sixth mode tries without TLS first, which the config says no to, with what to write in its place.
#[tokio::test]
async fn sslmode_allow_is_refused_by_the_config() {
    let webhookdb = Webhookdb::new(&Config::for_url("postgres://u@localhost/d?sslmode=allow"));
    let stderr = webhookdb.run(&["status"]).await.fails_with(2);
    assert!(stderr.contains("use prefer, or better require or verify-full"), "{stderr}");
}

/// What pg_hba.conf asks of a role, and how a login with and without TLS ends.
#[tokio::test]
async fn what_pg_hba_conf_asks_is_met_or_told() {
    let server = Secured::shared().await;
    let client = server.certificate("client");
    for (role, parameters, expected) in [
        ("secret", "sslmode=disable", Refused("with or without TLS")),
        ("secret", "sslmode=prefer", Tls),
        ("secret", "sslmode=require", Tls),
        ("plain", "sslmode=disable", Plain),
        // libpq would go on without TLS here. We give it up only where the server has none: a refusal is a reason to look.
        ("plain", "sslmode=prefer", Refused("with or without TLS")),
        ("plain", "sslmode=require", Refused("with or without TLS")),
        ("twofold", "sslmode=require", Refused("client certificate")),
        ("twofold", &format!("sslmode=require&{client}"), Tls),
    ] {
        ends_as(&server.url(role, parameters), expected, role).await;
    }
}

/// A role that logs in by its client certificate alone, over both versions of TLS: by 1.3 the server's refusal comes only after
/// the handshake.
#[tokio::test]
async fn a_client_certificate_logs_in_or_its_fault_is_told() {
    let server = Secured::own().await;
    for version in ["TLSv1.2", "TLSv1.3"] {
        server.set(&[("ssl_min_protocol_version", version), ("ssl_max_protocol_version", version)]).await;
        for (shown, expected) in [
            ("client", Tls),
            ("somebody", Refused("client certificate of the role's name")),
            ("expired", Refused("our client certificate (sslcert) has expired")),
            ("stranger", Refused("ssl_ca_file must have signed it")),
        ] {
            let parameters = format!("sslmode=require&{}", server.certificate(shown));
            ends_as(&server.url("shown", &parameters), expected, &format!("{shown} by {version}")).await;
        }
        ends_as(&server.url("shown", "sslmode=require"), Refused("client certificate"), version).await;
        ends_as(&server.url("shown", "sslmode=disable"), Refused("with or without TLS"), version).await;
        // A certificate that nobody asked for does no harm.
        let unasked = format!("sslmode=require&{}", server.certificate("client"));
        ends_as(&server.url("scram", &unasked), Tls, version).await;
    }
}

#[tokio::test]
async fn a_server_of_tls_1_1_alone_is_refused() {
    let server = Secured::own().await;
    server.set(&[("ssl_min_protocol_version", "TLSv1.1"), ("ssl_max_protocol_version", "TLSv1.1")]).await;
    ends_as(&server.url("scram", "sslmode=require"), Refused("TLS older than 1.2"), "TLS 1.1").await;
    // What does not verify does not go on without TLS either: only a server that has none is talked to so.
    ends_as(&server.url("scram", "sslmode=prefer"), Refused("TLS older than 1.2"), "TLS 1.1").await;
}

/// With libpq's names: `require` logs in by SCRAM-SHA-256-PLUS or not at all.
#[tokio::test]
async fn channel_binding_is_used_where_it_can_be_and_insisted_on_where_the_url_says_so() {
    const UNBOUND: &str = "channel_binding=require takes";
    let server = Secured::own().await;
    let client = server.certificate("client");
    let rows: [(&str, &str, End); 12] = [
        ("scram", "sslmode=require&channel_binding=disable", Tls),
        ("scram", "sslmode=require&channel_binding=prefer", Tls),
        ("scram", "sslmode=require&channel_binding=require", Tls),
        ("scram", "sslmode=prefer&channel_binding=require", Tls),
        ("scram", "sslmode=disable&channel_binding=prefer", Plain),
        // Logged in by anything else, the password would be given away, or the server would not have proved itself.
        ("clear", "sslmode=require&channel_binding=require", Refused(UNBOUND)),
        ("clear", "sslmode=require&channel_binding=prefer", Tls),
        ("hashed", "sslmode=require&channel_binding=require", Refused(UNBOUND)),
        ("hashed", "sslmode=require&channel_binding=prefer", Tls),
        ("postgres", "sslmode=require&channel_binding=require", Refused(UNBOUND)),
        ("postgres", "sslmode=require&channel_binding=prefer", Tls),
        ("shown", &format!("sslmode=require&channel_binding=require&{client}"), Refused(UNBOUND)),
    ];
    for (role, parameters, expected) in rows {
        ends_as(&server.url(role, parameters), expected, role).await;
    }
    let socket = server.url_of_socket("postgres", "channel_binding=require");
    ends_as(&socket, Refused(UNBOUND), "by the socket").await;
    let nobodys = server.url_with("scram", None, "127.0.0.1", "sslmode=require&channel_binding=require");
    ends_as(&nobodys, Refused("a password in the url"), "no password").await;
    // A certificate that is signed by Ed25519 has no hash to bind to.
    let issued = Authority::by_ed25519("a root").issue(Subject::server("localhost"));
    server.show("unbound", &issued).await;
    ends_as(&server.url("scram", "sslmode=require&channel_binding=prefer"), Tls, "Ed25519").await;
    ends_as(&server.url("scram", "sslmode=require&channel_binding=require"), Refused("not Ed25519"), "Ed25519").await;
}

/// Where no certificate is verified anybody can stand in between: SCRAM's channel binding finds them out.
#[tokio::test]
async fn who_ends_tls_in_between_is_found_out_by_channel_binding() {
    let server = Secured::shared().await;
    let between = Interceptor::before(server).await;
    let url = |binding: &str| between.url(&server.url("scram", &format!("sslmode=require&channel_binding={binding}")));
    for binding in ["prefer", "require"] {
        let (error, hint) = refusal(&url(binding)).await;
        assert!(matches!(error, PostgresError::Intercepted { .. }), "{error:?}");
        assert!(hint.contains("decrypts what is sent"), "{hint}");
    }
    ends_as(&url("disable"), Tls, "nobody is found out without").await;
    // So does a verified certificate, before anything is said.
    let root = server.file("root.pem").display().to_string();
    let verified = between.url(&server.url("scram", &format!("sslmode=verify-ca&sslrootcert={root}")));
    ends_as(&verified, Refused(OF_AUTHORITY), "in between").await;
}

/// The main job under the strictest settings, by the binary.
#[tokio::test]
async fn setup_and_serve_do_their_work_by_verified_tls_with_channel_binding() {
    let server = Secured::shared().await;
    let database = TestDatabase::create_on(server.cluster(), "verified").await;
    let root = server.file("root.pem").display().to_string();
    let parameters = format!("sslmode=verify-full&channel_binding=require&sslrootcert={root}");
    let url = server.url_at("localhost", "boss", &parameters).replace("/postgres?", &format!("/{}?", database.name()));
    let site =
        Site::in_database(database, |config| config.set("catalog.url", url.clone()).set("source.url", url)).await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for(1).await;
    let plain =
        "SELECT count(*) FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE a.usename = 'boss' AND NOT s.ssl";
    assert_eq!(site.database.client().query_one(plain, &[]).await.expect("a count").get::<_, i64>(0), 0);
    let replicating =
        "SELECT count(*) FROM pg_stat_replication r JOIN pg_stat_ssl s USING (pid) WHERE r.usename = 'boss' AND s.ssl";
    assert_eq!(site.database.client().query_one(replicating, &[]).await.expect("a count").get::<_, i64>(0), 1);
}

async fn ends_as(url: &str, expected: End, situation: &str) {
    let shown = url.split_once('?').map_or(url, |(_, parameters)| parameters);
    match expected {
        Refused(words) => {
            let (error, hint) = refusal(url).await;
            assert!(hint.contains(words), "{situation}, {shown}: {hint} ({error:?})");
        }
        Plain | Tls => assert_eq!(uses_tls(url).await, expected == Tls, "{situation}, {shown}"),
    }
}
