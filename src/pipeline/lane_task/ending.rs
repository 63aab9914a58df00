//! How a lane ends, and how what it has under way is called off.

use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinError;

use super::{Command, LaneTask, finished};
use crate::checkpoint::Ticket;
use crate::deliver::Arrival;

impl LaneTask {
    pub(super) async fn call_all_off(&mut self) {
        self.end_attempts().await;
        self.desk.open().lane.all_called_off(Instant::now());
    }

    /// No attempt is under way afterwards. An answer that has come by then is heard: its notification would be sent again.
    async fn end_attempts(&mut self) {
        self.attempts.abort_all();
        while let Some(ended) = self.attempts.join_next().await {
            if !ended.as_ref().is_err_and(JoinError::is_cancelled) {
                self.land(ended);
            }
        }
    }

    pub(super) async fn end(mut self: Box<Self>, command: Option<Command>, inbox: mpsc::Receiver<Arrival<Ticket>>) {
        match command {
            Some(Command::Drain { deadline }) => self.drain(deadline, inbox).await,
            Some(Command::Abandon) => self.abandon(inbox).await,
            // The session is over.
            Some(Command::Become { .. }) | None => {}
        }
    }

    async fn abandon(mut self: Box<Self>, mut inbox: mpsc::Receiver<Arrival<Ticket>>) {
        self.attempts.shutdown().await;
        inbox.close();
        let mut discarded = self.desk.open().lane.pending();
        while let Some(arrival) = inbox.recv().await {
            self.context.progress.settle([arrival.ticket]);
            discarded += 1;
        }
        self.desk.open().meters.discarded(discarded);
        if self.writing.is_some()
            && let Ok(written) = finished(&mut self.writing).await
        {
            self.context.progress.settle(written.stores.into_iter().filter_map(|(_, ticket, _)| ticket));
        }
        let owed = self.desk.open().lane.abandon();
        self.context.progress.settle(owed);
    }

    async fn drain(&mut self, deadline: tokio::time::Instant, mut inbox: mpsc::Receiver<Arrival<Ticket>>) {
        self.desk.open().lane.drain();
        while self.in_flight() > 0 {
            tokio::select! {
                biased;
                Some(ended) = self.attempts.join_next() => self.land(ended),
                written = finished(&mut self.writing) => if !self.written(written) { return },
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        self.end_attempts().await;
        inbox.close();
        let mut rest = Vec::new();
        while inbox.recv_many(&mut rest, usize::MAX).await > 0 {
            self.arrive(&mut rest);
        }
        self.desk.open().lane.spill();
        loop {
            if self.writing.is_none() {
                self.write();
            }
            if self.writing.is_none() {
                return;
            }
            let written = finished(&mut self.writing).await;
            if !self.written(written) {
                return;
            }
        }
    }
}
