//! From what the file says to settings that hold together.

use std::path::{Path, PathBuf};

use super::database::database;
use super::file::{ConfigFile, DeliveryFile, HttpFile, LogFile, SourceFile, UrlFile};
use super::problems::{Problems, Reported};
use super::tree::{Entry, Field, Place, Text};
use super::values::{self, Checked, address, choice, count, duration, matching, networks, organization_keys, size};
use super::{
    CatalogSettings, DeliverySettings, HttpSettings, LogFormat, LogSettings, PostgresUrl, Publish, ReplicaIdentity,
    Settings, SourceSettings, WhenFull, encryption, files, limits,
};
use crate::seal::KeyRing;

/// The schema of this program's own tables.
const OWN_SCHEMA: &str = "notifications";

/// The settings of the file; relative names of files start at `directory`.
pub(super) fn validate(file: ConfigFile, directory: &Path, problems: &mut Problems) -> Result<Settings, Reported> {
    let catalog_url = catalog_url(file.catalog.url, &file.catalog.url_place, directory, problems);
    let keys = encryption::keys(file.catalog.encryption, directory, problems);
    let catalog = catalog(file.catalog.schema, keys, catalog_url.clone(), problems);
    let sources = sources(file.sources, &catalog_url, directory, problems);
    let delivery = delivery(file.delivery, directory, problems);
    let http = http(file.http, problems);
    let log = log(file.log, problems);
    Ok(Settings { catalog: catalog?, sources: sources?, delivery: delivery?, http: http?, log: log? })
}

fn catalog_url(
    file: UrlFile,
    place: &Place,
    directory: &Path,
    problems: &mut Problems,
) -> Result<PostgresUrl, Reported> {
    database(file, directory, problems)?.ok_or_else(|| {
        let message = "missing; expected a URL such as \"postgres://user@host/database\", or url_file, which names a file \
                       that holds one";
        problems.add_missing(place, message)
    })
}

fn catalog(
    schema: Field<Text>,
    keys: Result<KeyRing, Reported>,
    url: Result<PostgresUrl, Reported>,
    problems: &mut Problems,
) -> Result<CatalogSettings, Reported> {
    let expected = "the name of a schema, other than Postgres's own and this program's";
    let schema = matching(schema, limits::SCHEMA, expected, is_foreign_schema, problems);
    Ok(CatalogSettings { url: url?, schema: schema?, keys: keys? })
}

fn is_foreign_schema(name: &str) -> bool {
    values::is_postgres_name(name) && name != OWN_SCHEMA && name != "information_schema" && !name.starts_with("pg_")
}

fn sources(
    files: Vec<SourceFile>,
    catalog_url: &Result<PostgresUrl, Reported>,
    directory: &Path,
    problems: &mut Problems,
) -> Result<Vec<SourceSettings>, Reported> {
    let mut sources: Vec<(SourceSettings, Place)> = Vec::new();
    let mut reported = Ok(());
    for file in files {
        let place = file.place.clone();
        match source(file, catalog_url, directory, problems) {
            Ok(source) => sources.push((source, place)),
            Err(problem) => reported = Err(problem),
        }
    }
    refuse_duplicates(&sources, problems)?;
    reported.map(|()| sources.into_iter().map(|(source, _)| source).collect())
}

/// Names tell sources apart in the catalog, and a slot serves one reader. Of one database two sources would make different
/// notifications under one id, since ids are made of positions in its log.
fn refuse_duplicates(sources: &[(SourceSettings, Place)], problems: &mut Problems) -> Result<(), Reported> {
    let mut outcome = Ok(());
    for (index, (source, place)) in sources.iter().enumerate() {
        for (earlier, at) in sources.iter().take(index) {
            if source.name == earlier.name {
                let message = format!("the name {:?} is already that of the source at line {}", source.name, at.line);
                outcome = Err(problems.add(place, message));
            }
            if !is_same_server(&source.url, &earlier.url) {
                continue;
            }
            if source.slot == earlier.slot {
                let message = format!("the slot {:?} already serves the source at line {}", source.slot, at.line);
                outcome = Err(problems.add(place, message));
            }
            if source.url.database == earlier.url.database {
                let message = format!("its database is already that of the source at line {}", at.line);
                outcome = Err(problems.add(place, message));
            }
        }
    }
    outcome
}

fn is_same_server(left: &PostgresUrl, right: &PostgresUrl) -> bool {
    left.host == right.host && left.port == right.port
}

fn source(
    file: SourceFile,
    catalog_url: &Result<PostgresUrl, Reported>,
    directory: &Path,
    problems: &mut Problems,
) -> Result<SourceSettings, Reported> {
    let name_rule = "1 to 63 letters, digits, \"_\", \"-\" or \".\"";
    let name = matching(file.name, limits::SOURCE_NAME, name_rule, values::is_source_name, problems);
    let url = database(file.url, directory, problems).and_then(|url| url.map_or_else(|| catalog_url.clone(), Ok));
    let slot_rule = "1 to 63 of lower-case letters a-z, digits and \"_\"";
    let slot = matching(file.slot, limits::SLOT, slot_rule, values::is_slot_name, problems);
    let publication_rule = "the name of a publication, of 1 to 63 bytes";
    let publication =
        matching(file.publication, limits::PUBLICATION, publication_rule, values::is_postgres_name, problems);
    let identities = [("key", ReplicaIdentity::Key), ("full", ReplicaIdentity::Full), ("keep", ReplicaIdentity::Keep)];
    let replica_identity = choice(file.replica_identity, limits::REPLICA_IDENTITY, &identities, problems);
    let organizations = organization_keys(file.organizations, problems);
    let choices = [("integrations", Publish::Integrations), ("schema", Publish::Schema)];
    let publish = choice(file.publish, limits::PUBLISH, &choices, problems);
    let primary_url = database(file.primary, directory, problems);
    let failover = file.failover.map(|flag| flag.map_or(limits::FAILOVER, |flag| flag.value));
    Ok(SourceSettings {
        name: name?,
        url: url?,
        slot: slot?,
        publication: publication?,
        organizations: organizations?,
        publish: publish?,
        replica_identity: replica_identity?,
        primary_url: primary_url?,
        failover: failover?,
    })
}

fn delivery(file: DeliveryFile, directory: &Path, problems: &mut Problems) -> Result<DeliverySettings, Reported> {
    let timeout = duration(file.timeout, &limits::TIMEOUT, problems);
    let max_attempts = count(file.max_attempts, &limits::MAX_ATTEMPTS, problems);
    let give_up_after = duration(file.give_up_after, &limits::GIVE_UP_AFTER, problems);
    let concurrency = count(file.concurrency, &limits::CONCURRENCY, problems);
    let max_in_flight = count(file.max_in_flight, &limits::MAX_IN_FLIGHT, problems);
    let in_flight = in_order(("max_in_flight", max_in_flight), ("concurrency", concurrency), problems);
    let memory = size(file.memory, &limits::MEMORY, problems);
    let allow_networks = networks(file.allow_networks, problems);
    let allow_http = file.allow_http.map(|flag| flag.is_some_and(|flag| flag.value));
    let ca_file = ca_file(file.ca_file, directory, problems);
    let retry_base = duration(file.retry_base, &limits::RETRY_BASE, problems);
    let retry_cap = duration(file.retry_cap, &limits::RETRY_CAP, problems);
    let retry = in_order(("retry_cap", retry_cap), ("retry_base", retry_base), problems);
    let grace = duration(file.grace, &limits::GRACE, problems);
    let retention = duration(file.retention, &limits::RETENTION, problems);
    let disable_after = duration(file.disable_after, &limits::DISABLE_AFTER, problems);
    let max_pending = count(file.max_pending, &limits::MAX_PENDING, problems);
    let policies = [("disable", WhenFull::Disable), ("pause", WhenFull::Pause)];
    let when_full = choice(file.when_full, limits::WHEN_FULL, &policies, problems);
    let (max_in_flight, concurrency) = in_flight?;
    let (retry_cap, retry_base) = retry?;
    Ok(DeliverySettings {
        timeout: timeout?.value,
        max_attempts: max_attempts?.value,
        give_up_after: give_up_after?.value,
        concurrency,
        max_in_flight,
        memory: memory?,
        allow_networks: allow_networks?,
        allow_http: allow_http?,
        ca_file: ca_file?,
        retry_base,
        retry_cap,
        grace: grace?.value,
        retention: retention?.value,
        disable_after: disable_after?.value,
        max_pending: Some(max_pending?.value).filter(|most| *most < limits::MAX_PENDING.default),
        when_full: when_full?,
    })
}

/// Both values, the larger first, or the problem that it is the smaller one; blamed is what the file says, not a default.
fn in_order<T: PartialOrd>(
    (larger_key, larger): (&str, Result<Checked<T>, Reported>),
    (smaller_key, smaller): (&str, Result<Checked<T>, Reported>),
    problems: &mut Problems,
) -> Result<(T, T), Reported> {
    let (larger, smaller) = (larger?, smaller?);
    if larger.value >= smaller.value {
        return Ok((larger.value, smaller.value));
    }
    match (&larger.place, &smaller.place) {
        (None, Some(place)) => {
            let message = format!("expected at most {larger_key} ({}), found {}", larger.shown, smaller.shown);
            Err(problems.add(place, message))
        }
        (place, _) => {
            let message = format!("expected at least {smaller_key} ({}), found {}", smaller.shown, larger.shown);
            Err(place.as_ref().map_or(Reported, |place| problems.add(place, message)))
        }
    }
}

fn ca_file(field: Field<Text>, directory: &Path, problems: &mut Problems) -> Result<Option<PathBuf>, Reported> {
    let Some(Entry { value: text, place }) = field? else { return Ok(None) };
    let path = directory.join(text.as_str());
    match files::check_certificates(&path) {
        Ok(()) => Ok(Some(path)),
        Err(error) => Err(problems.add(&place, error)),
    }
}

fn http(file: HttpFile, problems: &mut Problems) -> Result<HttpSettings, Reported> {
    Ok(HttpSettings { listen: address(file.listen, limits::LISTEN, problems)? })
}

fn log(file: LogFile, problems: &mut Problems) -> Result<LogSettings, Reported> {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = choice(file.format, limits::LOG_FORMAT, &formats, problems);
    let expected = "error, warn, info, debug, trace or off, or a filter such as \"info,webhookdb_notifications=debug\"";
    let level = matching(file.level, limits::LOG_LEVEL, expected, values::is_log_filter, problems);
    Ok(LogSettings { format: format?, level: level? })
}
