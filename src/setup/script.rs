//! `setup --sql`: the script for a DBA, with this config's names filled in.

use crate::config::{ReplicaIdentity, Settings};

/// The script as it stands in the repository, which psql runs.
const SCRIPT: &str = include_str!("../../sql/setup-replication.sql");

/// The script with the names of the config's first source, and these tables (`schema.name`, quoted as SQL wants it).
#[must_use]
pub fn fill_in(settings: &Settings, tables: &[String]) -> String {
    let Some(source) = settings.sources().first() else { return SCRIPT.to_owned() };
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
