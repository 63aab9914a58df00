//! Tests of what is said about everything that can be wrong.

use super::{MINIMAL, assert_problems, load};

/// One wrong value of each kind: section, line, key and what the problem says.
pub(super) const WRONG_VALUES: &[(&str, &str, &str, &str)] = &[
    ("[catalog]", "schema = 3", "schema", "expected a string, found an integer"),
    ("[catalog]", "schema = ''", "schema", "expected the name of a schema"),
    ("[catalog]", "schema = 'notifications'", "schema", "expected the name of a schema"),
    ("[catalog]", "schema = 'pg_catalog'", "schema", "expected the name of a schema"),
    ("[catalog]", "schema = 'postgres://u:p@h/d'", "schema", "found what looks like a URL"),
    ("[catalog]", "encryption_key = 'x'", "encryption_key", "expected a key of exactly 32 bytes, found 1 bytes"),
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
    ("[[source]]", "publication = 'postgres://u:p@h/d'", "publication", "found what looks like a URL"),
    ("[[source]]", "organizations = ['']", "organizations", "expected keys of organizations, each once, found \"\""),
    ("[[source]]", "organizations = ['a', 'b', 'a']", "organizations", "each once, found \"a\""),
    ("[[source]]", "organizations = 'acme'", "organizations", "expected an array of strings, found a string"),
    ("[[source]]", "organizations = [1]", "organizations", "expected an array of strings, found an integer"),
    ("[[source]]", "publish = 'all'", "publish", "expected \"integrations\" or \"schema\", found \"all\""),
    ("[[source]]", "replica_identity = 'none'", "replica_identity", "expected \"key\" or \"full\" or \"keep\""),
    ("[[source]]", "primary_url = 'mysql://h/d'", "primary_url", "begins with postgres://"),
    ("[[source]]", "primary_url_file = '/does/not/exist'", "primary_url_file", "expected a file that can be read"),
    ("[[source]]", "failover = 'yes'", "failover", "expected"),
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
fn sources_that_are_not_apart_are_said_all_at_once() {
    let source = |name: &str, more: &str| format!("[[source]]\nname = '{name}'\n{more}\n");
    let text = [MINIMAL.to_owned(), source("a", ""), source("b", ""), source("a", "url = 'postgres://h/d'")].concat();
    assert_problems(
        &text,
        &[
            (6, "[[source]]", "the slot \"webhookdb_notifications\" already serves the source at line 3"),
            (6, "[[source]]", "its database is already that of the source at line 3"),
            (9, "[[source]]", "the name \"a\" is already that of the source at line 3"),
        ],
    );
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
    "",
]
publish = "all"

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
            (10, "[[source]] organizations", "each once"),
            (12, "[[source]] publish", "found \"all\""),
            (15, "[delivery] timeout", "found \"10 parsecs\""),
            (16, "[delivery] max_attempts", "found 0"),
            (17, "[delivery] memory", "found \"64 elephants\""),
            (20, "[delivery] allow_networks", "found \"nonsense\""),
            (21, "[delivery] allow_networks", "found an integer"),
            (24, "[delivery] retry_cap", "expected at least retry_base (\"2h\"), found \"1h\""),
            (27, "[http] listen", "found an integer"),
            (29, "[metrics]", "unknown section"),
            (33, "[log] level", "LEVEL is not set"),
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
