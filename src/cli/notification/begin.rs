//! How a subscription begins, the first time and whenever it is enabled again: its tables are published, and its start is
//! marked in the log.

use std::collections::HashSet;
use std::time::Duration;

use tokio_postgres::Client;

use super::super::context::{Context, connect_writer};
use super::super::failure::Advice;
use super::super::output::warn;
use crate::catalog::{CatalogError, Integration, Misplaced, Organization, Snapshot};
use crate::config::SourceSettings;
use crate::model::Scope;
use crate::postgres::PostgresError;
use crate::setup::SetupError;
use crate::setup::upkeep::{self, UpkeepNote};

/// How long a table that was just published is waited for; after that its first transactions may arrive in part.
const COMPLETE_WITHIN: Duration = Duration::from_secs(5);

/// What the subscription is about.
pub(super) enum Subject<'a> {
    Integration(&'a Integration),
    Organization(&'a Organization),
}

impl<'a> Subject<'a> {
    /// What a subscription of this scope is about.
    pub(super) fn of(snapshot: &'a Snapshot, scope: &Scope) -> Result<Self, CatalogError> {
        match scope {
            Scope::Integration(opaque_id) => snapshot
                .integration(opaque_id)
                .map(Self::Integration)
                .ok_or_else(|| CatalogError::UnknownIntegration(opaque_id.clone())),
            Scope::Organization(key) => snapshot
                .organization(key)
                .map(Self::Organization)
                .ok_or_else(|| CatalogError::UnknownOrganization(key.clone())),
        }
    }

    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Integration(integration) => Scope::Integration(integration.opaque_id.clone()),
            Self::Organization(organization) => Scope::Organization(organization.key.clone()),
        }
    }

    /// Where its tables are, or will be: an organization's may come to be in any source that claims it. Each is set up.
    pub(super) fn sources<'s>(
        &self,
        context: &Context<'s>,
        snapshot: &Snapshot,
    ) -> anyhow::Result<Vec<&'s SourceSettings>> {
        let placement = context.settings.placement();
        let mut names: HashSet<&str> = HashSet::new();
        if let Self::Organization(organization) = self {
            names.extend(placement.claimants(&organization.key));
        }
        for integration in snapshot.integrations.iter().filter(|integration| self.includes(integration)) {
            names.insert(source_of_integration(context, snapshot, integration)?);
        }
        let all = context.settings.sources().iter();
        let sources: Vec<&SourceSettings> = all.filter(|source| names.contains(source.name())).collect();
        if let (Self::Organization(organization), []) = (self, sources.as_slice()) {
            return Err(misplaced(snapshot, &organization.key).into());
        }
        if let Some(source) = sources.iter().find(|source| snapshot.source(source.name()).is_none()) {
            return Err(SetupError::NotSetUp(source.name().to_owned()).into());
        }
        Ok(sources)
    }

    fn includes(&self, integration: &Integration) -> bool {
        match self {
            Self::Integration(own) => own.opaque_id == integration.opaque_id,
            Self::Organization(organization) => organization.key == integration.organization,
        }
    }

    fn covers(&self, opaque_id: &str, snapshot: &Snapshot) -> bool {
        snapshot.integration(opaque_id).is_some_and(|integration| self.includes(integration))
    }
}

/// The config's source of an integration.
fn source_of_integration<'a>(
    context: &Context<'_>,
    snapshot: &Snapshot,
    integration: &'a Integration,
) -> Result<&'a str, Advice> {
    let Some(source) = &integration.source else { return Err(misplaced(snapshot, &integration.organization)) };
    match context.settings.source(source) {
        Some(_) => Ok(source),
        None => {
            let (integration, source_name) = (integration.opaque_id.clone(), source.clone());
            Err(Advice::from(&Misplaced::UnknownSource { integration, source_name }))
        }
    }
}

/// Why the tables of an organization are nowhere.
fn misplaced(snapshot: &Snapshot, organization: &str) -> Advice {
    let nowhere = Misplaced::Nowhere { organization: organization.to_owned() };
    Advice::from(snapshot.misplaced.iter().find(|one| one.organization() == Some(organization)).unwrap_or(&nowhere))
}

/// Makes sure that the tables are published in each source; returns a session in each, to mark the start by.
pub(super) async fn publish(
    context: &Context<'_>,
    subject: &Subject<'_>,
    sources: &[&SourceSettings],
) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for source in sources {
        let client = connect_writer(source).await?;
        publish_in(context, subject, source, &client).await?;
        clients.push(client);
    }
    Ok(clients)
}

async fn publish_in(
    context: &Context<'_>,
    subject: &Subject<'_>,
    source: &SourceSettings,
    client: &Client,
) -> anyhow::Result<()> {
    let snapshot = context.snapshot().await?;
    for note in upkeep::publish_missing(&context.catalog, client, source, &snapshot).await? {
        match note {
            UpkeepNote::Failed { integration, error } if subject.covers(&integration, &snapshot) => {
                return Err(error.into());
            }
            // An organization's table may come later; the one table of an integration must be there.
            UpkeepNote::Missing { integration, table } if matches!(subject, Subject::Integration(own) if own.opaque_id == integration) =>
            {
                let name = source.name().to_owned();
                return Err(SetupError::NoTable { integration, table, name }.into());
            }
            UpkeepNote::Hazard(hazard) => warn(&format!("{}; {}", hazard.what, hazard.remedy)),
            _ => {}
        }
    }
    for table in upkeep::wait_until_complete(&context.catalog, client, source, COMPLETE_WITHIN).await? {
        warn(&format!(
            "transactions that were open when table {table} was published are still open, and arrive in part"
        ));
    }
    Ok(())
}

/// The start could not be written into a source's log.
pub(super) fn not_marked(error: PostgresError) -> anyhow::Error {
    anyhow::Error::new(error).context("the start of the notifications could not be marked")
}
