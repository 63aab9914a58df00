//! What a snapshot is read from: one item of JSON for each thing that the catalog holds, as `sql/catalog/snapshot.sql` makes them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::{Relation, RelationState, SourceRecord};
use crate::model::{Batching, Lsn, PreviousSecret, Scope, Secret, Subscription, SubscriptionId, SubscriptionState};
use crate::seal::{KeyRing, SealError, StoredSecret};

/// Why an item is not of the form that this program writes.
pub(super) type Unreadable = Box<dyn std::error::Error + Send + Sync>;

fn time_of_micros(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

#[derive(Deserialize)]
pub(super) struct RevisionItem {
    pub(super) value: i64,
}

#[derive(Deserialize)]
pub(super) struct SourceItem {
    name: String,
    slot: String,
    publication: String,
    publication_oid: u32,
    system_identifier: String,
}

impl TryFrom<SourceItem> for SourceRecord {
    type Error = Unreadable;

    fn try_from(item: SourceItem) -> Result<Self, Unreadable> {
        Ok(Self {
            name: item.name,
            slot: item.slot,
            publication: item.publication,
            publication_oid: item.publication_oid,
            system_identifier: item.system_identifier.parse()?,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct RelationItem {
    source: String,
    oid: u32,
    integration: Option<String>,
    organization: Option<String>,
    state: RelationState,
    schema_name: String,
    table_name: String,
    primary_key: Vec<i16>,
    remote_key: Vec<i16>,
    publishing_xid: Option<i64>,
    published_at: Option<i64>,
}

impl From<RelationItem> for Relation {
    fn from(item: RelationItem) -> Self {
        Self {
            source: item.source,
            oid: item.oid,
            integration: item.integration,
            organization: item.organization,
            state: item.state,
            schema_name: item.schema_name,
            table_name: item.table_name,
            primary_key: item.primary_key,
            remote_key: item.remote_key,
            publishing_xid: item.publishing_xid,
            published_at: item.published_at.map(time_of_micros),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct SubscriptionItem {
    id: i64,
    opaque_id: String,
    organization: Option<String>,
    integration: Option<String>,
    url: String,
    batch_size: Option<i32>,
    batch_linger_ms: Option<i32>,
    #[serde(flatten)]
    secret: SecretItem,
    previous_secrets: Option<Vec<PreviousSecretItem>>,
    state: String,
    nonce: String,
    created_at: i64,
    starts: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Deserialize)]
struct SecretItem {
    secret: String,
    secret_encrypted: bool,
}

#[derive(Deserialize)]
struct PreviousSecretItem {
    #[serde(flatten)]
    secret: SecretItem,
    expires_at: i64,
}

impl SecretItem {
    fn open(self, keys: &KeyRing) -> Result<Secret, SealError> {
        keys.open(&StoredSecret { text: Secret::new(self.secret), is_encrypted: self.secret_encrypted })
    }
}

impl PreviousSecretItem {
    fn open(self, keys: &KeyRing) -> Result<PreviousSecret, SealError> {
        Ok(PreviousSecret { secret: self.secret.open(keys)?, expires_at: time_of_micros(self.expires_at) })
    }
}

impl SubscriptionItem {
    /// The subscription, and why one of its secrets can't be read, where that is so.
    pub(super) fn open(self, keys: &KeyRing) -> Result<(Subscription, Option<SealError>), Unreadable> {
        let item = self;
        let scope = Scope::of(item.organization, item.integration)
            .ok_or("a subscription is of one organization or of one integration")?;
        let start =
            |(source, lsn): (String, Option<String>)| Ok((source, lsn.map(|lsn| lsn.parse::<Lsn>()).transpose()?));
        let now = SystemTime::now();
        let previous = item.previous_secrets.unwrap_or_default().into_iter().filter_map(|previous| {
            let is_over = time_of_micros(previous.expires_at) <= now;
            // Nobody needs it any more, so nobody has to have its key.
            Some(previous.open(keys)).filter(|opened| opened.is_ok() || !is_over)
        });
        let opened = item.secret.open(keys).and_then(|secret| Ok((secret, previous.collect::<Result<_, _>>()?)));
        let (secret, previous_secrets, sealed) = match opened {
            Ok((secret, previous)) => (Some(secret), previous, None),
            Err(reason) => (None, Vec::new(), Some(reason)),
        };
        let subscription = Subscription {
            id: item.id,
            opaque_id: item.opaque_id.parse::<SubscriptionId>()?,
            scope,
            url: item.url.into(),
            batching: batching(item.batch_size, item.batch_linger_ms)?,
            secret,
            previous_secrets: previous_secrets.into(),
            state: SubscriptionState::from_name(&item.state).ok_or("unknown state")?,
            nonce: item.nonce.into(),
            created_at: time_of_micros(item.created_at),
            starts: item.starts.unwrap_or_default().into_iter().map(start).collect::<Result<_, Unreadable>>()?,
        };
        Ok((subscription, sealed))
    }
}

/// As the catalog stores it.
pub(in crate::catalog) fn batching(size: Option<i32>, linger_ms: Option<i32>) -> Result<Option<Batching>, Unreadable> {
    let (Some(size), Some(linger)) = (size, linger_ms) else { return Ok(None) };
    let batching = Batching::new(size.try_into()?, Duration::from_millis(linger.try_into()?));
    batching.map(Some).ok_or_else(|| "a batch that is out of its bounds".into())
}
