//! Whether the pipeline turns. The service manager's watchdog is fed by the loops themselves: a round asks each of them, and
//! the last one to answer feeds it.
//!
//! A loop answers where it waits for its next event. So it answers while nothing happens, while lanes hold it back, and while a
//! database is away; it does not answer when its thread is blocked, or it goes round in circles, or hangs between two events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::{error, info};

use crate::service::ServiceManager;

/// Rounds within a period of the watchdog: one that is late by a little does no harm.
const ROUNDS: u32 = 4;

/// Every loop of the pipeline, and who has answered.
#[derive(Clone, Debug)]
pub(super) struct Heart(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    service: ServiceManager,
    rounds: watch::Sender<u64>,
    loops: Mutex<Loops>,
}

#[derive(Debug, Default)]
struct Loops {
    round: u64,
    next_id: u64,
    /// Those that have not answered in this round.
    missing: usize,
    all: HashMap<u64, Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    /// The last round that it answered, or that it came too late for.
    answered: u64,
}

impl Heart {
    pub(super) fn new(service: ServiceManager) -> Self {
        Self(Arc::new(Shared { service, rounds: watch::Sender::new(0), loops: Mutex::default() }))
    }

    /// A further loop, from now on until it is dropped.
    pub(super) fn pulse(&self, name: impl Into<String>) -> Pulse {
        let rounds = self.0.rounds.subscribe();
        let mut loops = self.0.loops();
        let id = loops.next_id;
        loops.next_id += 1;
        let answered = loops.round;
        loops.all.insert(id, Member { name: name.into(), answered });
        Pulse { shared: self.0.clone(), id, rounds }
    }

    /// Runs a loop that waits for nothing but what others do: it turns for as long as it is polled.
    pub(super) async fn watch<T>(&self, name: impl Into<String>, turning: impl Future<Output = T>) -> T {
        self.pulse(name).through(turning).await
    }

    /// Asks round after round, where the service manager watches.
    pub(super) async fn beat(self) -> Infallible {
        let Some(period) = self.0.service.watchdog() else { return std::future::pending().await };
        info!(?period, "the service manager's watchdog is fed while the pipeline turns");
        let mut told = false;
        loop {
            let silent = self.0.silent();
            if silent.is_empty() {
                told = false;
                self.0.begin();
            } else if !told {
                error!(loops = silent.join(", "), "a part of the pipeline does not turn");
                told = true;
            }
            tokio::time::sleep(period / ROUNDS).await;
        }
    }
}

impl Shared {
    fn begin(&self) {
        let mut loops = self.loops();
        loops.round += 1;
        loops.missing = loops.all.len();
        // Under the lock: nobody is to answer a round before it is counted.
        self.rounds.send_replace(loops.round);
    }

    fn answer(&self, id: u64) {
        let mut loops = self.loops();
        let round = loops.round;
        let Some(member) = loops.all.get_mut(&id).filter(|member| member.answered < round) else { return };
        member.answered = round;
        self.one_less(loops);
    }

    fn forget(&self, id: u64) {
        let mut loops = self.loops();
        let round = loops.round;
        if loops.all.remove(&id).is_some_and(|member| member.answered < round) {
            self.one_less(loops);
        }
    }

    /// The last one feeds the watchdog.
    fn one_less(&self, mut loops: MutexGuard<'_, Loops>) {
        loops.missing -= 1;
        let complete = loops.missing == 0;
        drop(loops);
        if let Some(period) = self.service.watchdog().filter(|_| complete) {
            self.service.alive(period);
        }
    }

    /// The names of those who have not answered.
    fn silent(&self) -> Vec<String> {
        let loops = self.loops();
        let silent = loops.all.values().filter(|member| member.answered < loops.round);
        silent.map(|member| member.name.clone()).collect()
    }

    fn loops(&self) -> MutexGuard<'_, Loops> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One loop's part in it.
#[derive(Debug)]
pub(super) struct Pulse {
    shared: Arc<Shared>,
    id: u64,
    rounds: watch::Receiver<u64>,
}

impl Pulse {
    /// Answers every round, for as long as it is polled: beside what a loop waits for.
    pub(super) async fn beat(&mut self) -> Infallible {
        while self.rounds.changed().await.is_ok() {
            self.shared.answer(self.id);
        }
        std::future::pending().await
    }

    /// The loop has come round: answers where it was asked.
    pub(super) fn turned(&mut self) {
        if self.rounds.has_changed().unwrap_or_default() {
            self.rounds.mark_unchanged();
            self.shared.answer(self.id);
        }
    }

    /// Waits for somebody else, who may take as long as it likes.
    pub(super) async fn through<T>(&mut self, elsewhere: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            never = self.beat() => match never {},
            outcome = elsewhere => outcome,
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.shared.forget(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heart() -> Heart {
        Heart::new(ServiceManager::default())
    }

    #[tokio::test]
    async fn a_round_is_complete_when_every_loop_has_come_round_or_waits_for_somebody_else() {
        let heart = heart();
        let (mut turns, mut waits) = (heart.pulse("turns"), heart.pulse("waits"));
        turns.turned();
        heart.0.begin();
        assert_eq!(heart.0.silent().len(), 2);
        turns.turned();
        assert_eq!(heart.0.silent(), ["waits"]);
        let asked = heart.0.rounds.subscribe();
        waits
            .through(async {
                while !heart.0.silent().is_empty() {
                    tokio::task::yield_now().await
                }
            })
            .await;
        assert_eq!((heart.0.silent().len(), *asked.borrow()), (0, 1));
    }

    #[tokio::test]
    async fn a_loop_that_ends_or_begins_amid_a_round_holds_it_up_no_more() {
        let heart = heart();
        let (first, second) = (heart.pulse("first"), heart.pulse("second"));
        heart.0.begin();
        let _late = heart.pulse("late");
        drop(first);
        assert_eq!(heart.0.silent(), ["second"]);
        drop(second);
        assert_eq!((heart.0.silent().len(), heart.0.loops().missing), (0, 0));
    }
}
