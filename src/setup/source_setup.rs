//! `setup` of one source: everything is looked at first, so that what is refused leaves the source untouched.

use std::time::Duration;

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use super::assess::{self, Found};
use super::deletes::delete_hazards;
use super::error::{Discord, SetupError, explain_right};
use super::identity::Hazard;
use super::report::{Note, Report};
use super::run::{Accept, connect};
use super::servers::Servers;
use super::slot::SlotMaker;
use super::upkeep::{self, UpkeepNote};
use super::{admin, by_schema, checks, failover};
use crate::catalog::sources::{self, Beginning};
use crate::catalog::{self, Relation, RelationState, made, relations};
use crate::config::{Publish, Settings, SourceSettings};
use crate::source::alteration;
use crate::source::publication::{self, PublicationState};
use crate::source::table::{self, Table};
use crate::source::{ReplicationConnection, ServerFacts, SlotState, SystemIdentity};

/// How long `setup` waits for the transactions that were open when tables were published.
const COMPLETE_WITHIN: Duration = Duration::from_secs(10);

/// One source, and what it is set up for.
pub(super) struct SourceSetup<'a> {
    pub(super) catalog: &'a Client,
    pub(super) all: &'a Settings,
    pub(super) settings: &'a SourceSettings,
    pub(super) accept: Accept,
    /// A session with an owner's or a superuser's rights.
    pub(super) admin: Option<Client>,
}

impl SourceSetup<'_> {
    pub(super) async fn run(&self, report: Report<'_>) -> Result<(), SetupError> {
        if let Some(admin) = &self.admin {
            admin::prepare_source_role(admin, self.settings, report).await?;
        }
        let source = connect(self.settings.url(), &format!("source {}", self.settings.name())).await?;
        let facts = ServerFacts::read(&source).await?;
        // The slot is read before the record: a daemon records first and then confirms, so it is never ahead by itself.
        let slot = SlotState::find(&source, self.settings.slot()).await?;
        let hazards = checks::check(self.settings, &facts, slot.as_ref())?;
        let system = self.identify().await?;
        self.refuse_same_database(&system, &facts.database).await?;
        let servers = Servers::of(source, self.settings).await?;
        servers.check_primary(system.system_identifier).await?;
        let source = servers.writer();
        let owner = self.admin.as_ref().unwrap_or(source);
        report(Note::found(format!(
            "source {}: Postgres {}, database {}{}",
            self.settings.name(),
            facts.major_version(),
            facts.database,
            if facts.in_recovery { ", a standby" } else { "" }
        )));
        hazards.into_iter().for_each(|hazard| report(Note::Hazard(hazard)));

        let publication = publication::publication_state(source, self.settings.publication()).await?;
        let found = Found { system_identifier: system.system_identifier, publication, slot };
        let discord = self.assess(&found, &facts.database).await?;
        self.tell_stuck(report).await?;
        let publication_oid = self.publication(owner, facts.major_version(), &found, report).await?;
        let failed = self.tables(owner, discord.as_ref(), &facts, report).await?;
        let beginning = self.beginning(publication_oid, &system);
        let maker = SlotMaker {
            client: &servers.reader,
            primary: servers.primary.as_ref(),
            failover: failover::is_wanted(self.settings, &facts),
        };
        self.slot_and_checkpoint(&maker, &facts.database, &found, discord, beginning, report).await?;
        let slot = SlotState::read(&servers.reader, self.settings.slot()).await?;
        failover::bring_in_line(self.settings, &facts, &slot, report).await?;
        failed.map_or(Ok(()), Err)
    }

    /// Also proves that the role may replicate and that nothing in between prevents it.
    async fn identify(&self) -> Result<SystemIdentity, SetupError> {
        Ok(ReplicationConnection::connect(self.settings.url()).await?.identify_system().await?)
    }

    /// The config tells two sources of one database apart where their URLs differ, as an address and a name do; but their
    /// notifications would have the same ids.
    async fn refuse_same_database(&self, system: &SystemIdentity, database: &str) -> Result<(), SetupError> {
        let name = self.settings.name();
        let same = sources::of_cluster(self.catalog, system.system_identifier, name).await?;
        let mut others = same.iter().filter_map(|other| self.all.source(other));
        match others.find(|other| other.url().database == database) {
            Some(other) => Err(SetupError::Server {
                problem: format!("the database of source {name} is that of source {} already", other.name()),
                remedy: "take one of the two out of the config".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// What does not fit and is accepted; what is not accepted is an error.
    async fn assess(&self, found: &Found, database: &str) -> Result<Option<Discord>, SetupError> {
        if let Some(publication) = &found.publication {
            check_publication(self.settings.publication(), publication)?;
        }
        if let Some(slot) = &found.slot {
            slot.check_kind(database)?;
        }
        let record = sources::find(self.catalog, self.settings.name()).await?;
        let discord = match record {
            Some(record) => assess::discord(self.settings, &record, found),
            None => None,
        };
        let accepted = match &discord {
            None => return Ok(None),
            Some(Discord::OtherServer { .. }) => self.accept.server,
            Some(_) => self.accept.gap,
        };
        if !accepted {
            return self.refuse(discord);
        }
        // The slot will be dropped, which must not fail half way because a daemon still reads from it.
        match &found.slot {
            Some(slot) if slot.active_pid.is_some() => slot.check(database).map(|()| discord).map_err(Into::into),
            _ => Ok(discord),
        }
    }

    async fn tell_stuck(&self, report: Report<'_>) -> Result<(), SetupError> {
        let record = sources::find(self.catalog, self.settings.name()).await?;
        if let Some(stuck) = record.and_then(|record| record.stuck) {
            let remedy = format!("webhookdb setup --skip-transaction {}, which records the gap", stuck.commit_lsn);
            report(Note::hazard(stuck.because, remedy));
        }
        Ok(())
    }

    fn refuse(&self, discord: Option<Discord>) -> Result<Option<Discord>, SetupError> {
        let name = self.settings.name().to_owned();
        discord.map_or(Ok(None), |discord| Err(SetupError::Discord { name, discord }))
    }

    async fn publication(
        &self,
        source: &Client,
        major_version: i32,
        found: &Found,
        report: Report<'_>,
    ) -> Result<u32, SetupError> {
        let name = self.settings.publication();
        if let Some(publication) = &found.publication {
            report(Note::found(format!("publication {name} is there")));
            publication_hazards(name, publication).into_iter().for_each(&mut *report);
            if !publication.generated_columns {
                self.publish_generated_columns(source, publication, report).await?;
            }
            return Ok(publication.oid);
        }
        let database = format!("DATABASE {}", escape_identifier(&self.settings.url().database));
        publication::create_empty(source, name, major_version)
            .await
            .map_err(|error| explain_right(error, "make a publication", &database, self.settings.url()))?;
        made::record(self.catalog, "publication", self.settings.name(), name, "{}").await?;
        report(Note::done(format!("made publication {name}")));
        match publication::publication_state(source, name).await? {
            Some(publication) => Ok(publication.oid),
            None => Err(SetupError::PublicationMissing {
                name: self.settings.name().to_owned(),
                publication: name.to_owned(),
            }),
        }
    }

    async fn publish_generated_columns(
        &self,
        source: &Client,
        publication: &PublicationState,
        report: Report<'_>,
    ) -> Result<(), SetupError> {
        let name = self.settings.publication();
        if !publication.owned {
            let problem = "leaves out stored generated columns, so that rows lack them and, under REPLICA IDENTITY FULL, \
                           UPDATE and DELETE fail in the tables that have any";
            let remedy = format!("let its owner run: {}", publication::generated_columns_statement(name));
            report(Note::hazard(format!("publication {name} {problem}"), remedy));
            return Ok(());
        }
        publication::publish_generated_columns(source, name).await?;
        report(Note::done(format!("publication {name} holds stored generated columns")));
        Ok(())
    }

    /// Publishes what is missing; returns why one table could not be published, for after everything else is done.
    async fn tables(
        &self,
        source: &Client,
        discord: Option<&Discord>,
        facts: &ServerFacts,
        report: Report<'_>,
    ) -> Result<Option<SetupError>, SetupError> {
        if matches!(discord, Some(Discord::OtherServer { .. })) {
            // The OIDs of another server say nothing about the tables of this one.
            relations::forget_all(self.catalog, self.settings.name()).await?;
        }
        let (settings, placement) = (self.all.catalog(), self.all.placement());
        let mut snapshot = catalog::load(self.catalog, settings.schema(), &placement, settings.keys()).await?;
        if discord.is_some() {
            // What is recorded of the publication is about to be replaced.
            snapshot.sources.retain(|source| source.name != self.settings.name());
        }
        if self.settings.publish() == Publish::Schema {
            by_schema::publish(source, self.settings, facts, &snapshot, report).await?;
        }
        let notes = upkeep::publish_missing(self.catalog, source, self.settings, &snapshot).await?;
        notes.iter().for_each(|note| report(note.into()));
        self.published_tables(source, report).await?;
        self.deletes(source, &notes, report).await?;
        if let Some(admin) = &self.admin {
            admin::leave_functions(admin, self.catalog, self.all, self.settings, &snapshot, report).await?;
        }
        let open = upkeep::wait_until_complete(self.catalog, source, self.settings, COMPLETE_WITHIN).await?;
        for table in open {
            report(Note::hazard(
                format!("transactions from before table {table} was published are still open: they arrive in part"),
                "nothing: the table is complete when they have ended, and `integrations list` shows since when",
            ));
        }
        let failed = |note| if let UpkeepNote::Failed { error, .. } = note { Some(error) } else { None };
        Ok(notes.into_iter().find_map(failed))
    }

    async fn published_tables(&self, source: &Client, report: Report<'_>) -> Result<(), SetupError> {
        let published = publication::publication_state(source, self.settings.publication()).await?;
        let oids: Vec<u32> = published.iter().flat_map(|state| &state.tables).map(|table| table.oid).collect();
        for table in table::tables(source, &oids).await? {
            if relations::record_unassigned(self.catalog, &self.unassigned(&table)).await? {
                let name = table.display_name();
                report(Note::found(format!("table {name} is published, but of no integration: it is passed over")));
            }
            if !table.has_usable_identity() {
                let (name, schema_and_name) = (table.display_name(), alteration::qualified(&table.schema, &table.name));
                report(Note::hazard(
                    format!("table {name} is published without a replica identity: its UPDATE and DELETE fail"),
                    format!("ALTER TABLE {schema_and_name} REPLICA IDENTITY FULL, or take it out of the publication"),
                ));
            }
        }
        Ok(())
    }

    /// Warns of tables whose deletes are hard to make sense of, where their publication did not do so just now.
    async fn deletes(&self, source: &Client, told: &[UpkeepNote], report: Report<'_>) -> Result<(), SetupError> {
        let oids = relations::of_integrations(self.catalog, self.settings.name()).await?;
        let is_told =
            |hazard: &Hazard| told.iter().any(|note| matches!(note, UpkeepNote::Hazard(told) if told == hazard));
        let hazards = delete_hazards(source, &oids).await?;
        hazards.into_iter().filter(|hazard| !is_told(hazard)).for_each(|hazard| report(Note::Hazard(hazard)));
        Ok(())
    }

    fn unassigned(&self, table: &Table) -> Relation {
        let keys = table.keys();
        Relation {
            source: self.settings.name().to_owned(),
            oid: table.oid,
            integration: None,
            organization: None,
            state: RelationState::Unassigned,
            schema_name: keys.schema,
            table_name: keys.name,
            primary_key: keys.primary_key,
            remote_key: keys.remote_key,
            publishing_xid: None,
            published_at: None,
        }
    }

    fn beginning(&self, publication_oid: u32, system: &SystemIdentity) -> Beginning {
        Beginning {
            name: self.settings.name().to_owned(),
            slot: self.settings.slot().to_owned(),
            publication: self.settings.publication().to_owned(),
            publication_oid,
            system_identifier: system.system_identifier,
            timeline: system.timeline,
            lsn: system.flush_lsn,
        }
    }

    async fn slot_and_checkpoint(
        &self,
        maker: &SlotMaker<'_>,
        database: &str,
        found: &Found,
        discord: Option<Discord>,
        mut beginning: Beginning,
        report: Report<'_>,
    ) -> Result<(), SetupError> {
        let name = self.settings.slot();
        if let Some(discord) = discord {
            beginning.lsn = maker.make_anew(name).await?;
            self.record_slot().await?;
            sources::begin_anew(self.catalog, &beginning, &discord.to_string()).await?;
            report(Note::done(format!("made slot {name} anew at {}; the gap is recorded: {discord}", beginning.lsn)));
            return Ok(());
        }
        if sources::find(self.catalog, self.settings.name()).await?.is_some() {
            report(Note::found(format!("slot {name} and its checkpoint are there")));
            return Ok(());
        }
        match &found.slot {
            Some(slot) if slot.invalidation.is_some() && self.accept.gap => {
                beginning.lsn = maker.make_anew(name).await?;
                self.record_slot().await?;
                report(Note::done(format!("made slot {name} anew at {}: the old one was invalidated", beginning.lsn)));
            }
            Some(slot) => {
                beginning.lsn = maker.adopt(slot, database).await?;
                report(Note::done(format!("adopted slot {name} from {} on", beginning.lsn)));
            }
            None => {
                beginning.lsn = maker.make(name).await?;
                self.record_slot().await?;
                report(Note::done(format!("made slot {name} at {}", beginning.lsn)));
            }
        }
        sources::begin(self.catalog, &beginning).await?;
        report(Note::done(format!("wrote the first checkpoint of source {}", self.settings.name())));
        Ok(())
    }

    async fn record_slot(&self) -> Result<(), SetupError> {
        Ok(made::record(self.catalog, "slot", self.settings.name(), self.settings.slot(), "{}").await?)
    }
}

/// Refuses what must never be: every table published, ours among them, is a trap for applications and feeds on itself.
fn check_publication(name: &str, publication: &PublicationState) -> Result<(), SetupError> {
    let unfit = |problem| Err(SetupError::PublicationUnfit { publication: name.to_owned(), problem });
    if publication.all_tables {
        return unfit(
            "is FOR ALL TABLES, which makes UPDATE and DELETE fail in every table without a replica identity",
        );
    }
    if publication.tables.iter().any(|table| table.schema == "notifications") {
        return unfit("holds tables of the schema notifications, so that the daemon would be told of its own writes");
    }
    Ok(())
}

fn publication_hazards(name: &str, publication: &PublicationState) -> Vec<Note> {
    let mut hazards = Vec::new();
    if !publication.complete {
        hazards.push(Note::hazard(
            format!(
                "publication {name} leaves out some of insert, update, delete and truncate: nobody is told of these"
            ),
            format!("ALTER PUBLICATION \"{name}\" SET (publish = 'insert, update, delete, truncate')"),
        ));
    }
    if !publication.via_partition_root {
        hazards.push(Note::hazard(
            format!(
                "publication {name} names partitions, not their roots: changes of partitioned tables are passed over"
            ),
            format!("ALTER PUBLICATION \"{name}\" SET (publish_via_partition_root = true)"),
        ));
    }
    hazards
}
