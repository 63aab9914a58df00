//! The functions that `setup --admin-url` leaves behind, by which a role that owns nothing publishes tables.

use tokio_postgres::Client;

use crate::postgres::PostgresError;

/// What is left of a slot's name (of at most 63 bytes, all ASCII) where these are added.
const SCHEMA_SUFFIX: &str = "_admin";
const OWNER_SUFFIX: &str = "_publisher";
/// Postgres cuts longer names.
const NAME_BYTES_MAX: usize = 63;

/// Functions that this role may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegate {
    /// The schema that holds them.
    pub schema: String,
    /// The role by whose rights they act.
    pub owner: String,
}

/// The schema for the functions of the source with this slot: slots' names are unique on a server, and so are these.
#[must_use]
pub fn schema_name(slot: &str) -> String {
    derived(slot, SCHEMA_SUFFIX)
}

/// The role by whose rights they act, where a superuser makes them.
#[must_use]
pub fn owner_name(slot: &str) -> String {
    derived(slot, OWNER_SUFFIX)
}

fn derived(slot: &str, suffix: &str) -> String {
    format!("{:.length$}{suffix}", slot, length = NAME_BYTES_MAX - suffix.len())
}

impl Delegate {
    /// The functions of the source with this slot, where they are there and this role may call them. They act by their
    /// owner's rights, or they are not ours.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find(client: &Client, slot: &str) -> Result<Option<Self>, PostgresError> {
        let schema = schema_name(slot);
        let row = client.query_opt(include_str!("../../sql/source/delegate.sql"), &[&schema]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.map(|owner| Self { schema, owner }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_whatever_the_slot_is_called() {
        assert_eq!(schema_name("webhookdb_notifications"), "webhookdb_notifications_admin");
        assert_eq!(owner_name(&"x".repeat(63)).len(), 63);
    }
}
