//! Tables of which a DELETE cannot tell its subscribers which row it was.

use tokio_postgres::Client;

use super::identity::{Hazard, key_index};
use crate::postgres::PostgresError;
use crate::source::alteration::{Alterations, NewIdentity, qualified};
use crate::source::table::{self, Identity, Table};

/// What there is to warn about these tables, as they are now; those that are gone are passed over.
///
/// # Errors
/// Where the database fails.
pub async fn delete_hazards(source: &Client, oids: &[u32]) -> Result<Vec<Hazard>, PostgresError> {
    let mut hazards = Vec::new();
    for root in table::tables(source, oids).await? {
        let leaves = if root.leaves.is_empty() { Vec::new() } else { table::tables(source, &root.leaves).await? };
        hazards.extend(delete_hazard(&root, &leaves));
    }
    Ok(hazards)
}

/// What there is to warn about a table and its partitions, under the identities that they have.
pub(super) fn delete_hazard(root: &Table, leaves: &[Table]) -> Option<Hazard> {
    let external_id = external_id(root);
    let mut tables = std::iter::once(root).chain(leaves);
    keyless_hazard(root).or_else(|| tables.find(|table| !names(table, &external_id)).map(|table| unnamed(root, table)))
}

/// Nothing tells the rows of such a table apart, whatever its identity.
pub(super) fn keyless_hazard(root: &Table) -> Option<Hazard> {
    external_id(root).is_empty().then(|| Hazard {
        what: format!(
            "table {} has neither a primary key nor a unique column that is not null: its notifications name no external id",
            root.display_name()
        ),
        remedy: format!("ALTER TABLE {} ADD PRIMARY KEY (…)", qualified(&root.schema, &root.name)),
    })
}

fn unnamed(root: &Table, table: &Table) -> Hazard {
    let identity = key_index(root, table).map_or(NewIdentity::Full, |index| NewIdentity::Index(index.name.clone()));
    let mut changes = Alterations::default();
    changes.set_identity(table.table_name(), identity);
    Hazard {
        what: format!("a DELETE in table {} does not name the row's external id", table.display_name()),
        remedy: format!(
            "set replica_identity = \"key\" or \"full\" for this source, or let its owner run: {}",
            changes.statements()
        ),
    }
}

/// The columns of the external id: the remote key, else the primary key.
fn external_id(root: &Table) -> Vec<&str> {
    root.names(&root.remote_key().map_or_else(|| root.primary_key().to_vec(), |column| vec![column]))
}

/// Whether the log of a DELETE holds these columns. Where Postgres refuses a DELETE, there is none to name anything.
fn names(table: &Table, external_id: &[&str]) -> bool {
    let logged = match table.identity {
        Identity::Full | Identity::Nothing => return true,
        _ if !table.has_usable_identity() => return true,
        Identity::Default => table.primary_key(),
        Identity::Index => table.indexes.iter().find(|index| index.identity).map_or(&[][..], |index| &index.columns),
    };
    let logged = table.names(logged);
    external_id.iter().all(|column| logged.contains(column))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::table::tests::table_of;

    fn stripe(identity: Identity) -> Table {
        let mut table = table_of(2, &[("pkey", &[1]), ("stripe_id_key", &[2])], &[]);
        table.identity = identity;
        table
    }

    fn warned(root: &Table, leaves: &[Table]) -> Option<String> {
        delete_hazard(root, leaves).map(|hazard| hazard.what + "; " + &hazard.remedy)
    }

    #[test]
    fn the_default_identity_does_not_name_a_remote_key() {
        let warning = warned(&stripe(Identity::Default), &[]).unwrap();
        assert!(warning.contains("public.t ") && warning.contains(r#"USING INDEX "stripe_id_key""#), "{warning}");
    }

    #[test]
    fn whole_rows_the_right_index_and_a_primary_key_that_is_the_external_id_do() {
        let mut by_index = stripe(Identity::Index);
        by_index.indexes[1].identity = true;
        let plain = table_of(2, &[("pkey", &[1])], &[]);
        for table in [stripe(Identity::Full), by_index, plain, stripe(Identity::Nothing)] {
            assert_eq!(warned(&table, &[]), None);
        }
    }

    #[test]
    fn another_index_does_not() {
        let mut other = table_of(3, &[("pkey", &[1]), ("key", &[2]), ("other", &[3])], &[]);
        other.identity = Identity::Index;
        other.indexes[2].identity = true;
        assert!(warned(&other, &[]).is_some());
    }

    #[test]
    fn each_partition_counts_by_itself() {
        let mut leaf = stripe(Identity::Default);
        leaf.name = "t_0".to_owned();
        assert!(warned(&stripe(Identity::Full), &[leaf]).unwrap().contains("public.t_0 "));
    }

    #[test]
    fn a_table_without_any_key_has_no_external_id_at_all() {
        let mut keyless = table_of(2, &[], &[]);
        keyless.identity = Identity::Full;
        assert!(warned(&keyless, &[]).unwrap().contains("no external id"));
    }
}
