//! One table into the publication: recorded first, then its identity, then the publication, then the wait.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::SetupError;
use super::identity::{self, Hazard, IdentityPlan};
use crate::catalog::{Integration, Relation, RelationState, made, relations};
use crate::config::SourceSettings;
use crate::source::publication::{self, NewIdentity, TableChanges};
use crate::source::table::{self, Table};

/// The kind under which `notifications.made` records a replica identity.
pub(super) const IDENTITY_KIND: &str = "replica_identity";

/// A source and its catalog, for the work on its tables.
#[derive(Clone, Copy)]
pub(super) struct Publisher<'a> {
    pub(super) catalog: &'a Client,
    pub(super) source: &'a Client,
    pub(super) settings: &'a SourceSettings,
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
        let done = self.alter(&table, &leaves, plan).await;
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

    async fn alter(&self, table: &Table, leaves: &[Table], plan: IdentityPlan) -> Result<Vec<Hazard>, SetupError> {
        let IdentityPlan { changes, before, hazards } = plan;
        for altered in &before {
            let (oid, detail) = (altered.oid.to_string(), identity_detail(&altered.before));
            made::record(self.catalog, IDENTITY_KIND, self.settings.name(), &oid, &detail).await?;
        }
        match changes.run(self.source).await {
            Ok(()) => Ok(hazards),
            // Somebody else added it in the meantime: what is left to do is the identity.
            Err(error) if error.sqlstate() == Some(&SqlState::DUPLICATE_OBJECT) => {
                self.identities(table, leaves)?.changes.run(self.source).await?;
                Ok(hazards)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn identities(&self, table: &Table, leaves: &[Table]) -> Result<IdentityPlan, SetupError> {
        identity::plan(self.settings.replica_identity(), table, leaves)
            .map_err(|reason| SetupError::Unpublishable { table: table.display_name(), reason })
    }

    /// What is to be done, down to nothing. That the role may not is found out before anything is recorded.
    async fn plan(&self, table: &Table, leaves: &[Table]) -> Result<IdentityPlan, SetupError> {
        let mut plan = self.identities(table, leaves)?;
        let owned = table.owned && leaves.iter().all(|leaf| leaf.owned);
        let state = publication::publication_state(self.source, self.settings.publication()).await?;
        let Some(state) = state else { return Err(self.no_publication()) };
        let published = state.tables.iter().any(|published| published.oid == table.oid);
        if published && !owned && !plan.changes.is_empty() && table.has_usable_identity() {
            // A table that a DBA has published works as it is; ours would only be the better identity.
            let hazard = identity_hazard(table, &plan.changes);
            plan.hazards.push(hazard);
            return Ok(IdentityPlan { hazards: plan.hazards, ..IdentityPlan::default() });
        }
        if !published {
            plan.changes.add_to(self.settings.publication(), table);
        }
        if !plan.changes.is_empty() && !(owned && (published || state.owned)) {
            let statements = plan.changes.statements().join("; ");
            return Err(SetupError::MayNotPublish { table: table.display_name(), statements });
        }
        Ok(plan)
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

fn identity_hazard(table: &Table, changes: &TableChanges) -> Hazard {
    Hazard {
        what: format!("the role may not set the replica identity of table {}", table.display_name()),
        remedy: format!("let its owner run: {}", changes.statements().join("; ")),
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
