//! The catalog as it stood at one moment.

mod item;

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::TryStreamExt;
use postgres_protocol::escape::escape_identifier;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

pub(super) use self::item::batching;
use self::item::{RelationItem, RevisionItem, SourceItem, SubscriptionItem, Unreadable};
use super::rights;
use super::secrets::Sealed;
use super::{CatalogError, Misplaced};
use crate::model::{Placement, Subscription, SubscriptionState};
use crate::seal::KeyRing;

/// Everything that the catalog holds, from one snapshot of its database.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Raised by every change of the catalog that goes through this program.
    pub revision: i64,
    /// The sources that `setup` has prepared.
    pub sources: Vec<SourceRecord>,
    /// In the order of their creation.
    pub organizations: Vec<Organization>,
    /// In the order of their creation.
    pub integrations: Vec<Integration>,
    /// Every table that is or was published.
    pub relations: Vec<Relation>,
    /// In the order of their creation, which is that of their numbers, the deleted ones that are not yet confirmed too.
    pub subscriptions: Vec<Arc<Subscription>>,
    /// Tables that the config leaves without a source, or with several.
    pub misplaced: Vec<Misplaced>,
    /// Subscriptions whose secrets the config's keys do not open.
    pub sealed: Vec<Sealed>,
}

/// What `setup` recorded about a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRecord {
    /// Its name in the config.
    pub name: String,
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// The publication's OID: one that was dropped and made again has another.
    pub publication_oid: u32,
    /// Names the cluster for ever.
    pub system_identifier: u64,
}

/// Whose data it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Organization {
    /// Its name for scripts.
    pub key: String,
    /// Its name for people.
    pub name: String,
    /// Where its tables are, unless an integration says otherwise.
    pub schema: String,
}

/// One replicated table of one organization.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Integration {
    /// `svi_…`
    pub opaque_id: String,
    /// The organization's key.
    pub organization: String,
    /// What is replicated, e.g. `stripe_charge_v1`.
    pub service_name: String,
    /// The table's name.
    pub table_name: String,
    /// The table's schema.
    pub schema: String,
    /// The source that holds the table: as recorded, else by the organization's placement; none where that leaves it open.
    pub source: Option<String>,
}

/// Where a table is on its way into the publication and out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelationState {
    /// About to be added, or added while transactions that are older than that are still open. Entered by the upkeep.
    Publishing,
    /// Complete from here on. Entered by the upkeep when those transactions have ended.
    Published,
    /// Its integration or the table itself is gone. What the log still holds of it is passed over where it is the integration
    /// that is gone, else it is matched as before. Entered by the upkeep.
    Removed,
    /// In the publication by somebody else's hand, and of no integration. Entered by `setup`.
    Unassigned,
}

impl RelationState {
    /// Whether the table's changes are to be expected in the log.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Publishing | Self::Published)
    }
}

/// A table by its OID, so that a rename loses nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The source that holds the table.
    pub source: String,
    /// The table's OID there.
    pub oid: u32,
    /// The opaque id of its integration; none where it is unassigned.
    pub integration: Option<String>,
    /// The key of its organization.
    pub organization: Option<String>,
    /// Where it is on its way into the publication and out of it.
    pub state: RelationState,
    /// Its schema when last seen.
    pub schema_name: String,
    /// Its name when last seen.
    pub table_name: String,
    /// The column numbers of the primary key, in the key's order.
    pub primary_key: Vec<i16>,
    /// The column number of the external id; empty where there is no such key.
    pub remote_key: Vec<i16>,
    /// Transactions below this one may be missing from the publication's stream in part.
    pub publishing_xid: Option<i64>,
    /// Since when it is complete.
    pub published_at: Option<SystemTime>,
}

impl Snapshot {
    /// The integration of this opaque id.
    #[must_use]
    pub fn integration(&self, opaque_id: &str) -> Option<&Integration> {
        self.integrations.iter().find(|integration| integration.opaque_id == opaque_id)
    }

    /// The organization of this key.
    #[must_use]
    pub fn organization(&self, key: &str) -> Option<&Organization> {
        self.organizations.iter().find(|organization| organization.key == key)
    }

    /// What `setup` recorded about the source of this name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&SourceRecord> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// The live relation of this integration.
    #[must_use]
    pub fn relation_of(&self, integration: &str) -> Option<&Relation> {
        let of_it = |relation: &&Relation| relation.integration.as_deref() == Some(integration);
        self.relations.iter().filter(of_it).find(|relation| relation.state.is_live())
    }
}

/// Reads the whole catalog. `schema` holds organizations and integrations; an integration for which no source is recorded is
/// where `placement` has its organization. `keys` open the secrets.
///
/// # Errors
/// Where the database fails, the catalog is not set up, or an item is not of the form that this program writes.
pub async fn load(
    client: &Client,
    schema: &str,
    placement: &Placement,
    keys: &KeyRing,
) -> Result<Snapshot, CatalogError> {
    load_after(&Snapshot::default(), client, schema, placement, keys).await
}

/// Reads it again: what has not changed since `before` is shared with it, so that a large catalog is not in memory twice.
///
/// # Errors
/// As [`load`].
pub async fn load_after(
    before: &Snapshot,
    client: &Client,
    schema: &str,
    placement: &Placement,
    keys: &KeyRing,
) -> Result<Snapshot, CatalogError> {
    let statement = include_str!("../../sql/catalog/snapshot.sql").replace("{schema}", &escape_identifier(schema));
    let mut snapshot = Snapshot::default();
    let rows = match client.query_raw(&statement, NO_PARAMETERS).await {
        Ok(rows) => rows,
        Err(error) => return Err(rights::explain(client, schema, error.into()).await),
    };
    // One by one: all of them at once would take as much memory again as what is made of them.
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows.try_next().await? {
        let (kind, item): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        snapshot.take_in(kind, item, keys, before).map_err(|source| unreadable(kind, source))?;
    }
    snapshot.subscriptions.shrink_to_fit();
    snapshot.place(placement);
    Ok(snapshot)
}

const NO_PARAMETERS: [&(dyn ToSql + Sync); 0] = [];

fn unreadable(kind: &str, source: Unreadable) -> CatalogError {
    CatalogError::Unreadable { kind: kind.to_owned(), source }
}

impl Snapshot {
    fn take_in(&mut self, kind: &str, item: &str, keys: &KeyRing, before: &Self) -> Result<(), Unreadable> {
        match kind {
            "revision" => self.revision = read::<RevisionItem>(item)?.value,
            "source" => self.sources.push(read::<SourceItem>(item)?.try_into()?),
            "organization" => self.organizations.push(read(item)?),
            "integration" => self.integrations.push(read(item)?),
            "relation" => self.relations.push(read::<RelationItem>(item)?.into()),
            "subscription" => self.take_subscription(read(item)?, keys, before)?,
            _ => return Err("an item of unknown kind".into()),
        }
        Ok(())
    }

    fn take_subscription(&mut self, item: SubscriptionItem, keys: &KeyRing, before: &Self) -> Result<(), Unreadable> {
        let (subscription, sealed) = item.open(keys)?;
        let id = subscription.opaque_id;
        let counts = subscription.state != SubscriptionState::Deleted;
        self.sealed.extend(sealed.filter(|_| counts).map(|reason| Sealed { subscription: id, reason }));
        let unchanged = before.subscription(subscription.id).filter(|known| ***known == subscription);
        self.subscriptions.push(unchanged.cloned().unwrap_or_else(|| Arc::new(subscription)));
        Ok(())
    }

    fn subscription(&self, id: i64) -> Option<&Arc<Subscription>> {
        let place = self.subscriptions.binary_search_by_key(&id, |subscription| subscription.id).ok()?;
        self.subscriptions.get(place)
    }
}

fn read<T: DeserializeOwned>(item: &str) -> Result<T, Unreadable> {
    // An error may quote a value of the wrong type; a secret is a string, and any string is of the right type for it.
    serde_json::from_str(item).map_err(Into::into)
}

/// The integrations' tables in a database where WebhookDB is, but `setup` has not been run yet: the key of the organization,
/// schema and name.
///
/// # Errors
/// Where the database fails, or there are no integrations' tables either.
pub async fn tables_before_setup(client: &Client, schema: &str) -> Result<Vec<[String; 3]>, CatalogError> {
    let statement = include_str!("../../sql/catalog/tables_before_setup.sql");
    let rows = client.query(&statement.replace("{schema}", &escape_identifier(schema)), &[]).await?;
    rows.iter().map(|row| Ok([row.try_get(0)?, row.try_get(1)?, row.try_get(2)?])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SubscriptionId;

    const ITEM: &str = r#"{"id": 7, "opaque_id": "sub_ID", "organization": "acme", "integration": null, "url": "https://a.example/",
        "secret": "s3cret", "secret_encrypted": false, "state": "active", "nonce": "n", "created_at": 1,
        "starts": {"one": "0/1", "two": null, "three": "0/3"}}"#;

    fn loaded(item: &str, before: &Snapshot) -> Snapshot {
        let id = SubscriptionId::random().to_string();
        let known = before.subscriptions.first().map_or(id, |known| known.opaque_id.to_string());
        let mut snapshot = Snapshot::default();
        let item = item.replace("sub_ID", &known);
        snapshot.take_in("subscription", &item, &KeyRing::default(), before).expect("it is read");
        snapshot
    }

    #[test]
    fn what_has_not_changed_is_shared_with_the_catalog_as_it_was() {
        let before = loaded(ITEM, &Snapshot::default());
        for _ in 0..20 {
            let again = loaded(ITEM, &before);
            assert!(Arc::ptr_eq(&again.subscriptions[0], &before.subscriptions[0]));
        }
        let paused = loaded(&ITEM.replace("active", "paused"), &before);
        assert_eq!(paused.subscriptions[0].state, SubscriptionState::Paused);
    }
}
