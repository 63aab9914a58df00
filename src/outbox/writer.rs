//! The one writer of a source's outbox: what several lanes ask for goes into one transaction.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Client;
use tracing::{debug, warn};

use super::store::PORTION;
use super::{Operation, OutboxError, OutboxStore, Stored};
use crate::config::PostgresUrl;
use crate::postgres::{Outage, connect};

/// Requests that wait for the writer: one from each of as many lanes, which then wait themselves.
const QUEUE: usize = 1024;

/// Operations that one transaction takes: large enough to make the commit cheap, small enough for its answer to be prompt.
const BATCH: usize = 4096;

/// Between two tries to write while the database is away.
const RETRY: Duration = Duration::from_millis(500);

/// Failures and marks are looked for so often.
const CLEANING: Duration = Duration::from_secs(30);

/// The writer has ended: its epoch is stale, or the daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the outbox is no longer written by this daemon")]
pub struct WriterClosed;

/// What a transaction stored, shared by everybody whose operations were in it.
type Answer = Arc<[Stored]>;

enum Request {
    Write { operations: Vec<Operation>, done: oneshot::Sender<Answer> },
    Purge { subscription: i64, done: oneshot::Sender<Answer> },
}

/// Asks the writer; to be cloned into every lane.
#[derive(Clone, Debug)]
pub struct OutboxWriter {
    requests: mpsc::Sender<Request>,
}

impl OutboxWriter {
    /// A writer and the task that does its work until every handle is dropped, or the epoch is found stale.
    pub fn new(
        store: OutboxStore,
        url: PostgresUrl,
        retention: Duration,
    ) -> (Self, impl Future<Output = Result<(), OutboxError>>) {
        let (requests, queue) = mpsc::channel(QUEUE);
        let outage = Outage::new("writing the outbox").of_source(store.source_name());
        let task = Task { store, url, retention, client: None, swept: false, outage };
        (Self { requests }, task.run(queue))
    }

    /// Writes operations, in this order; returns the rows that were made, once they are durable, others' among them. It keeps
    /// trying for as long as the database is away.
    ///
    /// # Errors
    /// Where the writer has ended.
    pub async fn write(&self, operations: Vec<Operation>) -> Result<Arc<[Stored]>, WriterClosed> {
        self.ask(|done| Request::Write { operations, done }).await
    }

    /// Forgets everything that a subscription is owed.
    ///
    /// # Errors
    /// Where the writer has ended.
    pub async fn purge(&self, subscription: i64) -> Result<(), WriterClosed> {
        self.ask(|done| Request::Purge { subscription, done }).await.map(|_| ())
    }

    async fn ask(&self, request: impl FnOnce(oneshot::Sender<Answer>) -> Request) -> Result<Answer, WriterClosed> {
        let (done, answer) = oneshot::channel();
        self.requests.send(request(done)).await.map_err(|_| WriterClosed)?;
        answer.await.map_err(|_| WriterClosed)
    }
}

struct Task {
    store: OutboxStore,
    url: PostgresUrl,
    retention: Duration,
    client: Option<Client>,
    swept: bool,
    outage: Outage,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Request>) -> Result<(), OutboxError> {
        let mut cleaning = tokio::time::interval(CLEANING);
        let mut requests = Vec::new();
        loop {
            tokio::select! {
                biased;
                received = queue.recv_many(&mut requests, BATCH) => match received {
                    0 => return Ok(()),
                    _ => self.serve(&mut requests).await?,
                },
                _ = cleaning.tick() => self.clean().await?,
            }
        }
    }

    /// Serves everything that was asked for, as many writes in one transaction as fit.
    async fn serve(&mut self, requests: &mut Vec<Request>) -> Result<(), OutboxError> {
        let mut batch = Batch::default();
        for request in requests.drain(..) {
            match request {
                Request::Write { operations, done } => batch.add(operations, done),
                Request::Purge { subscription, done } => {
                    self.flush(&mut batch).await?;
                    self.purge(subscription).await?;
                    let _ = done.send(Answer::default());
                }
            }
            if batch.operations.len() >= BATCH {
                self.flush(&mut batch).await?;
            }
        }
        self.flush(&mut batch).await
    }

    async fn flush(&mut self, batch: &mut Batch) -> Result<(), OutboxError> {
        if batch.operations.is_empty() {
            batch.answer(Vec::new());
            return Ok(());
        }
        let stored = loop {
            match self.try_write(&batch.operations).await {
                Ok(stored) => {
                    self.outage.succeeded();
                    break stored;
                }
                Err(error) => self.wait_after(error).await?,
            }
        };
        if batch.holds_large_body() {
            // A connection keeps buffers of the largest statement that it has sent.
            self.client = None;
        }
        batch.answer(stored);
        Ok(())
    }

    async fn purge(&mut self, subscription: i64) -> Result<(), OutboxError> {
        while let Err(error) = self.try_purge(subscription).await {
            self.wait_after(error).await?;
        }
        Ok(())
    }

    async fn clean(&mut self) -> Result<(), OutboxError> {
        match self.try_clean().await {
            Err(error @ OutboxError::Fenced { .. }) => Err(error),
            Err(error) => {
                let (source, error) = (self.store.source_name(), &error as &dyn std::error::Error);
                warn!(source, error, "the outbox could not be cleaned");
                self.client = None;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn try_write(&mut self, operations: &[Operation]) -> Result<Vec<Stored>, OutboxError> {
        let store = self.store.clone();
        store.write(self.client().await?, operations).await
    }

    async fn try_purge(&mut self, subscription: i64) -> Result<(), OutboxError> {
        let store = self.store.clone();
        store.purge(self.client().await?, subscription).await
    }

    async fn try_clean(&mut self) -> Result<(), OutboxError> {
        let (store, retention) = (self.store.clone(), self.retention);
        if !self.swept {
            let swept = store.sweep(self.client().await?).await?;
            debug!(swept, "bodies that nothing referred to were removed from the outbox");
            self.swept = true;
        }
        store.clean(self.client().await?, retention).await
    }

    async fn client(&mut self) -> Result<&mut Client, OutboxError> {
        let client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => connect(&self.url, "webhookdb-notifications outbox").await?,
        };
        Ok(self.client.insert(client))
    }

    /// What was asked for is kept and tried again: nothing is acknowledged in the meantime.
    async fn wait_after(&mut self, error: OutboxError) -> Result<(), OutboxError> {
        if matches!(error, OutboxError::Fenced { .. }) {
            return Err(error);
        }
        self.outage.failed(&error);
        self.client = None;
        tokio::time::sleep(RETRY).await;
        Ok(())
    }
}

#[derive(Default)]
struct Batch {
    operations: Vec<Operation>,
    waiting: Vec<oneshot::Sender<Answer>>,
}

impl Batch {
    fn add(&mut self, operations: Vec<Operation>, done: oneshot::Sender<Answer>) {
        self.operations.extend(operations);
        self.waiting.push(done);
    }

    fn holds_large_body(&self) -> bool {
        let large =
            |operation: &Operation| matches!(operation, Operation::Store { body, .. } if body.bytes().len() > PORTION);
        self.operations.iter().any(large)
    }

    /// Every asker hears of all rows; it knows its own by subscription.
    fn answer(&mut self, stored: Vec<Stored>) {
        let stored = Answer::from(stored);
        self.operations.clear();
        for done in self.waiting.drain(..) {
            // An asker that has ended needs no answer.
            let _ = done.send(stored.clone());
        }
    }
}
