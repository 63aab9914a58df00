//! How fast it is, and what it takes, as ratios to what the machine can do. Small here, where it is only shown that everything runs;
//! `make bench` measures a release build and writes target/bench/results.json and results.md.

mod load;
mod measures;
mod nginx;
mod report;

use std::path::Path;
use std::sync::Arc;

use webhookdb_notifications::demo::{PostgresOptions, ThrowawayPostgres};

use self::report::{Measure, Sample, Target};
use crate::bounds::at_full_size;
use crate::support::{from_environment, own_cluster};

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    rounds: usize,
    /// Of one backlog.
    rows: usize,
    /// Transactions of one row.
    transactions: usize,
    /// Of one change, where it goes to many.
    fan_out: usize,
    /// Beside those that are measured.
    few_subscriptions: usize,
    many_subscriptions: usize,
    /// Of wrk.
    wrk_seconds: u64,
    /// Committed at a steady pace, to see when they arrive.
    paced: usize,
}

const SMALL: Sizes = Sizes {
    rounds: 1,
    rows: 500,
    transactions: 50,
    fan_out: 10,
    few_subscriptions: 20,
    many_subscriptions: 500,
    wrk_seconds: 1,
    paced: 100,
};

impl Sizes {
    fn full() -> Self {
        Self {
            rounds: from_environment("BENCH_ROUNDS").unwrap_or(5),
            rows: from_environment("BENCH_ROWS").unwrap_or(300_000),
            transactions: 100_000,
            fan_out: 100,
            few_subscriptions: 1_000,
            many_subscriptions: 100_000,
            wrk_seconds: 5,
            paced: 20_000,
        }
    }
}

/// What every measure goes by.
struct Bench {
    sizes: Sizes,
    cluster: Arc<ThrowawayPostgres>,
}

/// What is measured together, and can be chosen by its name.
struct Group {
    name: &'static str,
    measures: &'static [Asked],
}

/// A measure, and what is asked of it. [`measures`] has how it is taken.
struct Asked {
    name: &'static str,
    unit: &'static str,
    /// The reference, where there is one.
    against: &'static str,
    target: Target,
}

const fn ratio(name: &'static str, unit: &'static str, against: &'static str, at_least: f64) -> Asked {
    Asked { name, unit, against, target: Target::AtLeast(at_least) }
}

const fn at_least(name: &'static str, unit: &'static str, figure: f64) -> Asked {
    Asked { name, unit, against: "", target: Target::FigureAtLeast(figure) }
}

const fn at_most(name: &'static str, unit: &'static str, figure: f64) -> Asked {
    Asked { name, unit, against: "", target: Target::FigureAtMost(figure) }
}

/// 40 MiB and `memory`, whose default is 64 MiB.
const AT_FULL_RATE: f64 = 104.0;

const GROUPS: [Group; 7] = [
    Group {
        name: "read-one-transaction",
        measures: &[ratio("reading and matching, one transaction", "rows/s", "pg_recvlogical", 0.95)],
    },
    Group {
        name: "read-many-transactions",
        measures: &[ratio("reading and matching, transactions of one row", "rows/s", "pg_recvlogical", 0.95)],
    },
    Group {
        name: "deliver",
        measures: &[
            ratio("delivering to one subscription", "requests/s", "wrk", 0.30),
            at_least("into the outbox, the endpoint down", "notifications/s", 15_000.0),
            ratio("draining the outbox", "requests/s", "live", 0.7),
            ratio("live with 100,000 further subscriptions", "requests/s", "live", 0.95),
            at_most("memory of one of 100,000 subscriptions", "KiB", 1.0),
        ],
    },
    Group { name: "batches", measures: &[ratio("in batches of 100", "notifications/s", "pg_recvlogical", 0.8)] },
    Group { name: "fan-out", measures: &[ratio("one change to 100 subscriptions", "requests/s", "wrk", 0.55)] },
    Group {
        name: "latency",
        measures: &[
            at_most("commit to receipt at 1,000 changes a second, p50", "ms", 2.0),
            at_most("commit to receipt at 1,000 changes a second, p99", "ms", 10.0),
        ],
    },
    Group {
        name: "memory",
        measures: &[
            at_most("resident with 1,000 subscriptions, idle", "MiB", 15.0),
            at_most("resident with 1,000 subscriptions, at full rate", "MiB", AT_FULL_RATE),
        ],
    },
];

impl Bench {
    /// One round of the measures of this name, in their order.
    async fn round(&self, name: &str) -> Vec<Sample> {
        match name {
            "read-one-transaction" => vec![self.read(load::Shape::OneTransaction).await],
            "read-many-transactions" => vec![self.read(load::Shape::OneRowEach).await],
            "deliver" => self.deliver().await,
            "batches" => vec![self.batches().await],
            "fan-out" => vec![self.fan_out().await],
            "latency" => self.latency().await,
            "memory" => self.memory().await,
            _ => unreachable!("a measure of no name"),
        }
    }
}

/// Those that `BENCH_MEASURES` names, separated by spaces; all where it names none.
fn chosen() -> Vec<&'static Group> {
    let named = std::env::var("BENCH_MEASURES").unwrap_or_default();
    let names: Vec<&str> = named.split_whitespace().collect();
    for name in &names {
        assert!(GROUPS.iter().any(|group| group.name == *name), "no measure is called {name}");
    }
    GROUPS.iter().filter(|group| names.is_empty() || names.contains(&group.name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_measured_runs() {
    let sizes = if at_full_size() { Sizes::full() } else { SMALL };
    let cluster = own_cluster(PostgresOptions::default().set("max_wal_size", "8GB").set("shared_buffers", "256MB"));
    let bench = Bench { sizes, cluster };
    let chosen = chosen();
    let mut measures: Vec<Vec<Measure>> =
        chosen.iter().map(|group| group.measures.iter().map(measure).collect()).collect();
    for round in 1..=sizes.rounds {
        for (group, measures) in chosen.iter().zip(&mut measures) {
            let samples = bench.round(group.name).await;
            assert_eq!(samples.len(), measures.len());
            for (measure, sample) in measures.iter_mut().zip(samples) {
                println!(
                    "bench: round {round}: {}: {:.2} {}, reference {:.2}",
                    measure.name, sample.figure, measure.unit, sample.reference
                );
                measure.samples.push(sample);
            }
        }
    }
    let measures = measures.concat();
    println!("\n{}", report::table(&measures));
    if at_full_size() {
        report::write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench"), &measures);
    }
}

fn measure(asked: &Asked) -> Measure {
    let Asked { name, unit, against, target } = *asked;
    Measure { name, unit, against, target, samples: Vec::new() }
}
