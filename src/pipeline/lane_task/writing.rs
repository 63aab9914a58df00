//! What the lane wants written goes to the outbox, one batch at a time; what is durable settles.

use std::collections::HashMap;
use std::sync::Arc;

use super::LaneTask;
use crate::checkpoint::Ticket;
use crate::deliver::{Ack, Write};
use crate::outbox::{Operation, Stored, WriterClosed};

/// A submitted batch and what the writer made of it.
pub(super) struct Written {
    stored: Arc<[Stored]>,
    /// The stores of the batch: which tickets they settle, and whether the window holds them.
    pub(super) stores: Vec<(String, Option<Ticket>, bool)>,
    /// How many of its operations were outcomes.
    outcomes: usize,
}

impl LaneTask {
    /// Submits what the lane wants written.
    pub(super) fn write(&mut self) {
        let writes = {
            let mut desk = self.desk.open();
            let writes = desk.lane.take_writes();
            desk.is_writing = !writes.is_empty();
            writes
        };
        if writes.is_empty() {
            return;
        }
        let subscription = self.endpoint.subscription.id;
        let mut stores = Vec::new();
        let operations: Vec<Operation> =
            writes.into_iter().map(|write| operation(subscription, write, &mut stores)).collect();
        let outcomes = operations.len() - stores.len();
        let writer = self.context.writer.clone();
        let write = async move { writer.write(operations).await.map(|stored| Written { stored, stores, outcomes }) };
        self.writing = Some(Box::pin(write));
    }

    /// False where the outbox is no longer ours: the lane must end without settling anything.
    pub(super) fn written(&mut self, written: Result<Written, WriterClosed>) -> bool {
        let Ok(Written { stored, stores, outcomes }) = written else { return false };
        let subscription = self.endpoint.subscription.id;
        let own = stored.iter().filter(|row| row.subscription == subscription);
        let seqs: HashMap<&str, i64> = own.map(|row| (row.event_id.as_str(), row.seq)).collect();
        let ack = |(event_id, _, in_window): &(String, Option<Ticket>, bool)| Ack {
            seq: seqs.get(event_id.as_str()).copied(),
            event_id: event_id.clone(),
            in_window: *in_window,
        };
        let acks: Vec<Ack> = stores.iter().map(ack).collect();
        let too_much = {
            let mut desk = self.desk.open();
            desk.is_writing = false;
            desk.lane.confirm(&acks, outcomes);
            self.limit.deactivates(&desk.lane)
        };
        self.context.progress.settle(stores.into_iter().filter_map(|(_, ticket, _)| ticket));
        if let Some(reason) = too_much {
            self.deactivate(reason);
        }
        true
    }
}

fn operation(subscription: i64, write: Write<Ticket>, stores: &mut Vec<(String, Option<Ticket>, bool)>) -> Operation {
    match write {
        Write::Store { event, body, ticket, in_window } => {
            stores.push((event.id.clone(), ticket, in_window));
            Operation::Store { subscription, event, body }
        }
        Write::Reschedule { event, wait, age, record } => {
            Operation::Reschedule { subscription, event_id: event.id.clone(), wait, age, record }
        }
        Write::Delivered { event } => Operation::Delivered { subscription, event_id: event.id.clone() },
        Write::Failed { event, age, record } => {
            Operation::Failed { subscription, event_id: event.id.clone(), age, record }
        }
    }
}
