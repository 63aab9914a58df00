//! What `to_jsonb` said of each row version inside the transaction that wrote it, compared with what was delivered.

use std::sync::Arc;

use super::{Received, TestDatabase};

/// Records every row version of this table from now on; `oracle` is the table that it goes to.
pub(crate) async fn record(database: &TestDatabase, table: &str) {
    if !database.is_true("SELECT to_regclass('public.oracle') IS NOT NULL").await {
        database.execute(include_str!("../fixtures/oracle.sql")).await;
    }
    let events = "AFTER INSERT OR UPDATE OR DELETE";
    let trigger = format!("CREATE TRIGGER oracle {events} ON {table} FOR EACH ROW EXECUTE FUNCTION consult_oracle()");
    database.execute(&trigger).await;
}

/// How much of the row before its change is to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    /// All of it, as under REPLICA IDENTITY FULL.
    Whole,
    /// Whatever there is of it has to be right.
    InPart,
}

/// In what the delivered changes differ from those that were recorded; nothing where they agree. Neither may have a change
/// that the other has not.
pub(crate) async fn differences(database: &TestDatabase, requests: &[Arc<Received>], old: Old) -> Vec<String> {
    let bodies: Vec<&str> = requests.iter().map(|request| std::str::from_utf8(&request.body).expect("UTF-8")).collect();
    // With numbers of any size it is the server that has to compare.
    let sql = include_str!("../fixtures/oracle_differences.sql");
    let rows = database.query(sql, &[&bodies, &(old == Old::Whole)]).await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Panics where [`differences`] finds any.
pub(crate) async fn assert_agrees(database: &TestDatabase, requests: &[Arc<Received>], old: Old) {
    let recorded = database.query("SELECT count(*) FROM public.oracle", &[]).await[0].get::<_, i64>(0);
    assert_eq!(
        recorded,
        i64::try_from(requests.len()).expect("a number of requests"),
        "changes recorded, and delivered"
    );
    let differences = differences(database, requests, old).await;
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}
