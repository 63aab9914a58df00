//! What a lane reads back from the outbox: pages and bodies, for which room is found before they are read.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lanes::LaneContext;
use crate::deliver::{BodyRequest, EntryId, PageRequest, StoredRow};
use crate::model::Body;
use crate::outbox::{OutboxError, OutboxRow};
use crate::postgres::Outage;

/// One page takes at most this share of the memory for what is read back.
const PAGE_SHARE: usize = 8;

/// Rows of the pages of all lanes together, roughly; some 800 bytes each.
const ROWS: usize = 8192;

/// Enough to go on with.
const ROWS_MIN: usize = 4;

/// Queries under way at once: enough to keep the one connection busy. What waits for its turn is small.
const QUERIES: usize = 32;

/// Between two tries to read the outbox while its database is away.
const RETRY: Duration = Duration::from_millis(500);

pub(super) type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(super) struct Page {
    pub(super) rows: Vec<StoredRow>,
    /// Whether the outbox held no more.
    pub(super) complete: bool,
}

/// Bytes of bodies that were read back.
#[derive(Debug)]
pub(super) struct ReadBack {
    memory: Arc<Semaphore>,
    bytes: usize,
    queries: Semaphore,
    /// Lanes that page.
    paging: AtomicUsize,
    outage: Outage,
}

/// A lane that pages, for as long as it does.
pub(super) struct Paging(Arc<LaneContext>);

impl Paging {
    pub(super) fn new(context: Arc<LaneContext>) -> Self {
        context.read_back.paging.fetch_add(1, Ordering::Relaxed);
        Self(context)
    }
}

impl Drop for Paging {
    fn drop(&mut self) {
        self.0.read_back.paging.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ReadBack {
    /// So many rows a lane may have at hand: few where many lanes page, since a row takes memory without its body too.
    pub(super) fn rows_at_hand(&self) -> usize {
        (ROWS / self.paging.load(Ordering::Relaxed).max(1)).max(ROWS_MIN)
    }

    pub(super) fn new(bytes: usize) -> Self {
        Self {
            memory: Arc::new(Semaphore::new(bytes)),
            bytes,
            queries: Semaphore::new(QUERIES),
            paging: AtomicUsize::new(0),
            outage: Outage::new("reading the outbox"),
        }
    }

    /// Room for one page, where there is some now.
    fn page_room(&self) -> Option<OwnedSemaphorePermit> {
        self.memory.clone().try_acquire_many_owned(self.permits(self.bytes / PAGE_SHARE)).ok()
    }

    /// Room for one body; a body larger than everything is processed alone.
    async fn body_room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.memory.clone().acquire_many_owned(self.permits(bytes)).await.ok()
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.clamp(1, self.bytes.max(1))).unwrap_or(u32::MAX)
    }
}

pub(super) fn read_page(context: Arc<LaneContext>, subscription: i64, page: PageRequest) -> Task<Page> {
    Box::pin(async move {
        let _turn = context.read_back.queries.acquire().await;
        let mut room = if page.with_bodies { context.read_back.page_room() } else { None };
        let bytes = room.as_ref().map_or(0, |room| i64::try_from(room.num_permits()).unwrap_or(i64::MAX));
        let limit = i64::try_from(page.rows).unwrap_or(i64::MAX);
        let read = || context.reader.page(&context.source_name, subscription, page.after, limit, bytes);
        let rows = Box::pin(again(&context.read_back.outage, read)).await;
        let complete = rows.len() < page.rows;
        let rows = rows.into_iter().map(|row| stored_row(row, room.as_mut())).collect();
        Page { rows, complete }
    })
}

/// Each body takes its part of the page's room with it; the rest is given back.
fn stored_row(row: OutboxRow, room: Option<&mut OwnedSemaphorePermit>) -> StoredRow {
    let held = room.and_then(|room| room.split(row.body_bytes));
    let body = row.body.zip(held).map(|(bytes, held)| Arc::new(Body::new(bytes, held)));
    let OutboxRow { seq, event, body_bytes, attempts, due_in, age, .. } = row;
    StoredRow { seq, event, body, body_bytes, attempts, due_in, age }
}

pub(super) fn read_body(context: Arc<LaneContext>, body: BodyRequest) -> Task<(EntryId, Option<Arc<Body>>)> {
    Box::pin(async move {
        let held = context.read_back.body_room(body.bytes).await;
        let _turn = context.read_back.queries.acquire().await;
        let read = || context.reader.body(&body.event_id, body.bytes);
        let bytes = Box::pin(again(&context.read_back.outage, read)).await;
        (body.id, bytes.map(|bytes| Arc::new(Body::new(bytes, held))))
    })
}

/// Until it succeeds: the lane can do nothing else.
async fn again<T, F: Future<Output = Result<T, OutboxError>>>(outage: &Outage, read: impl Fn() -> F) -> T {
    loop {
        match read().await {
            Ok(result) => {
                outage.succeeded();
                return result;
            }
            Err(error) => {
                outage.failed(&error);
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
