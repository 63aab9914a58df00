//! Which replica identity a table gets: never one with which the application's own UPDATE or DELETE would fail.

use super::deletes::{delete_hazard, keyless_hazard};
use crate::config::ReplicaIdentity;
use crate::source::table::{Identity, Table, UniqueIndex};
use crate::source::{Alterations, NewIdentity};

/// What is to be done to a table and its partitions before it is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IdentityPlan {
    /// What is to be set.
    pub(super) changes: Alterations,
    /// What each altered table had before.
    pub(super) before: Vec<Altered>,
    /// What the operator should know.
    pub(super) hazards: Vec<Hazard>,
}

/// A table whose replica identity is set by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Altered {
    /// The table, or one of its partitions.
    pub(super) oid: u32,
    /// `schema.name`, for people.
    pub(super) name: String,
    /// Its replica identity until now.
    pub(super) before: NewIdentity,
}

/// Something that works, but not as well as it could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hazard {
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// Why a table can't be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpublishable {
    /// A view, a foreign table, and the like.
    #[error("it is not a table")]
    NotATable,
    /// The write-ahead log has nothing of it.
    #[error("it is unlogged or temporary")]
    NotLogged,
    /// Postgres refuses an UPDATE or DELETE of a published table that can't say which row it was.
    #[error("it has no usable replica identity, and once it is published its own UPDATE and DELETE would fail")]
    NoIdentity,
}

impl Unpublishable {
    /// What the operator should do.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NotATable => "name the table that holds the rows",
            Self::NotLogged => "ALTER TABLE … SET LOGGED",
            Self::NoIdentity => {
                "give the table a primary key or a replica identity of its own, or set replica_identity to \"key\" or \"full\" \
                 instead of \"keep\""
            }
        }
    }
}

/// Plans the identity of a table and of each of its partitions, since it does not recurse by itself.
///
/// # Errors
/// Where the table can't be published at all, or not without breaking it.
pub(super) fn plan(policy: ReplicaIdentity, root: &Table, leaves: &[Table]) -> Result<IdentityPlan, Unpublishable> {
    if !root.is_table() {
        return Err(Unpublishable::NotATable);
    }
    let hazards = several_keys(root).into_iter().chain(partitions_without_identity(root)).collect();
    let mut plan = IdentityPlan { hazards, ..IdentityPlan::default() };
    // What any other policy finds, it mends.
    let hazard = if policy == ReplicaIdentity::Keep { delete_hazard(root, leaves) } else { keyless_hazard(root) };
    plan.hazards.extend(hazard);
    for table in std::iter::once(root).chain(leaves) {
        if !table.is_logged() {
            return Err(Unpublishable::NotLogged);
        }
        match wanted(policy, root, table) {
            Some(identity) => plan.set(table, identity),
            None if table.has_usable_identity() => {}
            None => return Err(Unpublishable::NoIdentity),
        }
    }
    Ok(plan)
}

impl IdentityPlan {
    fn set(&mut self, table: &Table, identity: NewIdentity) {
        self.changes.set_identity(table.table_name(), identity);
        self.before.push(Altered { oid: table.oid, name: table.display_name(), before: current(table) });
    }
}

/// The identity that the table is to get, where it has another.
fn wanted(policy: ReplicaIdentity, root: &Table, table: &Table) -> Option<NewIdentity> {
    match policy {
        ReplicaIdentity::Keep => None,
        // Under FULL its own UPDATE and DELETE would fail.
        _ if table.virtual_columns => wanted_key(root, table).filter(|identity| *identity != NewIdentity::Full),
        ReplicaIdentity::Full => (table.identity != Identity::Full).then_some(NewIdentity::Full),
        // Whoever chose FULL wants whole old rows, and these name the external id too.
        ReplicaIdentity::Key if table.identity == Identity::Full => None,
        ReplicaIdentity::Key => wanted_key(root, table),
    }
}

fn wanted_key(root: &Table, table: &Table) -> Option<NewIdentity> {
    match key_index(root, table) {
        Some(index) if index.identity && table.identity == Identity::Index => None,
        Some(index) => Some(NewIdentity::Index(index.name.clone())),
        None if table.has_usable_identity() => None,
        None if table.primary_key().is_empty() => Some(NewIdentity::Full),
        None => Some(NewIdentity::Default),
    }
}

/// The index of the root's remote key in `table`, which may be a partition with an order of columns of its own.
pub(super) fn key_index<'a>(root: &Table, table: &'a Table) -> Option<&'a UniqueIndex> {
    let candidates = root.remote_key_indexes();
    let (_, key) = candidates.first()?;
    let wanted = sorted(root.names(&key.columns));
    let fits = |index: &&UniqueIndex| table.is_not_null(index) && sorted(table.names(&index.columns)) == wanted;
    let mut fitting = table.indexes.iter().filter(fits);
    // One that is the identity already is as good as any.
    fitting.clone().find(|index| index.identity).or_else(|| fitting.next())
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}

/// The identity that the table has, in the words that would set it again.
fn current(table: &Table) -> NewIdentity {
    match table.identity {
        Identity::Full => NewIdentity::Full,
        Identity::Nothing => NewIdentity::Nothing,
        Identity::Default => NewIdentity::Default,
        Identity::Index => match table.indexes.iter().find(|index| index.identity) {
            Some(index) => NewIdentity::Index(index.name.clone()),
            None => NewIdentity::Default,
        },
    }
}

fn several_keys(root: &Table) -> Option<Hazard> {
    let keys: Vec<i16> = root.remote_key_indexes().iter().map(|(column, _)| *column).collect();
    let names = root.names(&keys);
    (keys.len() > 1).then(|| Hazard {
        what: format!(
            "table {} has several keys beside its primary key ({}); {} is taken as the external id",
            root.display_name(),
            names.join(", "),
            names.first().copied().unwrap_or_default()
        ),
        remedy: "drop the unique constraints that are not needed, if that is not the one".to_owned(),
    })
}

fn partitions_without_identity(root: &Table) -> Option<Hazard> {
    (!root.partition_key.is_empty() && root.primary_key().is_empty()).then(|| Hazard {
        what: format!(
            "table {} is partitioned and has no primary key: UPDATE and DELETE fail in a partition that is added, until \
             the daemon has set its replica identity, within seconds",
            root.display_name()
        ),
        remedy: "give the table a primary key, which every new partition has from the beginning".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::table::tests::table_of;

    fn stripe() -> Table {
        table_of(2, &[("pkey", &[1]), ("stripe_id_key", &[2])], &[])
    }

    fn statements(policy: ReplicaIdentity, table: &Table) -> Result<String, Unpublishable> {
        Ok(plan(policy, table, &[])?.changes.statements())
    }

    fn set(identity: &str) -> Result<String, Unpublishable> {
        Ok(format!(r#"ALTER TABLE ONLY "public"."t" REPLICA IDENTITY {identity}"#))
    }

    fn nothing() -> Result<String, Unpublishable> {
        Ok(String::new())
    }

    #[test]
    fn each_policy_does_what_it_says() {
        assert_eq!(statements(ReplicaIdentity::Key, &stripe()), set(r#"USING INDEX "stripe_id_key""#));
        assert_eq!(statements(ReplicaIdentity::Full, &stripe()), set("FULL"));
        assert_eq!(statements(ReplicaIdentity::Keep, &stripe()), nothing());
    }

    #[test]
    fn what_is_so_already_is_left_alone() {
        let mut by_index = stripe();
        by_index.identity = Identity::Index;
        by_index.indexes[1].identity = true;
        assert_eq!(statements(ReplicaIdentity::Key, &by_index), nothing());
        let mut full = stripe();
        full.identity = Identity::Full;
        assert_eq!(statements(ReplicaIdentity::Full, &full), nothing());
        assert_eq!(statements(ReplicaIdentity::Key, &full), nothing());
    }

    #[test]
    fn an_index_that_vanished_is_replaced() {
        let mut table = stripe();
        table.identity = Identity::Index;
        assert_eq!(statements(ReplicaIdentity::Key, &table), set(r#"USING INDEX "stripe_id_key""#));
    }

    #[test]
    fn no_table_is_published_whose_own_update_would_fail() {
        let keyless = table_of(2, &[], &[]);
        assert_eq!(statements(ReplicaIdentity::Key, &keyless), set("FULL"));
        assert_eq!(statements(ReplicaIdentity::Keep, &keyless), Err(Unpublishable::NoIdentity));
        let mut nothing = table_of(2, &[("pkey", &[1])], &[]);
        nothing.identity = Identity::Nothing;
        assert_eq!(statements(ReplicaIdentity::Key, &nothing), set("DEFAULT"));
        assert_eq!(statements(ReplicaIdentity::Keep, &nothing), Err(Unpublishable::NoIdentity));
    }

    #[test]
    fn a_table_with_virtual_columns_never_gets_whole_rows() {
        let with_virtual = |mut table: Table| {
            table.virtual_columns = true;
            table.identity = Identity::Full;
            table
        };
        for policy in [ReplicaIdentity::Key, ReplicaIdentity::Full] {
            assert_eq!(statements(policy, &with_virtual(stripe())), set(r#"USING INDEX "stripe_id_key""#));
            assert_eq!(statements(policy, &with_virtual(table_of(2, &[("pkey", &[1])], &[]))), set("DEFAULT"));
            assert_eq!(statements(policy, &with_virtual(table_of(2, &[], &[]))), Err(Unpublishable::NoIdentity));
        }
    }

    #[test]
    fn without_a_remote_key_the_primary_key_is_left_as_it_is() {
        assert_eq!(statements(ReplicaIdentity::Key, &table_of(2, &[("pkey", &[1])], &[])), nothing());
    }

    #[test]
    fn every_partition_gets_its_own_index_of_the_key() {
        let root = table_of(3, &[("pkey", &[1, 2]), ("root_key", &[1, 3])], &[1]);
        let mut leaf = table_of(3, &[("pkey", &[3, 2]), ("leaf_key", &[1, 3])], &[]);
        leaf.name = "t_0".to_owned();
        // The leaf has the root's columns in another order.
        leaf.columns[0].name = "c".to_owned();
        leaf.columns[2].name = "a".to_owned();
        let plan = plan(ReplicaIdentity::Key, &root, &[leaf]).unwrap();
        assert_eq!(
            plan.changes.statements(),
            r#"ALTER TABLE ONLY "public"."t" REPLICA IDENTITY USING INDEX "root_key"; ALTER TABLE ONLY "public"."t_0" REPLICA IDENTITY USING INDEX "leaf_key""#
        );
        assert_eq!(plan.before.len(), 2);
    }

    #[test]
    fn several_keys_and_deletes_without_an_external_id_are_hazards() {
        let several = table_of(3, &[("pkey", &[1]), ("late", &[3]), ("early", &[2])], &[]);
        let hazards = plan(ReplicaIdentity::Key, &several, &[]).unwrap().hazards;
        assert!(hazards[0].what.contains("(b, c); b is taken"), "{hazards:?}");
        assert_eq!(plan(ReplicaIdentity::Keep, &stripe(), &[]).unwrap().hazards.len(), 1);
        let keyless = table_of(2, &[], &[1]);
        let hazards = plan(ReplicaIdentity::Key, &keyless, &[]).unwrap().hazards;
        assert!(hazards[0].remedy.contains("primary key"), "{hazards:?}");
        assert_eq!(plan(ReplicaIdentity::Key, &stripe(), &[]).unwrap().hazards, []);
    }
}
