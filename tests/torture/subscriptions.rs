//! Subscriptions, made and deleted by the command line, and what each was promised.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::faults::note;
use super::plan::{Guest, PERMANENT, Scope};
use super::tables::ALL;
use super::world::World;
use crate::support::receiver::SECRET;
use crate::support::site::ORGANIZATION;

/// A command that failed since a server was away is run again after this.
const AGAIN: Duration = Duration::from_millis(500);

/// What the program says of an id that is not there.
const NO_SUCH: &str = "there is no notification";

/// What a subscription was promised.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub(super) endpoint: usize,
    /// Its opaque id, where one is known.
    pub(super) id: Option<String>,
    /// Nothing that was committed before this position.
    pub(super) from: u64,
    /// Everything that was committed at or after this one; none where `create` failed.
    pub(super) complete_from: Option<u64>,
    /// When its deletion was asked for, and when the command said that it is done.
    pub(super) deletion: Option<(Instant, Instant)>,
}

impl Promise {
    fn to(endpoint: usize, from: u64) -> Self {
        Self { endpoint, id: None, from, complete_from: None, deletion: None }
    }
}

/// Those that are there from the beginning. No fault has come yet.
pub(super) async fn permanent(world: &World) -> Vec<Promise> {
    let mut promises = Vec::new();
    for (endpoint, scope) in PERMANENT.iter().enumerate() {
        let promise = create(world, endpoint, *scope).await;
        assert!(promise.complete_from.is_some(), "nothing was in the way");
        promises.push(promise);
    }
    promises
}

/// One guest's whole stay.
pub(super) async fn stay(world: Arc<World>, number: usize, guest: Guest, began: Instant) -> Promise {
    tokio::time::sleep_until((began + guest.comes).into()).await;
    let mut promise = create(&world, PERMANENT.len() + number, guest.scope).await;
    if let (Some(goes), Some(id)) = (guest.goes, promise.id.clone()) {
        tokio::time::sleep_until((began + goes).into()).await;
        promise.deletion = Some(delete(&world, &id).await);
    }
    promise
}

async fn create(world: &World, endpoint: usize, scope: Scope) -> Promise {
    let mut promise = Promise::to(endpoint, world.end_of_log().await);
    let url = world.endpoints.url(endpoint);
    let scope = match scope {
        Scope::Organization => format!("--org={ORGANIZATION}"),
        Scope::Integration(table) => format!("--integration={}", ALL[table].table.service),
    };
    let mut command = vec!["notification", "create", &scope, "--secret", SECRET, "--url", &url];
    let batch = world.plan.batch(endpoint).map(|size| size.to_string());
    if let Some(size) = &batch {
        command.extend(["--batch", size, "--linger", "20ms"]);
    }
    let (status, _, stderr) = world.command(&command).await;
    if status == 0 {
        promise.complete_from = Some(world.end_of_log().await);
        world.notes().counts.created += 1;
    } else {
        note(world, &format!("the subscription of endpoint {endpoint} was not created: {stderr}"));
        world.notes().counts.not_created += 1;
    }
    promise.id = find(world, &url).await;
    note(world, &format!("endpoint {endpoint} is {:?} from {:X?}", promise.id, promise.complete_from));
    if status == 0 && promise.id.is_none() {
        world.wrong(format!("the subscription of endpoint {endpoint} was created and is not listed"));
    }
    promise
}

/// The id of the subscription to this URL, if there is one.
async fn find(world: &World, url: &str) -> Option<String> {
    loop {
        let (status, stdout, _) = world.command(&["notification", "list", "--format", "json"]).await;
        if status == 0 {
            let list: Value = serde_json::from_str(&stdout).expect("JSON");
            let item = list.as_array().expect("a list").iter().find(|item| item["deliver_to_url"] == url);
            return item.map(|item| item["opaque_id"].as_str().expect("an id").to_owned());
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Until the command says that it is done.
async fn delete(world: &World, id: &str) -> (Instant, Instant) {
    let asked = Instant::now();
    loop {
        let (status, _, stderr) = world.command(&["notification", "delete", id]).await;
        let now = Instant::now();
        // The command may have done its work and broken off before it could say so.
        if status == 0 || stderr.contains(NO_SUCH) {
            world.notes().counts.deleted += 1;
            note(world, &format!("subscription {id} is deleted"));
            return (asked, now);
        }
        note(world, &format!("subscription {id} is not deleted: {stderr}"));
        tokio::time::sleep(AGAIN).await;
    }
}
