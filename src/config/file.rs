//! What the config file says, key by key, before anyone asks whether it makes sense.

use toml::de::{DeTable, DeValue};

use super::encryption::EncryptionFile;
use super::suggest::suggest;
use super::tree::{Field, Place, Reader, Section, Text, TextList, show_key};

const CATALOG: &str = "[catalog]";
const SOURCE: &str = "[[source]]";
const DELIVERY: &str = "[delivery]";
const HTTP: &str = "[http]";
const LOG: &str = "[log]";

/// The sections by their bare names, which are keys of the tree's root.
const SECTIONS: [(&str, &str); 5] =
    [("catalog", CATALOG), ("source", SOURCE), ("delivery", DELIVERY), ("http", HTTP), ("log", LOG)];

/// Everything that the file says.
pub(super) struct ConfigFile {
    pub(super) catalog: CatalogFile,
    /// One that says nothing, where there is none in the file.
    pub(super) sources: Vec<SourceFile>,
    pub(super) delivery: DeliveryFile,
    pub(super) http: HttpFile,
    pub(super) log: LogFile,
}

/// Where a database is: in the file, or in a file that it names.
pub(super) struct UrlFile {
    pub(super) url: Field<Text>,
    pub(super) url_file: Field<Text>,
}

/// `[catalog]`.
pub(super) struct CatalogFile {
    pub(super) url: UrlFile,
    /// Where the URL would have to be.
    pub(super) url_place: Place,
    pub(super) schema: Field<Text>,
    pub(super) encryption: EncryptionFile,
}

/// One `[[source]]`.
pub(super) struct SourceFile {
    pub(super) place: Place,
    pub(super) name: Field<Text>,
    pub(super) url: UrlFile,
    pub(super) slot: Field<Text>,
    pub(super) publication: Field<Text>,
    pub(super) organizations: TextList,
    pub(super) publish: Field<Text>,
    pub(super) replica_identity: Field<Text>,
    pub(super) primary: UrlFile,
    pub(super) failover: Field<bool>,
}

/// `[delivery]`.
pub(super) struct DeliveryFile {
    pub(super) timeout: Field<Text>,
    pub(super) max_attempts: Field<i64>,
    pub(super) give_up_after: Field<Text>,
    pub(super) concurrency: Field<i64>,
    pub(super) max_in_flight: Field<i64>,
    pub(super) memory: Field<Text>,
    pub(super) allow_networks: TextList,
    pub(super) allow_http: Field<bool>,
    pub(super) ca_file: Field<Text>,
    pub(super) retry_base: Field<Text>,
    pub(super) retry_cap: Field<Text>,
    pub(super) grace: Field<Text>,
    pub(super) retention: Field<Text>,
    pub(super) disable_after: Field<Text>,
    pub(super) max_pending: Field<i64>,
    pub(super) when_full: Field<Text>,
}

/// `[http]`.
pub(super) struct HttpFile {
    pub(super) listen: Field<Text>,
}

/// `[log]`.
pub(super) struct LogFile {
    pub(super) format: Field<Text>,
    pub(super) level: Field<Text>,
}

impl ConfigFile {
    /// Reads the tree; whatever is unknown or of a wrong type goes to the reader's problems.
    pub(super) fn read(root: &DeTable<'_>, reader: &mut Reader<'_>) -> Self {
        let file = Self {
            catalog: read_section(root, "catalog", CATALOG, reader, read_catalog),
            sources: read_sources(root, reader),
            delivery: read_section(root, "delivery", DELIVERY, reader, read_delivery),
            http: read_section(root, "http", HTTP, reader, read_http),
            log: read_section(root, "log", LOG, reader, read_log),
        };
        refuse_unknown_sections(root, reader);
        file
    }
}

fn read_section<T>(
    root: &DeTable<'_>,
    key: &str,
    name: &'static str,
    reader: &mut Reader<'_>,
    read: fn(&mut Section<'_>, &mut Reader<'_>) -> T,
) -> T {
    let Some((key, value)) = root.get_key_value(key) else {
        return read_and_finish(Section::new(name, None, 1), reader, read);
    };
    let line = reader.line(key.span().start);
    let table = value.get_ref().as_table();
    if table.is_none() {
        reader.problems.add(&Place { line, key: name.to_owned() }, format!("expected a section, headed {name}"));
    }
    read_and_finish(Section::new(name, table, line), reader, read)
}

fn read_and_finish<'t, T>(
    mut section: Section<'t>,
    reader: &mut Reader<'_>,
    read: fn(&mut Section<'_>, &mut Reader<'_>) -> T,
) -> T {
    let value = read(&mut section, reader);
    section.finish(reader);
    value
}

/// Every `[[source]]`; none in the file is one that says nothing.
fn read_sources(root: &DeTable<'_>, reader: &mut Reader<'_>) -> Vec<SourceFile> {
    let mut sources = Vec::new();
    if let Some((key, value)) = root.get_key_value("source") {
        let DeValue::Array(elements) = value.get_ref() else {
            let place = Place { line: reader.line(key.span().start), key: SOURCE.to_owned() };
            reader.problems.add(&place, format!("expected a section for each source, headed {SOURCE}"));
            return sources;
        };
        for element in elements.iter() {
            let line = reader.line(element.span().start);
            match element.get_ref().as_table() {
                Some(table) => {
                    sources.push(read_and_finish(Section::new(SOURCE, Some(table), line), reader, read_source));
                }
                None => {
                    let place = Place { line, key: SOURCE.to_owned() };
                    reader.problems.add(&place, format!("expected a section for each source, headed {SOURCE}"));
                }
            }
        }
    }
    if sources.is_empty() {
        sources.push(read_and_finish(Section::new(SOURCE, None, 1), reader, read_source));
    }
    sources
}

fn read_catalog(section: &mut Section<'_>, reader: &mut Reader<'_>) -> CatalogFile {
    CatalogFile {
        url_place: section.place("url"),
        url: read_url(section, reader),
        schema: section.text("schema", reader),
        encryption: EncryptionFile {
            key: section.text("encryption_key", reader),
            key_file: section.text("encryption_key_file", reader),
            key_id: section.integer("encryption_key_id", reader),
            old_keys: section.texts("old_encryption_keys", reader),
            old_keys_file: section.text("old_encryption_keys_file", reader),
        },
    }
}

fn read_url(section: &mut Section<'_>, reader: &mut Reader<'_>) -> UrlFile {
    UrlFile { url: section.text("url", reader), url_file: section.text("url_file", reader) }
}

fn read_source(section: &mut Section<'_>, reader: &mut Reader<'_>) -> SourceFile {
    SourceFile {
        place: section.place(""),
        name: section.text("name", reader),
        url: read_url(section, reader),
        slot: section.text("slot", reader),
        publication: section.text("publication", reader),
        organizations: section.texts("organizations", reader),
        publish: section.text("publish", reader),
        replica_identity: section.text("replica_identity", reader),
        primary: UrlFile {
            url: section.text("primary_url", reader),
            url_file: section.text("primary_url_file", reader),
        },
        failover: section.boolean("failover", reader),
    }
}

fn read_delivery(section: &mut Section<'_>, reader: &mut Reader<'_>) -> DeliveryFile {
    DeliveryFile {
        timeout: section.text("timeout", reader),
        max_attempts: section.integer("max_attempts", reader),
        give_up_after: section.text("give_up_after", reader),
        concurrency: section.integer("concurrency", reader),
        max_in_flight: section.integer("max_in_flight", reader),
        memory: section.text("memory", reader),
        allow_networks: section.texts("allow_networks", reader),
        allow_http: section.boolean("allow_http", reader),
        ca_file: section.text("ca_file", reader),
        retry_base: section.text("retry_base", reader),
        retry_cap: section.text("retry_cap", reader),
        grace: section.text("grace", reader),
        retention: section.text("retention", reader),
        disable_after: section.text("disable_after", reader),
        max_pending: section.integer("max_pending", reader),
        when_full: section.text("when_full", reader),
    }
}

fn read_http(section: &mut Section<'_>, reader: &mut Reader<'_>) -> HttpFile {
    HttpFile { listen: section.text("listen", reader) }
}

fn read_log(section: &mut Section<'_>, reader: &mut Reader<'_>) -> LogFile {
    LogFile { format: section.text("format", reader), level: section.text("level", reader) }
}

/// Reports what stands at the root and is no section of ours; a key that only lost its section is told where it belongs.
fn refuse_unknown_sections(root: &DeTable<'_>, reader: &mut Reader<'_>) {
    for (name, value) in root {
        let text = name.get_ref().as_ref();
        if SECTIONS.iter().any(|(bare, _)| *bare == text) {
            continue;
        }
        let line = reader.line(name.span().start);
        let (key, message) = match value.get_ref() {
            DeValue::Table(_) => (format!("[{}]", show_key(text)), unknown_section(text)),
            _ => (show_key(text), homeless_key(text, reader)),
        };
        reader.problems.add(&Place { line, key }, message);
    }
}

fn unknown_section(name: &str) -> String {
    let nearest = suggest(name, SECTIONS.iter().map(|(bare, _)| *bare));
    match SECTIONS.iter().find(|(bare, _)| Some(*bare) == nearest) {
        Some((_, shown)) => format!("unknown section; did you mean {shown}?"),
        None => format!("unknown section; expected one of {}", SECTIONS.map(|(_, shown)| shown).join(", ")),
    }
}

fn homeless_key(name: &str, reader: &Reader<'_>) -> String {
    match reader.known.iter().find(|known| known.key == name) {
        Some(known) => format!("this key stands outside of its section: it belongs under {}", known.section),
        None => format!("unknown key; expected one of the sections {}", SECTIONS.map(|(_, shown)| shown).join(", ")),
    }
}
