//! Runs the load, whatever becomes of the server.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::load::{Work, Writer};
use super::world::World;
use crate::support::POLL;

/// A statement that waits longer for anything has met a server that is going away.
const STATEMENT: Duration = Duration::from_secs(20);

/// One writer's transactions until it is told to stop. What fails is not run again: the history tells what was
/// committed.
pub(super) async fn write(world: Arc<World>, number: usize, stop: CancellationToken) {
    let mut writer = Writer::new(world.plan.seed, number);
    let mut client = session(&world).await;
    while !stop.is_cancelled() {
        let work = writer.next();
        let outcome = tokio::time::timeout(STATEMENT, run(&client, &work)).await;
        match outcome {
            Ok(Ok(())) => world.notes().transactions += 1,
            Ok(Err(error)) if error.as_db_error().is_some() && !client.is_closed() => rollback(&client, &error).await,
            _ => client = session(&world).await,
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(work.pause) => {}
        }
    }
}

async fn session(world: &World) -> Client {
    loop {
        let client = world.source_session().await;
        // As the notifications have it.
        if client.batch_execute("SET TimeZone = 'UTC'").await.is_ok() {
            return client;
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn run(client: &Client, work: &Work) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    for statement in &work.statements {
        client.batch_execute(statement).await?;
    }
    client.batch_execute(if work.commit { "COMMIT" } else { "ROLLBACK" }).await
}

/// Deadlocks, and keys that another transaction has just made, belong to the load; mistakes of the load do not.
async fn rollback(client: &Client, error: &tokio_postgres::Error) {
    use tokio_postgres::error::SqlState;
    let expected = [
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::UNIQUE_VIOLATION,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
    ];
    let code = error.code().expect("an error of the server");
    assert!(expected.contains(code), "{error:?}");
    let _ = client.batch_execute("ROLLBACK").await;
}
