//! Minutes of random load while everything that can go wrong does, and an independent judgement of what arrived.
//!
//! A run is the plan of a seed (`plan`: faults, endpoints' weather, subscriptions that come and go) and the load of the same
//! seed (`load`). The source's triggers record what was committed (`history`), the endpoints what they got and when they
//! decided (`endpoint`, `log`), `samples` how far the slot was; `checker` holds one against the other.

mod checker;
mod daemons;
mod endpoint;
mod faults;
mod history;
mod load;
mod log;
mod plan;
mod run;
mod samples;
mod subscriptions;
mod summary;
mod tables;
mod world;
mod writers;

use std::time::Duration;

use crate::support::from_environment;
use load::Writer;
use plan::Plan;

/// Of the short form: long enough for a kind of fault or two after the other, and each kind in a few runs.
const SHORT: Duration = Duration::from_secs(25);

fn seed() -> u64 {
    from_environment("TORTURE_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_repeated_or_out_of_order_whatever_happens() {
    run::run(Plan::new(seed(), SHORT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "as long as asked: `make torture MINUTES=20 SEED=1`"]
async fn for_minutes() {
    let minutes: f64 = from_environment("TORTURE_MINUTES").unwrap_or(5.0);
    run::run(Plan::new(seed(), Duration::from_secs_f64(minutes * 60.0))).await;
}

#[test]
fn a_seed_replays_its_schedule() {
    let duration = Duration::from_secs(600);
    assert_eq!(Plan::new(1, duration), Plan::new(1, duration));
    assert_ne!(Plan::new(1, duration).faults, Plan::new(2, duration).faults);
    let work = |seed, number| -> Vec<_> {
        let mut writer = Writer::new(seed, number);
        (0..1_000).map(|_| writer.next()).collect()
    };
    assert_eq!(work(1, 0), work(1, 0));
    assert_ne!(work(1, 0), work(1, 1));
}
