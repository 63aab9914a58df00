//! `setup --sql`: the script for a DBA, with this config's names filled in.

use super::admin;
use crate::config::{Settings, SourceSettings};

/// The script as it stands in the repository, which psql runs.
const SCRIPT: &str = include_str!("../../sql/setup-replication.sql");
/// What it includes, by the line that includes it.
const PARTS: [(&str, &str); 2] =
    [("\\ir admin/role.sql\n", admin::ROLE), ("\\ir admin/publisher.sql\n", admin::PUBLISHER)];

/// The scripts for these sources, each with the schema and the name of each of its tables. Where there are several, psql connects
/// to the database of each in turn.
#[must_use]
pub fn fill_in(settings: &Settings, sources: &[(&SourceSettings, Vec<(String, String)>)]) -> String {
    let several = sources.len() > 1;
    let scripts = sources.iter().map(|(source, tables)| {
        let connect = if several { connect(source) } else { String::new() };
        format!("{connect}{}", fill_in_one(settings, source, tables))
    });
    scripts.collect::<Vec<_>>().join("\n")
}

/// As the role that psql runs as already: a DBA's.
fn connect(source: &SourceSettings) -> String {
    let [database, host, port] =
        [&source.url().database, &source.url().host, &source.url().port.to_string()].map(|part| psql_literal(part));
    format!("-- Source {}\n\\connect {database} - {host} {port}\n", source.name())
}

fn fill_in_one(settings: &Settings, source: &SourceSettings, tables: &[(String, String)]) -> String {
    let script = PARTS.iter().fold(SCRIPT.to_owned(), |script, (line, part)| script.replace(line, part));
    let catalog_schema = if admin::holds_catalog(settings, source) { settings.catalog().schema() } else { "" };
    let variables = [
        ("role", source.url().user.clone()),
        ("publication", source.publication().to_owned()),
        ("slot", source.slot().to_owned()),
        ("replica_identity", source.replica_identity().as_str().to_owned()),
        ("catalog_schema", catalog_schema.to_owned()),
        ("schemas", array_literal(&admin::schemas(tables))),
        ("tables", array_literal(&admin::quoted(tables))),
    ];
    let set = variables.iter().map(|(name, value)| format!("\\set {name} {}\n", psql_literal(value)));
    format!("{}\n{script}", set.collect::<String>())
}

/// `{"a","b"}`, the text form of an array.
pub(super) fn array_literal(items: &[String]) -> String {
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
