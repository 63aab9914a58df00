//! `setup --sql`: the script for a DBA, with this config's names filled in.

use crate::config::{ReplicaIdentity, SourceSettings};

/// The script as it stands in the repository, which psql runs.
const SCRIPT: &str = include_str!("../../sql/setup-replication.sql");

/// The scripts for these sources, each with its tables (`schema.name`, quoted as SQL wants it). Where there are several, psql
/// connects to the database of each in turn.
#[must_use]
pub fn fill_in(sources: &[(&SourceSettings, Vec<String>)]) -> String {
    let several = sources.len() > 1;
    let scripts = sources.iter().map(|(source, tables)| {
        let connect = if several { connect(source) } else { String::new() };
        format!("{connect}{}", fill_in_one(source, tables))
    });
    scripts.collect::<Vec<_>>().join("\n")
}

/// As the role that psql runs as already: a DBA's.
fn connect(source: &SourceSettings) -> String {
    let [database, host, port] =
        [&source.url().database, &source.url().host, &source.url().port.to_string()].map(|part| psql_literal(part));
    format!("-- Source {}\n\\connect {database} - {host} {port}\n", source.name())
}

fn fill_in_one(source: &SourceSettings, tables: &[String]) -> String {
    let identity = match source.replica_identity() {
        ReplicaIdentity::Key => "key",
        ReplicaIdentity::Full => "full",
        ReplicaIdentity::Keep => "keep",
    };
    let variables = [
        ("role", source.url().user.clone()),
        ("publication", source.publication().to_owned()),
        ("slot", source.slot().to_owned()),
        ("replica_identity", identity.to_owned()),
        ("tables", array_literal(tables)),
    ];
    let set = variables.iter().map(|(name, value)| format!("\\set {name} {}\n", psql_literal(value)));
    format!("{}\n{SCRIPT}", set.collect::<String>())
}

/// `{"a","b"}`, the text form of an array.
fn array_literal(items: &[String]) -> String {
    let quoted = items.iter().map(|item| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\"")));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

/// A value as psql's `\set` reads it: quotes are doubled, and a backslash begins an escape.
fn psql_literal(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_psql() {
        assert_eq!(psql_literal("it's a \\"), r"'it''s a \\'");
        assert_eq!(array_literal(&[]), "{}");
        assert_eq!(array_literal(&[r#"public."B""#.to_owned()]), r#"{"public.\"B\""}"#);
    }
}
