//! What the upkeep of the publication tells.

use std::fmt;

use super::SetupError;
use super::identity::Hazard;

/// Something that the upkeep did, found, or could not do.
#[derive(Debug)]
pub enum UpkeepNote {
    /// The table is in the publication now.
    Published {
        /// The integration's opaque id.
        integration: String,
        /// `schema.name`.
        table: String,
    },
    /// Every transaction that was open when the table was published has ended.
    Complete {
        /// `schema.name`.
        table: String,
    },
    /// The table was dropped and made again: the new one is published anew.
    Recreated {
        /// `schema.name`.
        table: String,
    },
    /// The table has become a partition of the one that bears its name now, which is published in its stead.
    Partitioned {
        /// `schema.name` of the partition now.
        partition: String,
        /// `schema.name` of the whole.
        table: String,
    },
    /// The replica identity of the table, or of a partition of it, is again as it is to be.
    IdentitySet {
        /// `schema.name`.
        table: String,
    },
    /// The integration, or its table, is gone.
    Removed {
        /// `schema.name` when last seen.
        table: String,
    },
    /// The table has another name now.
    Renamed {
        /// `schema.name` when last seen.
        from: String,
        /// `schema.name` now.
        to: String,
    },
    /// The table does not exist yet.
    Missing {
        /// The integration's opaque id.
        integration: String,
        /// `schema.name`.
        table: String,
    },
    /// Somebody had taken the table out of the publication: what changed in between is lost.
    PutBack {
        /// `schema.name`.
        table: String,
    },
    /// The table could not be published.
    Failed {
        /// The integration's opaque id.
        integration: String,
        /// Why.
        error: SetupError,
    },
    /// Something that works, but not as well as it could.
    Hazard(Hazard),
}

impl fmt::Display for UpkeepNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published { integration, table } => write!(f, "table {table} of {integration} is published"),
            Self::Complete { table } => write!(f, "table {table} is complete from here on"),
            Self::Recreated { table } => {
                write!(f, "table {table} was dropped and made again: it is published anew, from here on")
            }
            Self::Partitioned { partition, table } => {
                write!(f, "table {partition} is a partition of {table} now, which is published in its stead")
            }
            Self::IdentitySet { table } => write!(f, "the replica identity of table {table} is set again"),
            Self::Removed { table } => write!(f, "table {table} is no longer published"),
            Self::Renamed { from, to } => write!(f, "table {from} is now {to}"),
            Self::Missing { integration, table } => write!(f, "table {table} of {integration} does not exist yet"),
            Self::PutBack { table } => {
                write!(f, "table {table} had been taken out of the publication; its changes in between are lost")
            }
            Self::Failed { integration, .. } => write!(f, "the table of {integration} can't be published"),
            Self::Hazard(hazard) => f.write_str(&hazard.what),
        }
    }
}
