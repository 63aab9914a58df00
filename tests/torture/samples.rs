//! Looks, again and again, at how far the slot is confirmed and at what is in the outbox then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use super::log::parse_lsn;
use super::world::World;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// A look at servers that go away ends with an error or after this.
const PATIENT_FOR: Duration = Duration::from_secs(5);

/// One look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Before the rest was looked at.
    pub(super) at: Instant,
    /// `confirmed_flush_lsn`, read first: what was settled by then stays in the outbox until it is accepted.
    pub(super) confirmed: u64,
    /// The requests that had been decided upon after the outbox was read.
    pub(super) clock: u64,
}

/// Every look.
#[derive(Debug, Default)]
pub(super) struct Samples {
    pub(super) all: Vec<Sample>,
    /// By the hash of the `webhook-id`: from which look to which it was in the outbox.
    stored: HashMap<u64, Vec<(u32, u32)>>,
    /// The highest confirmed position up to each look.
    highest: Vec<u64>,
    pub(super) most_stored: usize,
}

impl Samples {
    pub(super) fn add(&mut self, sample: Sample, stored: &[String]) {
        let nth = u32::try_from(self.all.len()).expect("few looks");
        for id in stored {
            let spans = self.stored.entry(xxh3_64(id.as_bytes())).or_default();
            match spans.last_mut() {
                Some((_, last)) if *last + 1 == nth => *last = nth,
                _ => spans.push((nth, nth)),
            }
        }
        self.most_stored = self.most_stored.max(stored.len());
        self.highest.push(sample.confirmed.max(self.highest.last().copied().unwrap_or(0)));
        self.all.push(sample);
    }

    /// The last look at which the slot had passed what commits at `lsn`, although it was neither accepted (as request
    /// `accepted`) nor in the outbox, nor given up by asking for the subscription's deletion.
    pub(super) fn passed(
        &self,
        id: &str,
        lsn: u64,
        accepted: Option<u64>,
        deletion: Option<Instant>,
    ) -> Option<Sample> {
        let before = self.all.partition_point(|sample| accepted.is_none_or(|number| sample.clock < number));
        let spans = self.stored.get(&xxh3_64(id.as_bytes())).map_or(&[][..], Vec::as_slice);
        for nth in (0..before).rev() {
            if self.highest[nth] <= lsn {
                return None;
            }
            let sample = self.all[nth];
            let is_stored = spans.iter().any(|(first, last)| (*first as usize..=*last as usize).contains(&nth));
            if sample.confirmed > lsn && !is_stored && deletion.is_none_or(|asked| sample.at < asked) {
                return Some(sample);
            }
        }
        None
    }
}

/// Looks until it is told to stop.
pub(super) async fn take(world: Arc<World>, stop: CancellationToken) -> Samples {
    let mut samples = Samples::default();
    let (mut source, mut catalog) = (world.source_session().await, world.catalog_session().await);
    while !stop.is_cancelled() {
        let began = Instant::now();
        match tokio::time::timeout(PATIENT_FOR, look(&world, &source, &catalog)).await {
            Ok(Ok(Some((sample, stored)))) => samples.add(sample, &stored),
            Ok(Ok(None)) => {}
            _ => {
                tokio::select! {
                    () = stop.cancelled() => return samples,
                    session = world.source_session() => source = session,
                }
                tokio::select! {
                    () = stop.cancelled() => return samples,
                    session = world.catalog_session() => catalog = session,
                }
            }
        }
        // A long outbox takes long to look at, and the server is not here for that.
        tokio::time::sleep(LOOK.max(began.elapsed() * 4)).await;
    }
    samples
}

async fn look(
    world: &World,
    source: &Client,
    catalog: &Client,
) -> Result<Option<(Sample, Vec<String>)>, tokio_postgres::Error> {
    let at = Instant::now();
    let slot = "SELECT confirmed_flush_lsn::text FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";
    let Some(row) = source.query_opt(slot, &[&world.slot()]).await? else { return Ok(None) };
    let Some(confirmed) = row.get::<_, Option<&str>>(0).and_then(parse_lsn) else { return Ok(None) };
    let checkpoint = catalog.query_one("SELECT flush_lsn::text FROM notifications.sources", &[]).await?;
    let checkpoint = parse_lsn(checkpoint.get(0)).expect("an LSN");
    if confirmed > checkpoint {
        world.wrong(format!("the slot was confirmed at {confirmed:X}, the checkpoint was at {checkpoint:X}"));
    }
    let outbox = "SELECT 'msg_' || s.opaque_id || '_' || substr(o.event_id, 5)
                  FROM notifications.outbox AS o JOIN notifications.subscriptions AS s ON s.id = o.subscription";
    let rows = catalog.query(outbox, &[]).await?;
    let stored = rows.iter().map(|row| row.get(0)).collect();
    let clock = world.endpoints.log().clock;
    Ok(Some((Sample { at, confirmed, clock }, stored)))
}
