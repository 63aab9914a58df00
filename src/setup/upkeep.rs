//! The publication kept current: the tables of new integrations in, those of removed ones out, renames noted.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::SetupError;
use super::identity::Hazard;
use super::publish::{Candidate, Publisher};
use crate::catalog::{Integration, Relation, RelationState, Snapshot, relations};
use crate::config::SourceSettings;
use crate::source::publication::{self, Look, Seen, TableChanges, Wanted};
use crate::source::table;

/// How often a wait for open transactions looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Something that the upkeep did, found, or could not do.
#[derive(Debug)]
pub enum UpkeepNote {
    /// The table is in the publication now.
    Published {
        /// The integration's opaque id.
        integration: String,
        /// `schema.name`.
        table: String,
    },
    /// Every transaction that was open when the table was published has ended.
    Complete {
        /// `schema.name`.
        table: String,
    },
    /// The integration, or its table, is gone.
    Removed {
        /// `schema.name` when last seen.
        table: String,
    },
    /// The table has another name now.
    Renamed {
        /// `schema.name` when last seen.
        from: String,
        /// `schema.name` now.
        to: String,
    },
    /// The table does not exist yet.
    Missing {
        /// The integration's opaque id.
        integration: String,
        /// `schema.name`.
        table: String,
    },
    /// Somebody had taken the table out of the publication: what changed in between is lost.
    PutBack {
        /// `schema.name`.
        table: String,
    },
    /// The table could not be published.
    Failed {
        /// The integration's opaque id.
        integration: String,
        /// Why.
        error: SetupError,
    },
    /// Something that works, but not as well as it could.
    Hazard(Hazard),
}

impl fmt::Display for UpkeepNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published { integration, table } => write!(f, "table {table} of {integration} is published"),
            Self::Complete { table } => write!(f, "table {table} is complete from here on"),
            Self::Removed { table } => write!(f, "table {table} is no longer published"),
            Self::Renamed { from, to } => write!(f, "table {from} is now {to}"),
            Self::Missing { integration, table } => write!(f, "table {table} of {integration} does not exist yet"),
            Self::PutBack { table } => {
                write!(f, "table {table} had been taken out of the publication; its changes in between are lost")
            }
            Self::Failed { integration, .. } => write!(f, "the table of {integration} can't be published"),
            Self::Hazard(hazard) => f.write_str(&hazard.what),
        }
    }
}

/// Brings the publication of one source up to the catalog: one query where there is nothing to do.
///
/// What concerns one table is a note, so that the others go on; an error concerns the whole source.
///
/// # Errors
/// Where a database fails, or the publication is gone or not the one that was set up.
pub async fn publish_missing(
    catalog: &Client,
    source: &Client,
    settings: &SourceSettings,
    snapshot: &Snapshot,
) -> Result<Vec<UpkeepNote>, SetupError> {
    let upkeep = Upkeep { publisher: Publisher { catalog, source, settings }, snapshot };
    let subjects = upkeep.subjects();
    if subjects.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: Vec<Wanted> = subjects.iter().map(Subject::wanted).collect();
    let look = publication::look_up(source, settings.publication(), &wanted).await?;
    upkeep.check_publication(&look)?;
    let mut notes = Vec::new();
    for (subject, seen) in subjects.iter().zip(&look.seen) {
        upkeep.tend(subject, seen, look.oldest_xid, &mut notes).await?;
    }
    if notes.iter().any(|note| matches!(note, UpkeepNote::Published { .. })) {
        notes.extend(complete_those_that_are(catalog, source, settings).await?);
    }
    Ok(notes)
}

/// Waits until every table that was published is complete, at most for `bound`; returns those that are not.
///
/// # Errors
/// Where a database fails.
pub async fn wait_until_complete(
    catalog: &Client,
    source: &Client,
    settings: &SourceSettings,
    bound: Duration,
) -> Result<Vec<String>, SetupError> {
    let deadline = Instant::now() + bound;
    loop {
        complete_those_that_are(catalog, source, settings).await?;
        let open = relations::publishing(catalog, settings.name()).await?;
        if open.is_empty() || Instant::now() >= deadline {
            return Ok(open.into_iter().map(|publishing| publishing.table).collect());
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn complete_those_that_are(
    catalog: &Client,
    source: &Client,
    settings: &SourceSettings,
) -> Result<Vec<UpkeepNote>, SetupError> {
    let publishing = relations::publishing(catalog, settings.name()).await?;
    if publishing.is_empty() {
        return Ok(Vec::new());
    }
    let oldest_xid = publication::oldest_xid(source).await?;
    let mut notes = Vec::new();
    for relation in publishing.into_iter().filter(|relation| relation.xid <= oldest_xid) {
        relations::complete(catalog, settings.name(), relation.oid).await?;
        notes.push(UpkeepNote::Complete { table: relation.table });
    }
    Ok(notes)
}

/// Takes the table of a removed integration out of the publication, if it is in it.
///
/// # Errors
/// Where the database fails or refuses.
pub async fn take_out(source: &Client, settings: &SourceSettings, oid: u32) -> Result<(), SetupError> {
    let state = publication::publication_state(source, settings.publication()).await?;
    let Some(table) = state.and_then(|state| state.tables.into_iter().find(|table| table.oid == oid)) else {
        return Ok(());
    };
    let mut changes = TableChanges::default();
    changes.take_out_of(settings.publication(), &table.schema, &table.name);
    Ok(changes.run(source).await?)
}

/// An integration of the source, or a published table that has lost its integration.
enum Subject<'a> {
    Integration(&'a Integration, Option<&'a Relation>),
    Orphan(&'a Relation),
}

impl Subject<'_> {
    fn wanted(&self) -> Wanted {
        match self {
            Self::Integration(integration, relation) => Wanted {
                known: relation.map(|relation| relation.oid),
                schema: integration.schema.clone(),
                name: integration.table_name.clone(),
            },
            Self::Orphan(relation) => Wanted {
                known: Some(relation.oid),
                schema: relation.schema_name.clone(),
                name: relation.table_name.clone(),
            },
        }
    }
}

struct Upkeep<'a> {
    publisher: Publisher<'a>,
    snapshot: &'a Snapshot,
}

impl<'a> Upkeep<'a> {
    fn subjects(&self) -> Vec<Subject<'a>> {
        let name = self.publisher.settings.name();
        let live =
            self.snapshot.relations.iter().filter(|relation| relation.source == name && relation.state.is_live());
        let mut by_integration: HashMap<&str, &Relation> =
            live.filter_map(|relation| Some((relation.integration.as_deref()?, relation))).collect();
        let ours = self.snapshot.integrations.iter().filter(|integration| integration.source.as_deref() == Some(name));
        let mut subjects: Vec<Subject<'a>> = ours
            .map(|integration| Subject::Integration(integration, by_integration.remove(integration.opaque_id.as_str())))
            .collect();
        subjects.extend(by_integration.into_values().map(Subject::Orphan));
        subjects
    }

    fn check_publication(&self, look: &Look) -> Result<(), SetupError> {
        let (name, publication) = (self.publisher.settings.name(), self.publisher.settings.publication());
        let recorded = self.snapshot.source(name).map(|source| source.publication_oid);
        match (look.publication_oid, recorded) {
            (None, _) => {
                Err(SetupError::PublicationMissing { name: name.to_owned(), publication: publication.to_owned() })
            }
            (Some(found), Some(recorded)) if found != recorded => Err(SetupError::Discord {
                name: name.to_owned(),
                discord: super::Discord::PublicationReplaced(publication.to_owned()),
            }),
            _ => Ok(()),
        }
    }

    async fn tend(
        &self,
        subject: &Subject<'_>,
        seen: &Seen,
        oldest_xid: i64,
        notes: &mut Vec<UpkeepNote>,
    ) -> Result<(), SetupError> {
        match (subject, &seen.known) {
            (Subject::Orphan(relation), known) => self.bury_orphan(relation, known.as_ref(), seen, notes).await,
            (Subject::Integration(integration, None), _) => self.enter(integration, None, seen.named, notes).await,
            (Subject::Integration(integration, Some(relation)), None) => {
                relations::bury(self.publisher.catalog, &relation.source, relation.oid).await?;
                notes.push(UpkeepNote::Removed { table: display_name(relation) });
                self.enter(integration, None, seen.named, notes).await
            }
            (Subject::Integration(integration, Some(relation)), Some(now)) => {
                self.note_rename(relation, now, notes).await?;
                self.carry_on(integration, relation, seen, oldest_xid, notes).await
            }
        }
    }

    /// The log may still hold changes of the table: the record stays as a tombstone, and comes before anything else.
    async fn bury_orphan(
        &self,
        relation: &Relation,
        now: Option<&(String, String)>,
        seen: &Seen,
        notes: &mut Vec<UpkeepNote>,
    ) -> Result<(), SetupError> {
        relations::bury(self.publisher.catalog, &relation.source, relation.oid).await?;
        notes.push(UpkeepNote::Removed { table: display_name(relation) });
        let (Some((schema, name)), true) = (now, seen.known_published) else { return Ok(()) };
        let mut changes = TableChanges::default();
        changes.take_out_of(self.publisher.settings.publication(), schema, name);
        if changes.run(self.publisher.source).await.is_err() {
            // Its changes are passed over whether or not it stays in the publication.
            notes.push(UpkeepNote::Hazard(Hazard {
                what: format!("table {schema}.{name} could not be taken out of the publication"),
                remedy: format!("let its owner run: {}", changes.statements().join("; ")),
            }));
        }
        Ok(())
    }

    /// A table that is not published for this integration yet, or whose publication was cut short.
    async fn enter(
        &self,
        integration: &Integration,
        relation: Option<&Relation>,
        oid: Option<u32>,
        notes: &mut Vec<UpkeepNote>,
    ) -> Result<(), SetupError> {
        let table = format!("{}.{}", integration.schema, integration.table_name);
        let Some(oid) = oid else {
            notes.push(UpkeepNote::Missing { integration: integration.opaque_id.clone(), table });
            return Ok(());
        };
        let before = relation.or_else(|| self.recorded(oid));
        let published = match taken(integration, before, &table) {
            Some(error) => Err(error),
            None => self.publisher.publish(&Candidate { integration, oid, before }).await,
        };
        match published {
            Ok(hazards) => {
                notes.push(UpkeepNote::Published { integration: integration.opaque_id.clone(), table });
                notes.extend(hazards.into_iter().map(UpkeepNote::Hazard));
            }
            Err(error) if concerns_source(&error) => return Err(error),
            Err(error) => notes.push(UpkeepNote::Failed { integration: integration.opaque_id.clone(), error }),
        }
        Ok(())
    }

    async fn carry_on(
        &self,
        integration: &Integration,
        relation: &Relation,
        seen: &Seen,
        oldest_xid: i64,
        notes: &mut Vec<UpkeepNote>,
    ) -> Result<(), SetupError> {
        match (relation.state, relation.publishing_xid) {
            (RelationState::Publishing, Some(xid)) if seen.known_published => {
                if xid <= oldest_xid {
                    relations::complete(self.publisher.catalog, &relation.source, relation.oid).await?;
                    notes.push(UpkeepNote::Complete { table: display_name(relation) });
                }
                Ok(())
            }
            (RelationState::Publishing, _) => self.enter(integration, Some(relation), Some(relation.oid), notes).await,
            _ if seen.known_published => Ok(()),
            _ => {
                notes.push(UpkeepNote::PutBack { table: display_name(relation) });
                self.enter(integration, Some(relation), Some(relation.oid), notes).await
            }
        }
    }

    async fn note_rename(
        &self,
        relation: &Relation,
        now: &(String, String),
        notes: &mut Vec<UpkeepNote>,
    ) -> Result<(), SetupError> {
        if (&relation.schema_name, &relation.table_name) == (&now.0, &now.1) {
            return Ok(());
        }
        let Some(keys) = table::relation_keys(self.publisher.source, relation.oid).await? else { return Ok(()) };
        let mut renamed = relation.clone();
        (renamed.schema_name, renamed.table_name) = (keys.schema, keys.name);
        (renamed.primary_key, renamed.remote_key) = (keys.primary_key, keys.remote_key);
        relations::seen_as(self.publisher.catalog, &renamed).await?;
        notes.push(UpkeepNote::Renamed { from: display_name(relation), to: display_name(&renamed) });
        Ok(())
    }

    /// What is recorded of this OID, from an earlier life or by `setup`.
    fn recorded(&self, oid: u32) -> Option<&'a Relation> {
        let name = self.publisher.settings.name();
        self.snapshot.relations.iter().find(|relation| relation.source == name && relation.oid == oid)
    }
}

/// One table, one integration.
fn taken(integration: &Integration, recorded: Option<&Relation>, table: &str) -> Option<SetupError> {
    let owner = recorded.filter(|relation| relation.state.is_live())?.integration.clone()?;
    (owner != integration.opaque_id).then(|| SetupError::TableTaken {
        integration: integration.opaque_id.clone(),
        table: table.to_owned(),
        owner,
    })
}

fn concerns_source(error: &SetupError) -> bool {
    matches!(error, SetupError::Catalog(_)) || !error.is_refusal()
}

fn display_name(relation: &Relation) -> String {
    format!("{}.{}", relation.schema_name, relation.table_name)
}
