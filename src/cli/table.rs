//! Lists in the four formats that scripts and people ask for.

use clap::ValueEnum;
use serde_json::Value;
use tabled::builder::Builder;
use tabled::settings::object::{Columns, Object as _, Rows};
use tabled::settings::{Alignment, Padding, Style};

use super::output::{answer, answer_text};

/// The form of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Table,
    /// An array of objects; of one thing: an object
    Json,
    /// With a header
    Csv,
    /// Pretty-printed JSON with every field that exists
    Raw,
}

/// One item of a list.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// As the table's and csv's columns.
    pub(super) cells: Vec<String>,
    /// As scripts read it.
    pub(super) json: Value,
    /// Fields that only `raw` shows.
    pub(super) more: Value,
}

/// Prints a list. An empty table is one helpful sentence.
pub(super) fn print(format: Format, header: &[&str], items: &[Item], when_empty: &str) -> anyhow::Result<()> {
    match format {
        Format::Table if items.is_empty() => answer(when_empty),
        Format::Table => answer_text(&render(header, items.iter().map(|item| item.cells.clone()))),
        Format::Json => {
            let array: Vec<&Value> = items.iter().map(|item| &item.json).collect();
            answer(&serde_json::to_string(&array)?)
        }
        Format::Csv => answer_text(&csv(header, items)?),
        Format::Raw => {
            let array: Vec<Value> = items.iter().map(raw).collect();
            answer(&serde_json::to_string_pretty(&array)?)
        }
    }
}

/// One object, field by field.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// As the table's lines and csv's columns.
    pub(super) fields: Vec<(&'static str, String)>,
    /// As scripts read it.
    pub(super) json: Value,
    /// Fields that only `raw` shows.
    pub(super) more: Value,
}

/// Prints one object: a line for each field, one JSON object, or a header and one line of csv.
pub(super) fn print_object(format: Format, object: Object) -> anyhow::Result<()> {
    let Object { fields, json, more } = object;
    let (names, cells): (Vec<&str>, Vec<String>) = fields.iter().map(|(name, value)| (*name, value.clone())).unzip();
    let item = Item { cells, json, more };
    match format {
        Format::Table => answer_text(&lines(&fields)),
        Format::Json => answer(&serde_json::to_string(&item.json)?),
        Format::Csv => answer_text(&csv(&names, &[item])?),
        Format::Raw => answer(&serde_json::to_string_pretty(&raw(&item))?),
    }
}

fn lines(fields: &[(&'static str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    fields.iter().map(|(name, value)| format!("  {name:<width$}   {value}\n")).collect()
}

fn raw(item: &Item) -> Value {
    let mut all = item.json.clone();
    if let (Some(all), Some(more)) = (all.as_object_mut(), item.more.as_object()) {
        all.extend(more.clone());
    }
    all
}

/// Columns two and three spaces apart, headers centred above them, and no space at the ends of the lines.
pub(super) fn render(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut builder = Builder::default();
    builder.push_record(header.iter().copied());
    rows.for_each(|row| builder.push_record(row));
    let mut table = builder.build();
    table
        .with(Style::empty())
        .modify(Rows::first(), Alignment::center())
        .modify(Columns::new(..).not(Columns::first()), Padding::new(3, 0, 0, 0))
        .modify(Columns::first(), Padding::new(2, 0, 0, 0));
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn csv(header: &[&str], items: &[Item]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header)?;
    for item in items {
        writer.write_record(&item.cells)?;
    }
    Ok(String::from_utf8(writer.into_inner().map_err(|error| error.into_error())?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn headers_stand_centred_above_their_columns() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let rows = [row(["54ca14e3c55e", "https://example.com"]), row(["27a6a8921777", "https://x.de"])];
        assert_eq!(
            render(&["ID", "URL"], rows.into_iter()),
            "       ID                URL\n  54ca14e3c55e   https://example.com\n  27a6a8921777   https://x.de\n"
        );
    }

    #[test]
    fn csv_has_a_header_even_when_there_is_nothing_and_quotes_what_must_be() {
        assert_eq!(csv(&["ID", "URL"], &[]).unwrap(), "ID,URL\n");
        let item = Item { cells: vec!["a,b".to_owned(), "c".to_owned()], json: json!({}), more: json!({}) };
        assert_eq!(csv(&["ID", "URL"], &[item]).unwrap(), "ID,URL\n\"a,b\",c\n");
    }

    #[test]
    fn the_fields_of_one_object_stand_under_each_other() {
        let fields = [("ID", "54ca14e3c55e".to_owned()), ("STATUS", "active".to_owned())];
        assert_eq!(lines(&fields), "  ID       54ca14e3c55e\n  STATUS   active\n");
    }

    #[test]
    fn raw_has_every_field() {
        let item = Item { cells: vec![], json: json!({"id": 1}), more: json!({"nonce": "n"}) };
        assert_eq!(raw(&item), json!({"id": 1, "nonce": "n"}));
    }
}
