//! Signing secrets as they are stored: replaced by a new one, encrypted anew, forgotten when nothing is signed with them any
//! more.

use std::time::{Duration, SystemTime};

use tokio_postgres::Client;

use super::{CatalogError, Snapshot, revision};
use crate::model::{ParseSubscriptionIdError, Secret, SubscriptionId};
use crate::seal::{KeyRing, SealError, StoredSecret};

/// Secrets that are encrypted anew in one statement.
const AT_ONCE: usize = 1_000;

/// The tables that hold secrets, by their place in `secrets.sql`.
const TABLES: [&str; 2] = ["notifications.subscriptions", "notifications.previous_secrets"];

/// A subscription whose secrets can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its name for users and scripts.
    pub subscription: SubscriptionId,
    /// Why.
    pub reason: SealError,
}

/// A secret was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// What every live daemon must have loaded before the new secret counts.
    pub revision: i64,
    /// Until when those before it are good, by the database's clock.
    pub until: SystemTime,
}

impl Snapshot {
    /// Nothing, where every secret can be read.
    ///
    /// # Errors
    /// Where the config has not the keys for it.
    pub fn check_secrets(&self) -> Result<(), CatalogError> {
        refuse(&self.sealed)
    }

    /// Nothing, where the secrets of this subscription can be read.
    ///
    /// # Errors
    /// Where the config has not the keys for it.
    pub fn check_secrets_of(&self, id: SubscriptionId) -> Result<(), CatalogError> {
        let own = self.sealed.iter().filter(|sealed| sealed.subscription == id);
        refuse(&own.cloned().collect::<Vec<_>>())
    }

    /// Nothing, where a secret may be stored by these keys. Without the key of the others, or by another one of its number, it
    /// would be one that the daemon can't read, or that is not encrypted although the others are.
    ///
    /// # Errors
    /// Where the config's key is missing, or another one than that of the secrets that are there.
    pub fn check_current_key(&self, keys: &KeyRing) -> Result<(), CatalogError> {
        let current = keys.current_id();
        let is_odd = |sealed: &&Sealed| match sealed.reason {
            SealError::NoKey { .. } => true,
            SealError::WrongKey { key_id } => Some(key_id) == current,
            _ => false,
        };
        refuse(&self.sealed.iter().filter(is_odd).cloned().collect::<Vec<_>>())
    }
}

fn refuse(sealed: &[Sealed]) -> Result<(), CatalogError> {
    let Some(first) = sealed.first() else { return Ok(()) };
    let subscriptions = sealed.iter().map(|sealed| sealed.subscription.to_string()).collect();
    Err(CatalogError::Sealed { subscriptions, source: first.reason.clone() })
}

/// Gives a subscription a new secret; those before it are good for `grace` yet, at most. None where there is no such
/// subscription, or it is deleted.
///
/// # Errors
/// Where the database fails.
pub async fn rotate(
    client: &Client,
    id: SubscriptionId,
    new: &StoredSecret,
    grace: Duration,
) -> Result<Option<Rotated>, CatalogError> {
    let statement = include_str!("../../sql/catalog/rotate_secret.sql");
    let (id, grace) = (id.to_string(), grace.as_secs_f64());
    let rows = revision::write(client, statement, &[&id, &new.text.expose(), &new.is_encrypted, &grace]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Rotated { revision: row.try_get("revision")?, until: row.try_get("until")? }))
}

/// A secret, and where it is stored.
struct Placed {
    place: usize,
    id: i64,
    subscription: SubscriptionId,
    stored: StoredSecret,
}

/// Nothing, where every secret can be read by these keys.
///
/// # Errors
/// Where one can't, or the database fails.
pub async fn check(client: &Client, keys: &KeyRing) -> Result<(), CatalogError> {
    open(&read(client).await?, keys).map(|_| ())
}

/// Stores every secret as one would be that is stored now: encrypted, by the current key. Returns how many were not, and the
/// revision of the catalog that has them, where there were any.
///
/// # Errors
/// Where a secret can't be read by these keys (nothing is changed then), or the database fails.
pub async fn encrypt_anew(client: &Client, keys: &KeyRing) -> Result<(usize, Option<i64>), CatalogError> {
    let placed = read(client).await?;
    let opened = open(&placed, keys)?;
    let outdated: Vec<_> = placed.iter().zip(opened).filter(|(placed, _)| !keys.is_current(&placed.stored)).collect();
    let (mut count, mut revision) = (0, None);
    for (place, table) in TABLES.iter().enumerate() {
        let of_table: Vec<_> = outdated.iter().filter(|(placed, _)| placed.place == place).collect();
        for some in of_table.chunks(AT_ONCE) {
            let stored: Vec<StoredSecret> = some.iter().map(|(_, secret)| keys.store(secret)).collect();
            let ids: Vec<i64> = some.iter().map(|(placed, _)| placed.id).collect();
            let before: Vec<&str> = some.iter().map(|(placed, _)| placed.stored.text.expose()).collect();
            let after: Vec<&str> = stored.iter().map(|stored| stored.text.expose()).collect();
            let is_encrypted = keys.current_id().is_some();
            let statement = include_str!("../../sql/catalog/encrypt_secrets.sql").replace("{table}", table);
            let rows = revision::write(client, &statement, &[&ids, &before, &after, &is_encrypted]).await?;
            count += rows.len();
            if let Some(row) = rows.first() {
                revision = Some(row.try_get("revision")?);
            }
        }
    }
    Ok((count, revision))
}

/// Removes what nothing is signed with any more.
///
/// # Errors
/// Where the database fails.
pub async fn forget_expired(client: &Client) -> Result<(), CatalogError> {
    let statement = "written AS (DELETE FROM notifications.previous_secrets WHERE expires_at <= now() RETURNING id)";
    revision::write_one(client, statement, &[]).await?;
    Ok(())
}

async fn read(client: &Client) -> Result<Vec<Placed>, CatalogError> {
    let rows = client.query(include_str!("../../sql/catalog/secrets.sql"), &[]).await?;
    let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| CatalogError::Unreadable {
        kind: "subscription".to_owned(),
        source,
    };
    rows.iter()
        .map(|row| {
            let (place, id): (i32, &str) = (row.try_get("place")?, row.try_get("opaque_id")?);
            Ok(Placed {
                place: usize::try_from(place).unwrap_or_default(),
                id: row.try_get("id")?,
                subscription: id.parse().map_err(|error: ParseSubscriptionIdError| unreadable(error.into()))?,
                stored: StoredSecret {
                    text: Secret::new(row.try_get("secret")?),
                    is_encrypted: row.try_get("secret_encrypted")?,
                },
            })
        })
        .collect()
}

/// Every secret, or which of them can't be read.
fn open(placed: &[Placed], keys: &KeyRing) -> Result<Vec<Secret>, CatalogError> {
    let (mut opened, mut sealed) = (Vec::new(), Vec::new());
    for Placed { subscription, stored, .. } in placed {
        match keys.open(stored) {
            Ok(secret) => opened.push(secret),
            Err(reason) => sealed.push(Sealed { subscription: *subscription, reason }),
        }
    }
    sealed.dedup_by_key(|sealed| sealed.subscription);
    refuse(&sealed).map(|()| opened)
}
