//! What the server is, what it is set to, and what room it has: what `setup` checks and `status` shows.

use std::time::Duration;

use tokio_postgres::{Client, Row};

use super::SourceError;

const FACTS: &str = include_str!("../../sql/source/server_facts.sql");

/// What the server says of itself and of the role that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// `server_version_num`: 150004 is 15.4.
    pub version_num: i32,
    /// `wal_level`; it must be `logical`.
    pub wal_level: String,
    /// `max_replication_slots`.
    pub max_replication_slots: i32,
    /// How many of these are taken.
    pub used_replication_slots: i64,
    /// `max_wal_senders`.
    pub max_wal_senders: i32,
    /// How many of these are running.
    pub used_wal_senders: i64,
    /// The database's encoding; it must be `UTF8`.
    pub server_encoding: String,
    /// `synchronous_standby_names`; `*` would take us in.
    pub synchronous_standby_names: String,
    /// `max_slot_wal_keep_size` in bytes; none without a limit.
    pub max_slot_wal_keep_size: Option<u64>,
    /// `wal_sender_timeout`; none where it is off.
    pub wal_sender_timeout: Option<Duration>,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// `hot_standby_feedback`, on a standby.
    pub hot_standby_feedback: bool,
    /// `primary_slot_name`, on a standby; empty where there is none.
    pub primary_slot_name: String,
    /// `synchronized_standby_slots` (17 and later): what is sent from a failover slot these must have first.
    pub synchronized_standby_slots: String,
    /// The database of this session.
    pub database: String,
    /// The role of this session.
    pub role: String,
    /// Whether the role has REPLICATION.
    pub may_replicate: bool,
    /// Whether the role is a superuser.
    pub superuser: bool,
    /// The system identifier, where the role may read it; else the replication connection's IDENTIFY_SYSTEM tells.
    pub system_identifier: Option<u64>,
}

impl ServerFacts {
    /// Asks the server.
    ///
    /// # Errors
    /// Where the query fails.
    pub async fn read(client: &Client) -> Result<Self, SourceError> {
        let row = client.query_one(FACTS, &[]).await?;
        Ok(Self::from_row(&row)?)
    }

    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let megabytes: i64 = row.try_get("max_slot_wal_keep_size_megabytes")?;
        let milliseconds: i64 = row.try_get("wal_sender_timeout_milliseconds")?;
        let system_identifier: Option<i64> = row.try_get("system_identifier")?;
        Ok(Self {
            version_num: row.try_get("version_num")?,
            wal_level: row.try_get("wal_level")?,
            max_replication_slots: row.try_get("max_replication_slots")?,
            used_replication_slots: row.try_get("used_replication_slots")?,
            max_wal_senders: row.try_get("max_wal_senders")?,
            used_wal_senders: row.try_get("used_wal_senders")?,
            server_encoding: row.try_get("server_encoding")?,
            synchronous_standby_names: row.try_get("synchronous_standby_names")?,
            // -1 is no limit.
            max_slot_wal_keep_size: u64::try_from(megabytes).ok().map(|megabytes| megabytes << 20),
            wal_sender_timeout: u64::try_from(milliseconds).ok().filter(|ms| *ms > 0).map(Duration::from_millis),
            in_recovery: row.try_get("in_recovery")?,
            hot_standby_feedback: row.try_get("hot_standby_feedback")?,
            primary_slot_name: row.try_get("primary_slot_name")?,
            synchronized_standby_slots: row.try_get("synchronized_standby_slots")?,
            database: row.try_get("database")?,
            role: row.try_get("role")?,
            may_replicate: row.try_get("may_replicate")?,
            superuser: row.try_get("superuser")?,
            // SQL has no unsigned integers: the same bits.
            system_identifier: system_identifier.map(i64::cast_unsigned),
        })
    }

    /// The major version: 15 for 15.4.
    #[must_use]
    pub const fn major_version(&self) -> i32 {
        self.version_num / 10_000
    }

    /// Whether there are slots that standbys get too: from 17 on, on a primary.
    #[must_use]
    pub const fn has_failover_slots(&self) -> bool {
        self.version_num >= 170_000 && !self.in_recovery
    }

    /// Whether the role may open a replication connection.
    #[must_use]
    pub const fn role_can_replicate(&self) -> bool {
        self.may_replicate || self.superuser
    }
}
