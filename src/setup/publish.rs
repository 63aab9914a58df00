//! One table into the publication: recorded first, then its identity, then the publication, then the wait.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::SetupError;
use super::identity::{self, Hazard, IdentityPlan};
use crate::catalog::{Integration, Relation, RelationState, made, relations};
use crate::config::{Publish, SourceSettings};
use crate::postgres::PostgresError;
use crate::source::table::{self, Table};
use crate::source::{Alterations, Delegate, Hand, NewIdentity, publication};

/// The kind under which `notifications.made` records a replica identity.
pub(super) const IDENTITY_KIND: &str = "replica_identity";

/// A source and its catalog, for the work on its tables.
#[derive(Clone, Copy)]
pub(super) struct Publisher<'a> {
    pub(super) catalog: &'a Client,
    pub(super) source: &'a Client,
    pub(super) settings: &'a SourceSettings,
}

/// What is to be done, and by whose rights.
struct Plan {
    identities: IdentityPlan,
    hand: Hand,
}

/// A table on its way into the publication.
pub(super) struct Candidate<'a> {
    pub(super) integration: &'a Integration,
    pub(super) oid: u32,
    /// What is recorded of the table's OID, from an earlier life or by `setup`.
    pub(super) before: Option<&'a Relation>,
}

impl Publisher<'_> {
    /// Publishes the table, and returns what the operator should know. Whatever was done before is not done again.
    pub(super) async fn publish(&self, candidate: &Candidate<'_>) -> Result<Vec<Hazard>, SetupError> {
        let Some(table) = table::table(self.source, candidate.oid).await? else { return Err(self.no_table(candidate)) };
        let leaves = table::tables(self.source, &table.leaves).await?;
        let plan = self.plan(&table, &leaves).await?;
        let relation = self.relation(candidate, &table);
        // The router refuses a published table that it does not know: so the record comes first, and is committed.
        let now = publication::log_end(self.source).await?;
        let announced = relations::announce(self.catalog, &relation, now).await?;
        let done = self.carry_out(&table, plan).await;
        if announced && done.as_ref().is_err_and(SetupError::is_refusal) {
            self.withdraw(candidate).await?;
        }
        let hazards = done?;
        let publishing_xid = publication::next_xid(self.source).await?;
        if !relations::added(self.catalog, self.settings.name(), table.oid, publishing_xid).await? {
            // Another upkeep, at work on the same table, failed and withdrew the record, or has completed it.
            relations::announce(self.catalog, &relation, now).await?;
            relations::added(self.catalog, self.settings.name(), table.oid, publishing_xid).await?;
        }
        Ok(hazards)
    }

    fn relation(&self, candidate: &Candidate<'_>, table: &Table) -> Relation {
        let keys = table.keys();
        Relation {
            source: self.settings.name().to_owned(),
            oid: table.oid,
            integration: Some(candidate.integration.opaque_id.clone()),
            organization: Some(candidate.integration.organization.clone()),
            state: RelationState::Publishing,
            schema_name: keys.schema,
            table_name: keys.name,
            primary_key: keys.primary_key,
            remote_key: keys.remote_key,
            publishing_xid: None,
            published_at: None,
        }
    }

    /// Another upkeep may be at work on the same table: what it has published stays recorded.
    async fn withdraw(&self, candidate: &Candidate<'_>) -> Result<(), SetupError> {
        let state = publication::publication_state(self.source, self.settings.publication()).await?;
        if state.is_some_and(|state| state.tables.iter().any(|table| table.oid == candidate.oid)) {
            return Ok(());
        }
        let before = candidate.before.filter(|before| !before.state.is_live());
        Ok(relations::withdraw(self.catalog, self.settings.name(), candidate.oid, before).await?)
    }

    /// Records what each table had before, and does what is planned.
    async fn carry_out(&self, table: &Table, plan: Plan) -> Result<Vec<Hazard>, SetupError> {
        let Plan { identities: IdentityPlan { changes, before, hazards }, hand } = plan;
        for altered in &before {
            let (oid, detail) = (altered.oid.to_string(), identity_detail(&altered.before));
            made::record(self.catalog, IDENTITY_KIND, self.settings.name(), &oid, &detail).await?;
        }
        match changes.run(self.source, &hand).await {
            Ok(()) => Ok(hazards),
            // The publication comes last: somebody else has added the table in the meantime.
            Err(error) if error.sqlstate() == Some(&SqlState::DUPLICATE_OBJECT) => Ok(hazards),
            Err(error) => Err(explain(error, table, &changes, &hand)),
        }
    }

    fn identities(&self, table: &Table, leaves: &[Table]) -> Result<IdentityPlan, SetupError> {
        identity::plan(self.settings.replica_identity(), table, leaves)
            .map_err(|reason| SetupError::Unpublishable { table: table.display_name(), reason })
    }

    /// What is to be done, down to nothing. That the role may not is found out before anything is recorded.
    async fn plan(&self, table: &Table, leaves: &[Table]) -> Result<Plan, SetupError> {
        let mut identities = self.identities(table, leaves)?;
        let state = publication::publication_state(self.source, self.settings.publication()).await?;
        let Some(state) = state else { return Err(self.no_publication()) };
        let published = state.tables.iter().any(|published| published.oid == table.oid);
        if !published {
            identities.changes.add_to(self.settings.publication(), table.table_name());
        }
        let members = std::iter::once(table).chain(leaves);
        let owned = members.clone().all(|member| member.owned) && (published || state.owned);
        if owned || identities.changes.is_empty() {
            return Ok(Plan { identities, hand: Hand::Own });
        }
        if let Some(delegate) = Delegate::find(self.source, self.settings.slot()).await? {
            return Ok(Plan { identities, hand: Hand::Delegate(delegate) });
        }
        if published && members.clone().all(Table::has_usable_identity) {
            // A table that a DBA has published works as it is; ours would only be the better identity.
            let mut hazards = identities.hazards;
            hazards.push(identity_hazard(table, &identities.changes));
            return Ok(Plan { identities: IdentityPlan { hazards, ..IdentityPlan::default() }, hand: Hand::Own });
        }
        let statements = identities.changes.statements();
        Err(SetupError::MayNotPublish { table: table.display_name(), remedy: by_hand(&statements) })
    }

    /// Sets the identities of a published table, and of its partitions, that are not as they are to be. Returns whether
    /// anything was set, and what the operator should know.
    ///
    /// # Errors
    /// Where that can't be done. A table whose own UPDATE and DELETE would fail meanwhile is taken out of the publication.
    pub(super) async fn mend(&self, oid: u32) -> Result<(bool, Vec<Hazard>), SetupError> {
        let Some(table) = table::table(self.source, oid).await? else { return Ok((false, Vec::new())) };
        let leaves = table::tables(self.source, &table.leaves).await?;
        let failed = match self.set_identities(&table, &leaves).await {
            Err(error) if !error.is_retryable() => error,
            other => return other,
        };
        if std::iter::once(&table).chain(&leaves).all(Table::has_usable_identity) || self.is_by_schema() {
            return Err(failed);
        }
        self.take_out(table.oid).await?;
        relations::interrupted(self.catalog, self.settings.name(), table.oid).await?;
        Err(SetupError::TakenOut { table: table.display_name(), reason: Box::new(failed) })
    }

    async fn set_identities(&self, table: &Table, leaves: &[Table]) -> Result<(bool, Vec<Hazard>), SetupError> {
        let plan = self.plan(table, leaves).await?;
        if plan.identities.changes.is_empty() {
            // What was said when the table was published is not said again.
            let common = self.identities(table, leaves)?.hazards;
            let hazards = plan.identities.hazards.into_iter().filter(|hazard| !common.contains(hazard)).collect();
            return Ok((false, hazards));
        }
        self.carry_out(table, plan).await?;
        Ok((true, Vec::new()))
    }

    /// Takes a table out of the publication, if it is in it by itself.
    ///
    /// # Errors
    /// Where the database fails or refuses.
    pub(super) async fn take_out(&self, oid: u32) -> Result<(), SetupError> {
        let state = publication::publication_state(self.source, self.settings.publication()).await?;
        let Some(state) = state else { return Ok(()) };
        let Some(table) = table::table(self.source, oid).await? else { return Ok(()) };
        let mut changes = Alterations::default();
        changes.take_out_of(self.settings.publication(), table.table_name());
        let delegate = if state.owned { None } else { Delegate::find(self.source, self.settings.slot()).await? };
        let hand = delegate.map_or(Hand::Own, Hand::Delegate);
        match changes.run(self.source, &hand).await {
            Err(error) if error.sqlstate() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(()),
            done => done.map_err(|error| explain(error, &table, &changes, &hand)),
        }
    }

    fn is_by_schema(&self) -> bool {
        self.settings.publish() == Publish::Schema
    }

    fn no_table(&self, candidate: &Candidate<'_>) -> SetupError {
        let Integration { opaque_id, schema, table_name, .. } = candidate.integration;
        SetupError::NoTable {
            integration: opaque_id.clone(),
            table: format!("{schema}.{table_name}"),
            name: self.settings.name().to_owned(),
        }
    }

    fn no_publication(&self) -> SetupError {
        SetupError::PublicationMissing {
            name: self.settings.name().to_owned(),
            publication: self.settings.publication().to_owned(),
        }
    }
}

fn identity_hazard(table: &Table, changes: &Alterations) -> Hazard {
    Hazard {
        what: format!("the role may not set the replica identity of table {}", table.display_name()),
        remedy: format!("let its owner run: {}", changes.statements()),
    }
}

fn by_hand(statements: &str) -> String {
    format!("let the owner of the table and of the publication run: {statements}; or run `webhookdb setup --admin-url`")
}

/// What it means that the server refuses, by the code alone.
fn explain(error: PostgresError, table: &Table, changes: &Alterations, hand: &Hand) -> SetupError {
    let table_name = table.display_name();
    match (error.sqlstate(), hand) {
        (Some(code), Hand::Delegate(delegate)) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            let (owner, publisher) = (escape_identifier(&table.owner), escape_identifier(&delegate.owner));
            let remedy =
                format!("run as a superuser: GRANT {owner} TO {publisher}; or run `webhookdb setup --admin-url` again");
            SetupError::MayNotPublish { table: table_name, remedy }
        }
        // What the functions themselves refuse.
        (Some(code), Hand::Delegate(_)) if *code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => {
            SetupError::DelegateRefused { table: table_name, statements: changes.statements(), source: Box::new(error) }
        }
        (Some(code), Hand::Own) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            SetupError::MayNotPublish { table: table_name, remedy: by_hand(&changes.statements()) }
        }
        _ => error.into(),
    }
}

/// What `setup --drop` needs to set an identity as it was.
fn identity_detail(before: &NewIdentity) -> String {
    match before {
        NewIdentity::Default => serde_json::json!({"before": "default"}),
        NewIdentity::Full => serde_json::json!({"before": "full"}),
        NewIdentity::Nothing => serde_json::json!({"before": "nothing"}),
        NewIdentity::Index(index) => serde_json::json!({"before": "index", "index": index}),
    }
    .to_string()
}

/// Reads what [`identity_detail`] wrote.
pub(super) fn identity_of_detail(detail: &str) -> Option<NewIdentity> {
    let detail: serde_json::Value = serde_json::from_str(detail).ok()?;
    Some(match detail.get("before")?.as_str()? {
        "default" => NewIdentity::Default,
        "full" => NewIdentity::Full,
        "nothing" => NewIdentity::Nothing,
        "index" => NewIdentity::Index(detail.get("index")?.as_str()?.to_owned()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_back_as_it_was_recorded() {
        let index = NewIdentity::Index("a \"b\"".to_owned());
        for identity in [NewIdentity::Default, NewIdentity::Full, NewIdentity::Nothing, index] {
            assert_eq!(identity_of_detail(&identity_detail(&identity)), Some(identity));
        }
        assert_eq!(identity_of_detail("{}"), None);
    }
}
