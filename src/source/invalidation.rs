//! Why a server gives a slot up: each version knows some of the reasons, and each has a remedy of its own.

use std::fmt;

/// Why the server has given a slot up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// Its log was removed: it held back more than `max_slot_wal_keep_size`.
    WalRemoved,
    /// On a standby, as version 16 tells it: either of the next two.
    Conflict,
    /// On a standby: the primary removed catalog rows that the slot needs.
    RowsRemoved,
    /// On a standby: `wal_level` was lowered on the primary. (A primary with a logical slot does not start then.)
    WalLevelInsufficient,
    /// Nobody read from it for `idle_replication_slot_timeout` (18).
    IdleTimeout,
    /// A reason that this program does not know.
    Other(String),
}

impl Invalidation {
    /// By the columns of `pg_replication_slots`: `invalidation_reason` is there from 17 on, `conflicting` from 16 on.
    pub(super) fn from_columns(lost: bool, reason: Option<&str>, conflicting: bool, has_log: bool) -> Option<Self> {
        match reason {
            Some("wal_removed") => Some(Self::WalRemoved),
            Some("rows_removed") => Some(Self::RowsRemoved),
            Some("wal_level_insufficient") => Some(Self::WalLevelInsufficient),
            Some("idle_timeout") => Some(Self::IdleTimeout),
            Some(other) => Some(Self::Other(other.to_owned())),
            // Version 16 calls everything a conflict; only a slot whose log was removed has no restart_lsn any more.
            None if conflicting && has_log => Some(Self::Conflict),
            None => lost.then_some(Self::WalRemoved),
        }
    }

    /// As metrics name it.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::WalRemoved => "slot_wal_removed",
            Self::Conflict => "slot_conflict",
            Self::RowsRemoved => "slot_rows_removed",
            Self::WalLevelInsufficient => "slot_wal_level_insufficient",
            Self::IdleTimeout => "slot_idle_timeout",
            Self::Other(_) => "slot_invalidated",
        }
    }

    /// The way past it, and what prevents the next one.
    #[must_use]
    pub fn hint(&self) -> String {
        let prevention = match self {
            Self::WalRemoved => "raise max_slot_wal_keep_size, and watch how much log the slot has left",
            Self::IdleTimeout => "raise idle_replication_slot_timeout, and keep the daemon running",
            Self::Conflict | Self::RowsRemoved => {
                "set hot_standby_feedback = on and a primary_slot_name on the standby, and wal_level = logical on the primary"
            }
            Self::WalLevelInsufficient => "set wal_level = logical on the primary again, and restart it",
            Self::Other(_) => "see the server's log",
        };
        format!(
            "changes are lost: run `webhookdb setup --accept-gap`, which records the gap and makes a new slot. Against the \
             next time: {prevention}"
        )
    }
}

impl fmt::Display for Invalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WalRemoved => "it held back more log than max_slot_wal_keep_size allows, and the log was removed",
            Self::Conflict => {
                "it conflicted with what the standby had to replay: catalog rows that it needs were removed by the primary, \
                 or wal_level was lowered there"
            }
            Self::RowsRemoved => "catalog rows that it needs were removed by the primary",
            Self::WalLevelInsufficient => "wal_level was lowered on the primary",
            Self::IdleTimeout => "it was idle for longer than idle_replication_slot_timeout",
            Self::Other(reason) => reason,
        })
    }
}
