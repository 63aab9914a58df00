//! Tests of reading URLs, by libpq's rules and ours.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::{ChannelBinding, PostgresUrl, PostgresUrlError, SslMode};

fn url(text: &str) -> PostgresUrl {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn password(url: &PostgresUrl) -> Option<&str> {
    url.password.as_ref().map(|password| password.expose())
}

#[test]
fn the_parts_of_a_url_are_found_and_decoded() {
    for (text, host, port, user, expected_password, database) in [
        ("postgres://ann:pw@db.example:6543/hooks", "db.example", 6543, "ann", Some("pw"), "hooks"),
        ("postgresql://ann@db.example", "db.example", 5432, "ann", None, "ann"),
        ("postgres://ann@db.example/", "db.example", 5432, "ann", None, "ann"),
        ("postgres://ann:@db.example:/hooks", "db.example", 5432, "ann", None, "hooks"),
        ("postgres://a%20b:p%2Fw%40%3A%25@h/d%2Fe", "h", 5432, "a b", Some("p/w@:%"), "d/e"),
        ("postgres://ann:a:b?c#d@h/d", "h", 5432, "ann", Some("a:b?c#d"), "d"),
        ("postgres://ann@10.0.0.1:1/d", "10.0.0.1", 1, "ann", None, "d"),
        ("postgres://ann@[::1]:65535/d", "::1", 65535, "ann", None, "d"),
        ("postgres://ann@[2001:db8::1]/d", "2001:db8::1", 5432, "ann", None, "d"),
        ("postgres://ann@%2Fvar%2Frun%2Fpostgresql/d", "/var/run/postgresql", 5432, "ann", None, "d"),
        ("postgres:///d?user=ann&host=/run/pg&port=5433", "/run/pg", 5433, "ann", None, "d"),
        ("postgres://?host=h&user=ann&password=p%26w&dbname=d", "h", 5432, "ann", Some("p&w"), "d"),
        ("postgres://old:old@old:1/old?host=h&port=2&user=ann&password=new&dbname=d", "h", 2, "ann", Some("new"), "d"),
        ("postgres://ann@h?dbname=d", "h", 5432, "ann", None, "d"),
        ("postgres://ann:%C3%BC@h/d", "h", 5432, "ann", Some("ü"), "d"),
    ] {
        let url = url(text);
        assert_eq!((url.host.as_str(), url.port), (host, port), "{text}");
        assert_eq!((url.user.as_str(), url.database.as_str()), (user, database), "{text}");
        assert_eq!(password(&url), expected_password, "{text}");
    }
}

#[test]
fn what_a_url_leaves_out_comes_from_the_system() {
    let url = url("postgres://");
    let account = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name);
    assert_eq!(Some(url.user.clone()), account);
    assert_eq!(url.database, url.user);
    assert!(url.host.starts_with('/'), "{}", url.host);
    assert_eq!((url.port, url.connect_timeout), (5432, Duration::from_secs(10)));
}

#[test]
fn parameters_of_tls_and_time_are_read() {
    for (text, mode) in [
        ("", SslMode::Prefer),
        ("?sslmode=", SslMode::Prefer),
        ("?sslmode=disable", SslMode::Disable),
        ("?sslmode=prefer", SslMode::Prefer),
        ("?sslmode=require", SslMode::Require),
        ("?sslmode=verify-ca", SslMode::VerifyCa),
        ("?sslmode=verify-full", SslMode::VerifyFull),
        ("?sslrootcert=system", SslMode::VerifyFull),
        ("?sslrootcert=system&sslmode=verify-full", SslMode::VerifyFull),
    ] {
        let url = url(&format!("postgres://ann@h/d{text}"));
        assert_eq!((url.ssl_mode, url.ssl_root_cert), (mode, None), "{text}");
    }
    let url = url("postgres://ann@h/d?sslrootcert=/a%20b&sslcert=c&sslkey=k&connect_timeout=600");
    let paths = [&url.ssl_root_cert, &url.ssl_cert, &url.ssl_key].map(|path| path.as_deref());
    assert_eq!(paths, [Some(Path::new("/a b")), Some(Path::new("c")), Some(Path::new("k"))]);
    assert_eq!(url.connect_timeout, Duration::from_secs(600));
}

#[test]
fn channel_binding_is_read_by_libpqs_names() {
    for (text, binding) in [
        ("", ChannelBinding::Prefer),
        ("?channel_binding=", ChannelBinding::Prefer),
        ("?channel_binding=disable", ChannelBinding::Disable),
        ("?channel_binding=prefer", ChannelBinding::Prefer),
        ("?channel_binding=require", ChannelBinding::Require),
        ("?channel_binding=require&sslmode=verify-full", ChannelBinding::Require),
    ] {
        assert_eq!(url(&format!("postgres://ann@h/d{text}")).channel_binding, binding, "{text}");
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_its_reason() {
    use PostgresUrlError as E;
    let unknown = |name: &str| E::UnknownParameter { name: Some(name.to_owned()) };
    for (text, error) in [
        ("", E::Scheme),
        ("host=h dbname=d", E::Scheme),
        ("mysql://h/d", E::Scheme),
        ("Postgres://h/d", E::Scheme),
        ("postgres://u@h/d\0", E::Nul),
        ("postgres://u@h/d%00", E::Nul),
        ("postgres://u@a,b/d", E::SeveralHosts),
        ("postgres://u@a:1,b:2/d", E::SeveralHosts),
        ("postgres:///d?user=u&host=a,b", E::SeveralHosts),
        ("postgres://u@[::1/d", E::Ipv6),
        ("postgres://u@[h]/d", E::Ipv6),
        ("postgres://u@[::1]5432/d", E::Ipv6),
        ("postgres://u@h:0/d", E::Port),
        ("postgres://u@h:65536/d", E::Port),
        ("postgres://u@h:port/d", E::Port),
        ("postgres://u@h/d?port=-1", E::Port),
        ("postgres://u%@h/d", E::Encoding { part: "user" }),
        ("postgres://u:%zz@h/d", E::Encoding { part: "password" }),
        ("postgres://u:%+1@h/d", E::Encoding { part: "password" }),
        ("postgres://u@h/%ff", E::Encoding { part: "database" }),
        ("postgres://u@h/d?sslcert=%", E::Encoding { part: "sslcert" }),
        ("postgres://u:p@ss@h/d", E::Unencoded { part: "host" }),
        ("postgres://u:p@s/s@h/d", E::Unencoded { part: "database" }),
        ("postgres://u@h /d", E::Unencoded { part: "host" }),
        ("postgres://u@h/d?sslmode", E::Parameter),
        ("postgres://u@h/d?sslmode=prefer&", E::Parameter),
        ("postgres://u@h/d?application_name=x", unknown("application_name")),
        ("postgres://u@h/d?options=-c%20x", unknown("options")),
        ("postgres://u@h/d?hostaddr=10.0.0.1", unknown("hostaddr")),
        ("postgres://u@h/d?Host=x", E::UnknownParameter { name: None }),
        ("postgres://u:1/?ss=x@h/d", E::UnknownParameter { name: None }),
        ("postgres://u@h/d?sslmode=allow", E::SslModeAllow),
        ("postgres://u@h/d?sslmode=on", E::SslMode),
        ("postgres://u@h/d?sslmode=require&sslrootcert=system", E::SystemRoots),
        ("postgres://u@h/d?channel_binding=on", E::ChannelBinding),
        ("postgres://u@h/d?channel_binding=require&sslmode=disable", E::ChannelBindingWithoutTls),
        ("postgres://u@h/d?sslcert=c", E::ClientCertificate),
        ("postgres://u@h/d?sslkey=k", E::ClientCertificate),
        ("postgres://u@h/d?connect_timeout=0", E::ConnectTimeout),
        ("postgres://u@h/d?connect_timeout=-1", E::ConnectTimeout),
        ("postgres://u@h/d?connect_timeout=601", E::ConnectTimeout),
        ("postgres://u@h/d?connect_timeout=10s", E::ConnectTimeout),
    ] {
        assert_eq!(text.parse::<PostgresUrl>().expect_err(text), error, "{text}");
    }
}

#[test]
fn an_unknown_parameter_is_told_what_is_known() {
    let error = "postgres://u@h/d?options=x".parse::<PostgresUrl>().expect_err("an unknown parameter");
    assert_eq!(
        error.to_string(),
        "the parameter options is not supported: known are host, port, user, password, dbname, sslmode, \
         channel_binding, sslrootcert, sslcert, sslkey, connect_timeout"
    );
}

#[test]
fn debug_output_hides_the_password() {
    let shown = format!("{:?}", url("postgres://ann:hunter2@h/d"));
    assert!(!shown.contains("hunter2") && shown.contains("ann"), "{shown}");
}

/// `text` with everything but letters and digits percent-encoded.
fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "(?s).{0,80}", tail in "[ -~]{0,60}") {
        let _ = text.parse::<PostgresUrl>();
        let _ = format!("postgres://{text}").parse::<PostgresUrl>();
        let _ = format!("postgres://{tail}").parse::<PostgresUrl>();
        let _ = format!("postgres://u@h/d?{tail}").parse::<PostgresUrl>();
    }

    #[test]
    fn encoded_parts_come_back_whole(user in "[^\0]{1,20}", pass in "[^\0]{1,20}", database in "[^\0]{1,20}") {
        let text = format!("postgres://{}:{}@h:1/{}", encode(&user), encode(&pass), encode(&database));
        let url = url(&text);
        prop_assert_eq!((url.user.as_str(), url.database.as_str()), (user.as_str(), database.as_str()));
        prop_assert_eq!(password(&url), Some(pass.as_str()));
    }

    #[test]
    fn no_error_repeats_a_password(before in "[a-z0-9/@:?#&=%]{0,6}", after in "[a-z0-9/@:?#&=%]{0,6}") {
        let text = format!("postgres://u:{before}SECRET{after}@h/d?sslmode=on");
        if let Err(error) = text.parse::<PostgresUrl>() {
            let shown = format!("{error} {error:?}");
            prop_assert!(!shown.contains("SECRET"), "{}", shown);
        }
    }
}
