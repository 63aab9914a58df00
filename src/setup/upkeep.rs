//! The publication kept current: the tables of new integrations in, those of removed ones out, renames noted.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::SetupError;
use super::identity::Hazard;
pub use super::note::UpkeepNote;
use super::publish::{Candidate, Publisher};
use crate::catalog::{Integration, Relation, RelationState, Snapshot, relations};
use crate::config::SourceSettings;
use crate::source::publication::{self, Look, Seen, Wanted};
use crate::source::table;

/// How often a wait for open transactions looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

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
    let policy = settings.replica_identity();
    let look = publication::look_up(source, settings.publication(), policy, &wanted).await?;
    upkeep.check_publication(&look)?;
    let mut notes = Vec::new();
    for (subject, seen) in subjects.iter().zip(&look.seen) {
        upkeep.tend(subject, seen, &mut notes).await?;
    }
    let published = |note: &UpkeepNote| matches!(note, UpkeepNote::Published { .. });
    if upkeep.some_were_publishing() || notes.iter().any(published) {
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
/// Where a database fails or refuses.
pub async fn take_out(
    catalog: &Client,
    source: &Client,
    settings: &SourceSettings,
    oid: u32,
) -> Result<(), SetupError> {
    Publisher { catalog, source, settings }.take_out(oid).await
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

    fn some_were_publishing(&self) -> bool {
        let name = self.publisher.settings.name();
        let is_publishing = |relation: &Relation| relation.state == RelationState::Publishing;
        self.snapshot.relations.iter().any(|relation| relation.source == name && is_publishing(relation))
    }

    async fn tend(&self, subject: &Subject<'_>, seen: &Seen, notes: &mut Vec<UpkeepNote>) -> Result<(), SetupError> {
        match (subject, &seen.known) {
            (Subject::Orphan(relation), known) => self.bury_orphan(relation, known.is_some(), notes).await,
            (Subject::Integration(integration, None), _) => self.enter(integration, None, seen.named, notes).await,
            (Subject::Integration(integration, Some(relation)), None) => {
                self.replace(integration, relation, seen.named, notes).await
            }
            (Subject::Integration(integration, Some(relation)), Some(_)) if seen.known_is_partition_of_named => {
                self.publish_the_whole(integration, relation, seen, notes).await
            }
            (Subject::Integration(integration, Some(relation)), Some(now)) => {
                self.note_rename(relation, now, notes).await?;
                note_double(integration, relation, seen, now, notes);
                self.carry_on(integration, relation, seen, notes).await
            }
        }
    }

    /// The log may still hold changes of the table: the record stays as a tombstone, and comes before anything else.
    async fn bury_orphan(
        &self,
        relation: &Relation,
        exists: bool,
        notes: &mut Vec<UpkeepNote>,
    ) -> Result<(), SetupError> {
        relations::bury(self.publisher.catalog, &relation.source, relation.oid).await?;
        notes.push(UpkeepNote::Removed { table: display_name(relation) });
        if exists {
            // Its changes are passed over whether or not it stays in the publication.
            self.try_to_take_out(relation, notes).await;
        }
        Ok(())
    }

    async fn try_to_take_out(&self, relation: &Relation, notes: &mut Vec<UpkeepNote>) {
        if let Err(error) = self.publisher.take_out(relation.oid).await {
            notes.push(UpkeepNote::Hazard(Hazard {
                what: format!("table {} could not be taken out of the publication: {error}", display_name(relation)),
                remedy: error.hint().unwrap_or_else(|| "nothing: it is passed over".to_owned()),
            }));
        }
    }

    /// The table was dropped. What bears its name now is another one, which no publication holds by itself.
    async fn replace(
        &self,
        integration: &Integration,
        relation: &Relation,
        named: Option<u32>,
        notes: &mut Vec<UpkeepNote>,
    ) -> Result<(), SetupError> {
        relations::bury(self.publisher.catalog, &relation.source, relation.oid).await?;
        let table = display_name(relation);
        notes.push(if named.is_some() { UpkeepNote::Recreated { table } } else { UpkeepNote::Removed { table } });
        self.enter(integration, None, named, notes).await
    }

    /// The partition stays in the publication until the whole is in it, so that nothing is lost in between.
    async fn publish_the_whole(
        &self,
        integration: &Integration,
        relation: &Relation,
        seen: &Seen,
        notes: &mut Vec<UpkeepNote>,
    ) -> Result<(), SetupError> {
        relations::bury(self.publisher.catalog, &relation.source, relation.oid).await?;
        let partition = seen.known.as_ref().map_or_else(String::new, |(schema, name)| format!("{schema}.{name}"));
        let table = format!("{}.{}", integration.schema, integration.table_name);
        notes.push(UpkeepNote::Partitioned { partition, table });
        self.enter(integration, None, seen.named, notes).await?;
        if matches!(notes.last(), Some(UpkeepNote::Failed { .. })) {
            return Ok(());
        }
        self.try_to_take_out(relation, notes).await;
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
        notes: &mut Vec<UpkeepNote>,
    ) -> Result<(), SetupError> {
        let begun = relation.state != RelationState::Publishing || relation.publishing_xid.is_some();
        if begun && seen.known_published {
            return if seen.identity_in_doubt { self.mend(integration, relation, notes).await } else { Ok(()) };
        }
        if relation.state == RelationState::Published {
            relations::interrupted(self.publisher.catalog, &relation.source, relation.oid).await?;
            notes.push(UpkeepNote::PutBack { table: display_name(relation) });
        }
        self.enter(integration, Some(relation), Some(relation.oid), notes).await
    }

    /// An index may have gone, or a partition have come, with which UPDATE and DELETE fail for as long as it is published.
    async fn mend(
        &self,
        integration: &Integration,
        relation: &Relation,
        notes: &mut Vec<UpkeepNote>,
    ) -> Result<(), SetupError> {
        match self.publisher.mend(relation.oid).await {
            Ok((set, hazards)) => {
                notes.extend(set.then(|| UpkeepNote::IdentitySet { table: display_name(relation) }));
                notes.extend(hazards.into_iter().map(UpkeepNote::Hazard));
            }
            Err(error) if concerns_source(&error) => return Err(error),
            Err(error) => notes.push(UpkeepNote::Failed { integration: integration.opaque_id.clone(), error }),
        }
        Ok(())
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

/// The OID counts; but somebody who has put another table in its place should know.
fn note_double(
    integration: &Integration,
    relation: &Relation,
    seen: &Seen,
    now: &(String, String),
    notes: &mut Vec<UpkeepNote>,
) {
    if seen.named.is_some_and(|named| named != relation.oid) {
        let name = format!("{}.{}", integration.schema, integration.table_name);
        notes.push(UpkeepNote::Hazard(Hazard {
            what: format!(
                "table {name} is not the one that is published for {}: that is {}.{} now",
                integration.opaque_id, now.0, now.1
            ),
            remedy: format!("drop {}.{}, and {name} is published; or rename them back", now.0, now.1),
        }));
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
