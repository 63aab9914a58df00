//! The tables of the load, and what the checker knows of each.

use super::load::Keyspace;
use crate::support::fixtures::{self, Table};

pub(super) const CHARGES: usize = 0;
pub(super) const CUSTOMERS: usize = 1;
pub(super) const EVENTS: usize = 2;
pub(super) const MESSAGES: usize = 3;
pub(super) const NOTES: usize = 4;
pub(super) const LINES: usize = 5;

/// A table, how its rows are told apart, and how it is written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relation {
    pub(super) table: Table,
    /// The external id; none where rows cannot be told apart.
    pub(super) remote_key: Option<&'static str>,
    pub(super) primary_key: &'static [&'static str],
    /// Under REPLICA IDENTITY FULL, so that a change shows the old primary key too.
    pub(super) full: bool,
    pub(super) keys: Keyspace,
}

/// Without a primary key.
const NOTES_TABLE: Table = Table {
    service: "torture_note_v1",
    name: "torture_note_v1_0001",
    remote_key: "note_id",
    create: "CREATE TABLE torture_note_v1_0001 (note_id text UNIQUE NOT NULL, amount bigint, data jsonb NOT NULL)",
};

/// Without any key: its changes keep the order of the whole table.
const LINES_TABLE: Table = Table {
    service: "torture_line_v1",
    name: "torture_line_v1_0002",
    remote_key: "",
    create: "CREATE TABLE torture_line_v1_0002 (line text, amount bigint, data jsonb NOT NULL)",
};

/// By the places above.
pub(super) const ALL: [Relation; 6] = [
    Relation {
        table: fixtures::CHARGES,
        remote_key: Some("stripe_id"),
        primary_key: &["pk"],
        full: false,
        keys: Keyspace::Shared(150),
    },
    Relation {
        table: fixtures::CUSTOMERS,
        remote_key: Some("stripe_id"),
        primary_key: &["pk"],
        full: true,
        keys: Keyspace::Shared(80),
    },
    // Two rows in two partitions may have one external id: only one writer's statements are in order there.
    Relation {
        table: fixtures::EVENTS,
        remote_key: Some("compound_identity"),
        primary_key: &["calendar_external_hash", "pk"],
        full: false,
        keys: Keyspace::PerWriter(40),
    },
    Relation {
        table: fixtures::MESSAGES,
        remote_key: Some("front_id"),
        primary_key: &["pk"],
        full: false,
        keys: Keyspace::Shared(20),
    },
    Relation {
        table: NOTES_TABLE,
        remote_key: Some("note_id"),
        primary_key: &[],
        full: false,
        keys: Keyspace::Shared(60),
    },
    // Nothing locks what has no key: only one writer's statements are in order.
    Relation { table: LINES_TABLE, remote_key: None, primary_key: &[], full: true, keys: Keyspace::FirstWriterOnly },
];

/// Records every committed change, in the transaction that makes it. Unpublished.
pub(super) const HISTORY: &str = include_str!("../fixtures/torture_history.sql");

/// The trigger on one table.
pub(super) fn recorded(table: &Table) -> String {
    let name = table.name;
    format!(
        "CREATE TRIGGER torture_rows AFTER INSERT OR UPDATE OR DELETE ON {name}
             FOR EACH ROW EXECUTE FUNCTION torture.record('{name}');
         CREATE TRIGGER torture_truncates AFTER TRUNCATE ON {name}
             FOR EACH STATEMENT EXECUTE FUNCTION torture.record('{name}')"
    )
}
