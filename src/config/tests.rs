//! Tests of the whole way from a file's text to settings or problems.

use std::collections::BTreeSet;
use std::env::VarError;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use toml::de::DeTable;

use super::file::ConfigFile;
use super::load::parse;
use super::tree::Reader;
use super::{ConfigError, LogFormat, Problem, ReplicaIdentity, Settings};

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
    let delivery = settings.delivery();
    assert_eq!(delivery.timeout(), Duration::from_secs(10));
    assert_eq!(delivery.max_attempts(), 25);
    assert_eq!(delivery.give_up_after(), Duration::from_secs(72 * 3600));
    assert_eq!((delivery.concurrency(), delivery.max_in_flight()), (16, 1024));
    assert_eq!(delivery.memory(), 64 * 1024 * 1024);
    assert!(delivery.allow_networks().is_empty() && !delivery.allow_http() && delivery.ca_file().is_none());
    assert_eq!((delivery.retry_base(), delivery.retry_cap()), (Duration::from_secs(1), Duration::from_secs(6 * 3600)));
    assert_eq!((delivery.grace(), delivery.retention()), (Duration::from_secs(20), Duration::from_secs(7 * 86_400)));
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
        organizations = []
        publish = "integrations"
        replica_identity = "full"
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
    assert_eq!(source.replica_identity(), ReplicaIdentity::Full);
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
    assert_eq!(settings.http().listen().to_string(), "[::1]:0");
    assert_eq!(settings.log().format(), LogFormat::Json);
    assert_eq!(settings.log().level(), "warn,webhookdb_notifications=trace");
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

/// One wrong value of each kind: section, line, key and what the problem says.
const WRONG_VALUES: &[(&str, &str, &str, &str)] = &[
    ("[catalog]", "schema = 3", "schema", "expected a string, found an integer"),
    ("[catalog]", "schema = ''", "schema", "expected the name of a schema"),
    ("[catalog]", "schema = 'notifications'", "schema", "expected the name of a schema"),
    ("[catalog]", "schema = 'pg_catalog'", "schema", "expected the name of a schema"),
    ("[catalog]", "encryption_key = 'x'", "encryption_key", "not yet supported"),
    ("[catalog]", "shema = 'x'", "shema", "unknown key; did you mean schema?"),
    ("[catalog]", "colour = 'x'", "colour", "unknown key; expected one of url, url_file, schema, encryption_key"),
    ("[[source]]", "name = ''", "name", "expected 1 to 63 letters"),
    ("[[source]]", "name = 'a b'", "name", "found \"a b\""),
    (
        "[[source]]",
        "slot = 'Main'",
        "slot",
        "expected 1 to 63 of lower-case letters a-z, digits and \"_\", found \"Main\"",
    ),
    ("[[source]]", "slot = ''", "slot", "expected 1 to 63"),
    (
        "[[source]]",
        "slot = 'a123456789012345678901234567890123456789012345678901234567890123'",
        "slot",
        "expected 1 to 63",
    ),
    ("[[source]]", "publication = \"a\\nb\"", "publication", "expected the name of a publication"),
    ("[[source]]", "organizations = ['acme']", "organizations", "not yet supported"),
    ("[[source]]", "organizations = 'acme'", "organizations", "expected an array of strings, found a string"),
    ("[[source]]", "organizations = [1]", "organizations", "expected an array of strings, found an integer"),
    ("[[source]]", "publish = 'schema'", "publish", "not yet supported"),
    ("[[source]]", "publish = 'all'", "publish", "expected \"integrations\" or \"schema\", found \"all\""),
    ("[[source]]", "replica_identity = 'none'", "replica_identity", "expected \"key\" or \"full\" or \"keep\""),
    ("[[source]]", "primary_url = 'postgres://h/d'", "primary_url", "not yet supported"),
    ("[[source]]", "url = 'mysql://h/d'", "url", "begins with postgres://"),
    ("[[source]]", "url_file = '/does/not/exist'", "url_file", "expected a file that can be read: No such file"),
    ("[delivery]", "timeout = '10 parsecs'", "timeout", "expected a duration such as \"10s\", found \"10 parsecs\""),
    ("[delivery]", "timeout = 10", "timeout", "expected a string, found an integer"),
    ("[delivery]", "timeout = '10'", "timeout", "expected a duration"),
    ("[delivery]", "timeout = ''", "timeout", "expected a duration"),
    ("[delivery]", "timeout = '0s'", "timeout", "expected a duration from 1ms to 10m, found \"0s\""),
    ("[delivery]", "timeout = '11m'", "timeout", "expected a duration from 1ms to 10m, found \"11m\""),
    ("[delivery]", "max_attempts = 0", "max_attempts", "expected a number from 1 to 1000, found 0"),
    ("[delivery]", "max_attempts = 1001", "max_attempts", "expected a number from 1 to 1000, found 1001"),
    ("[delivery]", "max_attempts = -1", "max_attempts", "from 1 to 1000, found -1"),
    ("[delivery]", "max_attempts = 99999999999999999999", "max_attempts", "expected an integer of at most 64 bits"),
    ("[delivery]", "max_attempts = 2.5", "max_attempts", "expected an integer, found a float"),
    ("[delivery]", "give_up_after = '0s'", "give_up_after", "expected a duration from 1ms"),
    ("[delivery]", "concurrency = 0", "concurrency", "expected a number from 1 to 65535, found 0"),
    (
        "[delivery]",
        "concurrency = 2000",
        "concurrency",
        "expected at most max_in_flight (1024, the default), found 2000",
    ),
    ("[delivery]", "max_in_flight = 8", "max_in_flight", "expected at least concurrency (16, the default), found 8"),
    ("[delivery]", "max_in_flight = 65536", "max_in_flight", "expected a number from 1 to 65535, found 65536"),
    ("[delivery]", "memory = '64 elephants'", "memory", "expected a size such as \"64MiB\", found \"64 elephants\""),
    ("[delivery]", "memory = '1023KiB'", "memory", "expected a size from 1.0 MiB to 1.0 TiB, found \"1023KiB\""),
    ("[delivery]", "memory = 1048576", "memory", "expected a string, found an integer"),
    ("[delivery]", "allow_networks = ['10.0.0.0/33']", "allow_networks", "expected a network such as \"10.0.0.0/8\""),
    ("[delivery]", "allow_networks = ['localhost']", "allow_networks", "found \"localhost\""),
    ("[delivery]", "allow_http = 'yes'", "allow_http", "expected true or false, found a string"),
    ("[delivery]", "ca_file = '/does/not/exist'", "ca_file", "expected a file that can be read: No such file"),
    ("[delivery]", "ca_file = '/dev/null'", "ca_file", "expected a file of certificates in PEM form"),
    ("[delivery]", "retry_base = '0s'", "retry_base", "expected a duration from 1ms to 1day"),
    ("[delivery]", "retry_base = '7h'", "retry_base", "expected at most retry_cap (6h, the default), found \"7h\""),
    (
        "[delivery]",
        "retry_cap = '500ms'",
        "retry_cap",
        "expected at least retry_base (1s, the default), found \"500ms\"",
    ),
    ("[delivery]", "grace = '2h'", "grace", "expected a duration from 0s to 1h, found \"2h\""),
    ("[delivery]", "retention = 'for ever'", "retention", "expected a duration such as \"7days\""),
    ("[http]", "listen = 'localhost'", "listen", "expected an IP address and a port such as \"127.0.0.1:8428\""),
    ("[http]", "listen = '127.0.0.1:99999'", "listen", "expected an IP address and a port"),
    ("[log]", "format = 'xml'", "format", "expected \"text\" or \"json\", found \"xml\""),
    ("[log]", "level = 'informative'", "level", "expected error, warn, info, debug, trace or off"),
    ("[log]", "level = 'a=b=c'", "level", "expected error, warn, info, debug, trace or off"),
    ("[log]", "level = '${NO_SUCH_LEVEL}'", "level", "the environment variable NO_SUCH_LEVEL is not set"),
    ("[log]", "level = '${'", "level", "expected ${NAME}"),
];

#[test]
fn every_wrong_value_is_one_problem_at_its_line() {
    for (section, line, key, message) in WRONG_VALUES {
        let text = match *section {
            "[catalog]" => format!("{MINIMAL}{line}\n"),
            other => format!("{MINIMAL}{other}\n{line}\n"),
        };
        let at = text.lines().count();
        assert_problems(&text, &[(at, &format!("{section} {key}"), message)]);
    }
}

#[test]
fn what_is_missing_is_said_where_it_is_missing() {
    let missing = "missing; expected a URL";
    assert_problems("", &[(1, "[catalog] url", missing)]);
    assert_problems("\n\n[catalog]\nschema = 'x'\n", &[(3, "[catalog] url", missing)]);
}

#[test]
fn sections_in_a_wrong_place_or_form_are_said() {
    let section = "expected a section, headed [log]";
    assert_problems(&format!("log = 'x'\n{MINIMAL}"), &[(1, "[log]", section)]);
    let source = "expected a section for each source, headed [[source]]";
    assert_problems(&format!("{MINIMAL}[source]\nname = 'a'\n"), &[(3, "[[source]]", source)]);
    assert_problems(&format!("source = ['a']\n{MINIMAL}"), &[(1, "[[source]]", source)]);
    let belongs = "outside of its section: it belongs under [delivery]";
    assert_problems(&format!("timeout = '1s'\n{MINIMAL}"), &[(1, "timeout", belongs)]);
    assert_problems(&format!("zeal = 9\n{MINIMAL}"), &[(1, "zeal", "unknown key; expected one of the sections")]);
    let misspelt = "unknown section; did you mean [delivery]?";
    assert_problems(&format!("{MINIMAL}[delivry]\ntimeout = 3\n"), &[(3, "[delivry]", misspelt)]);
    let unknown = "unknown section; expected one of [catalog], [[source]], [delivery], [http], [log]";
    assert_problems(&format!("{MINIMAL}[nonsense]\n"), &[(3, "[nonsense]", unknown)]);
}

#[test]
fn more_than_one_source_is_not_yet_supported_and_duplicates_are_said() {
    let text = format!("{MINIMAL}[[source]]\nname = 'a'\n[[source]]\nname = 'a'\nslot = 'other'\n");
    let named = "the name \"a\" is already that of the source at line 3";
    assert_problems(&text, &[(5, "[[source]]", "more than one source is not yet supported"), (5, "[[source]]", named)]);
    let text = format!("{MINIMAL}[[source]]\nname = 'a'\n[[source]]\nname = 'b'\n");
    let slot = "the slot \"webhookdb_notifications\" already serves the source at line 3";
    assert_problems(&text, &[(5, "[[source]]", "more than one source is not yet supported"), (5, "[[source]]", slot)]);
}

#[test]
fn a_url_comes_from_one_place_only() {
    let text = format!("{MINIMAL}url_file = '/does/not/exist'\n");
    assert_problems(&text, &[(3, "[catalog] url_file", "expected url or url_file, found both")]);
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

#[test]
fn many_problems_are_all_reported_with_their_lines() {
    let text = r#"timeout = "1s"
[catalog]
url = "postgres://ann:${PASSWORD}@h/d?sslmode=allow"
shema = "public"

[[source]]
slot = "Not A Slot"
organizations = [
    "acme",
]
publish = "schema"

[delivery]
timeout = "10 parsecs"
max_attempts = 0
memory = "64 elephants"
allow_networks = [
    "10.0.0.0/8",
    "nonsense",
    7,
]
retry_base = "2h"
retry_cap = "1h"

[http]
listen = 8428

[metrics]
on = true

[log]
level = "${LEVEL}"
"#;
    assert_problems(
        text,
        &[
            (1, "timeout", "it belongs under [delivery]"),
            (3, "[catalog] url", "sslmode=allow is not supported"),
            (4, "[catalog] shema", "did you mean schema?"),
            (7, "[[source]] slot", "found \"Not A Slot\""),
            (9, "[[source]] organizations", "not yet supported"),
            (11, "[[source]] publish", "not yet supported"),
            (14, "[delivery] timeout", "found \"10 parsecs\""),
            (15, "[delivery] max_attempts", "found 0"),
            (16, "[delivery] memory", "found \"64 elephants\""),
            (19, "[delivery] allow_networks", "found \"nonsense\""),
            (20, "[delivery] allow_networks", "found an integer"),
            (23, "[delivery] retry_cap", "expected at least retry_base (\"2h\"), found \"1h\""),
            (26, "[http] listen", "found an integer"),
            (28, "[metrics]", "unknown section"),
            (32, "[log] level", "LEVEL is not set"),
        ],
    );
}

#[test]
fn lines_that_are_not_toml_are_reported_beside_the_other_problems_and_once() {
    let text =
        format!("{MINIMAL}schema = public\nschema = 'again'\n[delivery]\ntimeout = 10s\nmax_attempts = 0\n[log\n");
    assert_problems(
        &text,
        &[
            (3, "", "string values must be quoted"),
            (4, "", "duplicate key"),
            (6, "", "string values must be quoted"),
            (7, "[delivery] max_attempts", "found 0"),
            (8, "", "unclosed table"),
        ],
    );
    assert_problems("[catalog\nurl = 'postgres://h/d'\n", &[(1, "", "unclosed table")]);
}

#[test]
fn a_problem_reads_as_editors_expect_it() {
    let error = load(&format!("{MINIMAL}[delivery]\ntimeout = '10 parsecs'\ngrace = 1\n")).expect_err("two problems");
    assert_eq!(
        error.to_string(),
        "config.toml:4: [delivery] timeout: expected a duration such as \"10s\", found \"10 parsecs\"\n\
         config.toml:5: [delivery] grace: expected a string, found an integer"
    );
}

#[test]
fn no_problem_shows_a_secret() {
    for line in [
        "url = 'postgres://ann:hunter2@h:port/d'",
        "url = 'postgres://ann:hunter2@h/d?sslmode=hunter2'",
        "url = 'postgres://ann:hunter2@h/d?password=hunter2&colour=hunter2'",
        "url = 'postgres://ann:p/hunter2@h/d'",
        "url = 'postgres://ann:5/?hunter2@h/d'",
        "url = 'postgres://ann:hunter2%@h/d'",
        "url = 'ann:hunter2@h/d'",
        "url = postgres://ann:hunter2@h/d",
        "url = ['postgres://ann:hunter2@h/d']",
        "url_file = 'postgres://ann:hunter2@h/d'",
        "schema = 'postgres://ann:hunter2@h/d'",
        "schema = '${PASSWORD}\n'",
        "encryption_key = 'hunter2'",
        "'postgres://ann:hunter2@h/d' = 1",
    ] {
        for text in [format!("[catalog]\n{line}\n"), format!("{line}\n[log]\nlevel = '${{PASSWORD}}'\n")] {
            let Err(error) = load(&text) else { panic!("{text}") };
            assert!(!format!("{error} {error:?}").contains(PASSWORD), "{text}\n{error}");
        }
    }
}

#[test]
fn a_value_of_the_environment_is_shown_as_it_is_written() {
    let text = format!("{MINIMAL}[delivery]\nmemory = '${{PASSWORD}}'\n");
    assert_problems(&text, &[(4, "[delivery] memory", "found the value of \"${PASSWORD}\"")]);
}

fn any_config() -> impl Strategy<Value = String> {
    let lines: Vec<String> = EXAMPLE.lines().map(|line| line.trim_start_matches("# ").to_owned()).collect();
    let line = prop_oneof![proptest::sample::select(lines), "\\PC{0,40}", "[a-z_]{1,8} = ['\"\\[][^\n]{0,20}['\"\\]]"];
    proptest::collection::vec(line, 0..30).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn loading_arbitrary_text_never_panics_and_never_fails_without_a_problem(text in "(?s).{0,200}") {
        if let Err(ConfigError::Invalid { problems, .. }) = load(&text) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn loading_lines_of_a_config_in_any_order_never_panics(text in any_config()) {
        if let Err(ConfigError::Invalid { problems, .. }) = load(&text) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.is_sorted_by_key(|problem| problem.line));
            prop_assert!(problems.iter().all(|problem| problem.line >= 1 && problem.line <= text.lines().count().max(1) + 1));
        }
    }

    #[test]
    fn any_value_of_any_key_never_panics(key in 0..WRONG_VALUES.len(), value in "\\PC{0,30}") {
        let (section, _, key, _) = WRONG_VALUES[key];
        let value = toml::Value::String(value);
        let _ = load(&format!("{section}\n{key} = {value}\n{key} = [{value}]\n"));
    }
}
