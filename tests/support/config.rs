//! The text of a config file.

use toml::{Table, Value};

use super::TestDatabase;

/// A config file to be: complete and fit for tests at first, each key open to change.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    root: Table,
}

impl Config {
    /// Catalog and source in this database, the slot named after it, endpoints on loopback allowed, retries after
    /// fractions of a second, health and metrics on any free port.
    pub(crate) fn new(database: &TestDatabase) -> Self {
        Self::for_url(&database.url()).set("source.slot", database.name())
    }

    /// As [`new`](Self::new), for a server that may not exist; the slot's name is the default one.
    pub(crate) fn for_url(url: &str) -> Self {
        let loopback = Value::Array(vec!["127.0.0.0/8".into()]);
        let source = Value::Array(vec![Table::new().into()]);
        Self { root: Table::from_iter([("source".to_owned(), source)]) }
            .set("catalog.url", url)
            .set("source.name", "main")
            .set("source.url", url)
            .set("delivery.allow_networks", loopback)
            .set("delivery.retry_base", "100ms")
            .set("delivery.retry_cap", "1s")
            .set("delivery.timeout", "5s")
            .set("http.listen", "127.0.0.1:0")
    }

    /// Sets `SECTION.KEY`; `source.KEY` is the first source's.
    pub(crate) fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let (section, key) = path.split_once('.').expect("SECTION.KEY");
        self.section(section).insert(key.to_owned(), value.into());
        self
    }

    /// A further source of this name, in this database; its slot is named after it.
    pub(crate) fn add_source(mut self, name: &str, database: &TestDatabase) -> Self {
        let of = [("name", name.to_owned()), ("url", database.url()), ("slot", database.name().to_owned())];
        let source = Table::from_iter(of.map(|(key, value)| (key.to_owned(), value.into())));
        self.sources().push(source.into());
        self
    }

    /// Sets a key of the source of this name.
    pub(crate) fn set_of(mut self, name: &str, key: &str, value: impl Into<Value>) -> Self {
        let mut sources = self.sources().iter_mut().filter_map(Value::as_table_mut);
        let source = sources.find(|source| source["name"].as_str() == Some(name)).expect("a source of this name");
        source.insert(key.to_owned(), value.into());
        self
    }

    fn sources(&mut self) -> &mut Vec<Value> {
        self.root["source"].as_array_mut().expect("sources")
    }

    /// Takes `SECTION.KEY` out.
    pub(crate) fn unset(mut self, path: &str) -> Self {
        let (section, key) = path.split_once('.').expect("SECTION.KEY");
        self.section(section).remove(key);
        self
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        toml::to_string(&self.root).expect("TOML")
    }

    fn section(&mut self, name: &str) -> &mut Table {
        let section = self.root.entry(name).or_insert_with(|| Value::Table(Table::new()));
        match section {
            Value::Table(table) => table,
            Value::Array(tables) => tables[0].as_table_mut().expect("a table"),
            other => panic!("{name} is {other}"),
        }
    }
}
