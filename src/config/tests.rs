//! Tests of the whole way from a file's text to settings or problems.

mod arbitrary;
mod encryption;
mod problems;
mod secrets;

use std::collections::BTreeSet;
use std::env::VarError;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::file::ConfigFile;
use super::load::parse;
use super::tree::Reader;
use super::{ConfigError, LogFormat, Problem, Publish, ReplicaIdentity, Settings, WhenFull};

const EXAMPLE: &str = include_str!("../../config.example.toml");

/// The least that a file has to say.
const MINIMAL: &str = "[catalog]\nurl = 'postgres://ann@localhost/hooks'\n";

const PASSWORD: &str = "hunter2";

fn environment(name: &str) -> Result<String, VarError> {
    match name {
        "PASSWORD" => Ok(PASSWORD.to_owned()),
        "TIMEOUT" => Ok("7s".to_owned()),
        _ => Err(VarError::NotPresent),
    }
}

fn load(text: &str) -> Result<Settings, ConfigError> {
    parse(Path::new("config.toml"), text, &environment)
}

fn settings(text: &str) -> Settings {
    load(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn problems(text: &str) -> Vec<Problem> {
    match load(text) {
        Err(ConfigError::Invalid { problems, .. }) => problems,
        other => panic!("{text}\n{other:?}"),
    }
}

/// Asserts that these are all the problems of the text: line, key, and a piece of the message.
fn assert_problems(text: &str, expected: &[(usize, &str, &str)]) {
    let found = problems(text);
    let matches = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, (line, key, message))| {
            found.line == *line && found.key == *key && found.message.contains(message)
        });
    assert!(matches, "{text}\nexpected {expected:#?}\nfound {found:#?}");
}

#[test]
fn a_minimal_file_gets_the_promised_defaults() {
    let settings = settings(MINIMAL);
    assert_eq!(settings.catalog().schema(), "public");
    let [source] = settings.sources() else { panic!("{settings:?}") };
    assert_eq!(source.name(), "main");
    assert_eq!(source.url().database, "hooks");
    assert_eq!((source.slot(), source.publication()), ("webhookdb_notifications", "webhookdb_notifications"));
    assert_eq!(source.replica_identity(), ReplicaIdentity::Key);
    assert!(source.primary_url().is_none() && source.failover());
    let delivery = settings.delivery();
    assert_eq!(delivery.timeout(), Duration::from_secs(10));
    assert_eq!(delivery.max_attempts(), 25);
    assert_eq!(delivery.give_up_after(), Duration::from_secs(72 * 3600));
    assert_eq!((delivery.concurrency(), delivery.max_in_flight()), (16, 1024));
    assert_eq!(delivery.memory(), 64 * 1024 * 1024);
    assert!(delivery.allow_networks().is_empty() && !delivery.allow_http() && delivery.ca_file().is_none());
    assert_eq!((delivery.retry_base(), delivery.retry_cap()), (Duration::from_secs(1), Duration::from_secs(6 * 3600)));
    assert_eq!((delivery.grace(), delivery.retention()), (Duration::from_secs(20), Duration::from_secs(7 * 86_400)));
    assert_eq!(delivery.disable_after(), Duration::from_secs(5 * 86_400));
    assert_eq!((delivery.max_pending(), delivery.when_full()), (None, WhenFull::Disable));
    assert_eq!(settings.http().listen().to_string(), "127.0.0.1:8428");
    assert_eq!((settings.log().format(), settings.log().level()), (LogFormat::Text, "info"));
}

#[test]
fn every_key_changes_its_setting() {
    let settings = settings(
        r#"
        [catalog]
        url = "postgres://ann:${PASSWORD}@localhost/hooks"
        schema = "whdb"
        [[source]]
        name = "Second.one-1"
        url = "postgres://bob@elsewhere/rows"
        slot = "0_slot"
        publication = "Ünusual name"
        organizations = ["acme_corp", "beta"]
        publish = "schema"
        replica_identity = "full"
        primary_url = "postgres://carol@first/rows"
        failover = false
        [delivery]
        timeout = "${TIMEOUT}"
        max_attempts = 3
        give_up_after = "1h 30m"
        concurrency = 2
        max_in_flight = 4
        memory = "2MiB"
        allow_networks = ["10.0.0.0/8", "::1"]
        allow_http = true
        retry_base = "50ms"
        retry_cap = "200ms"
        grace = "0s"
        retention = "1d"
        disable_after = "2d"
        max_pending = 1000
        when_full = "pause"
        [http]
        listen = "[::1]:0"
        [log]
        format = "json"
        level = "warn,webhookdb_notifications=trace"
        "#,
    );
    let catalog = settings.catalog();
    assert_eq!(catalog.url().password.as_ref().map(|password| password.expose()), Some(PASSWORD));
    assert_eq!(catalog.schema(), "whdb");
    let [source] = settings.sources() else { panic!("{settings:?}") };
    assert_eq!((source.name(), source.slot(), source.publication()), ("Second.one-1", "0_slot", "Ünusual name"));
    assert_eq!((source.url().host.as_str(), source.url().user.as_str()), ("elsewhere", "bob"));
    assert_eq!((source.publish(), source.replica_identity()), (Publish::Schema, ReplicaIdentity::Full));
    let placement = settings.placement();
    assert_eq!((placement.only_source_of("beta"), placement.only_source_of("x")), (Some("Second.one-1"), None));
    assert_eq!(source.primary_url().map(|url| url.host.as_str()), Some("first"));
    assert!(!source.failover());
    let delivery = settings.delivery();
    assert_eq!(delivery.timeout(), Duration::from_secs(7));
    assert_eq!(delivery.max_attempts(), 3);
    assert_eq!(delivery.give_up_after(), Duration::from_secs(5400));
    assert_eq!((delivery.concurrency(), delivery.max_in_flight()), (2, 4));
    assert_eq!(delivery.memory(), 2 * 1024 * 1024);
    assert_eq!(format!("{:?}", delivery.allow_networks()), "[10.0.0.0/8, ::1/128]");
    assert!(delivery.allow_http());
    assert_eq!((delivery.retry_base(), delivery.retry_cap()), (Duration::from_millis(50), Duration::from_millis(200)));
    assert_eq!((delivery.grace(), delivery.retention()), (Duration::ZERO, Duration::from_secs(86_400)));
    assert_eq!(delivery.disable_after(), Duration::from_secs(2 * 86_400));
    assert_eq!((delivery.max_pending(), delivery.when_full()), (Some(1000), WhenFull::Pause));
    assert_eq!(settings.http().listen().to_string(), "[::1]:0");
    assert_eq!(settings.log().format(), LogFormat::Json);
    assert_eq!(settings.log().level(), "warn,webhookdb_notifications=trace");
}

#[test]
fn there_may_be_any_number_of_sources() {
    let rest = "[[source]]\nname = 'a'\n[[source]]\nname = 'b'\nslot = 'b'\nurl = 'postgres://ann@localhost/rows'\n\
                [[source]]\nname = 'c'\nurl = 'postgres://ann@elsewhere/hooks'\n";
    let settings = settings(&format!("{MINIMAL}{rest}"));
    let databases: Vec<_> = settings.sources().iter().map(|source| source.url().database.as_str()).collect();
    assert_eq!(databases, ["hooks", "rows", "hooks"]);
    assert_eq!(settings.source("c").map(|source| source.slot()), Some("webhookdb_notifications"));
    assert!(settings.source("d").is_none());
}

#[test]
fn the_example_says_the_defaults() {
    let minimal = "[catalog]\nurl = 'postgres://whdb@localhost/webhookdb'\n";
    assert_eq!(format!("{:?}", settings(EXAMPLE)), format!("{:?}", settings(minimal)));
}

#[test]
fn the_example_names_every_key_and_no_other() {
    let mut reader = Reader::new("", &environment);
    ConfigFile::read(&DeTable::new(), &mut reader);
    let known: BTreeSet<_> =
        reader.known.iter().map(|known| (known.section.to_owned(), known.key.to_owned())).collect();
    assert_eq!(keys_of_the_example(), known);
}

/// Section and key of every line `key = …`, those commented out too.
fn keys_of_the_example() -> BTreeSet<(String, String)> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in EXAMPLE.lines() {
        if line.starts_with('[') {
            section = line.to_owned();
        }
        let key = line.trim_start_matches("# ").split_once(" = ").map(|(key, _)| key);
        if let Some(key) = key.filter(|key| key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')) {
            keys.insert((section.clone(), key.to_owned()));
        }
    }
    keys
}

#[test]
fn a_url_comes_from_one_place_only() {
    let text = format!("{MINIMAL}url_file = '/does/not/exist'\n");
    assert_problems(&text, &[(3, "[catalog] url_file", "expected a URL or a file that holds it, found both")]);
}

#[test]
fn a_url_file_is_read_relative_to_the_config_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("url"), "postgres://ann:s%40crit@h/d\r\n").expect("a file");
    let text = "[catalog]\nurl_file = 'url'\n";
    let settings = parse(&directory.path().join("any.toml"), text, &environment).expect("settings");
    assert_eq!(settings.catalog().url().password.as_ref().map(|password| password.expose()), Some("s@crit"));
    assert_eq!(settings.sources().first().map(|source| source.url().host.as_str()), Some("h"));
}

#[test]
fn files_that_a_url_names_are_checked() {
    let text = "[catalog]\nurl = 'postgres://h/d?user=u&sslrootcert=/nowhere/a&sslcert=/nowhere/b&sslkey=/nowhere/c'\n";
    let key = "[catalog] url";
    assert_problems(text, &[(2, key, "sslrootcert: "), (2, key, "sslcert: "), (2, key, "sslkey: ")]);
}

#[test]
fn certificates_are_accepted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate").cert.pem();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, certificate).expect("a file");
    let text =
        format!("[catalog]\nurl = 'postgres://u@h/d?sslrootcert={0}'\n[delivery]\nca_file = '{0}'\n", path.display());
    let settings = settings(&text);
    assert_eq!(settings.delivery().ca_file(), Some(path.as_path()));
    assert_eq!(settings.catalog().url().ssl_root_cert, Some(path));
}
