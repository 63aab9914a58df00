//! What a lane's task listens to and seldom hears. It goes on listening from one turn to the next: to begin anew at each turn would
//! cost more than all else that the turn does.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{BoxStream, SelectAll, StreamExt, once, select_all, unfold};
use tokio::sync::watch;
use tokio::time::Sleep;

use super::desk::Desk;
use crate::pipeline::heart::Pulse;
use crate::pipeline::lanes::LaneContext;

/// What is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The requests under way have something for the task.
    Called,
    /// The source's connection is there, or gone.
    Connection,
    /// The config.
    Tuning,
    /// Memory is short.
    Pressure,
}

/// All of it, and the watchdog's rounds, which are answered meanwhile.
pub(super) fn notices(
    context: &LaneContext,
    desk: &Arc<Desk>,
    mut pulse: Pulse,
) -> SelectAll<BoxStream<'static, Notice>> {
    let called = unfold(desk.clone(), |desk| async move {
        desk.called().await;
        Some((Notice::Called, desk))
    });
    let rounds = once(async move { match pulse.beat().await {} });
    select_all([
        called.boxed(),
        changes(context.fence.connection(), Notice::Connection),
        changes(context.tuning.clone(), Notice::Tuning),
        changes(context.pressure.clone(), Notice::Pressure),
        rounds.boxed(),
    ])
}

fn changes<T: Send + Sync + 'static>(watched: watch::Receiver<T>, notice: Notice) -> BoxStream<'static, Notice> {
    let change = move |mut watched: watch::Receiver<T>| async move {
        watched.changed().await.ok()?;
        Some((notice, watched))
    };
    unfold(watched, change).boxed()
}

/// Rings at a time that is put off again and again: it is set anew only for an earlier one, and may ring too early.
#[derive(Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Waits for the time, or for ever where there is none; cancel-safe.
    pub(super) async fn rings(&mut self, at: Option<Instant>) {
        let Some(at) = at.map(tokio::time::Instant::from) else { return std::future::pending().await };
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if at < sleep.deadline() {
            sleep.as_mut().reset(at);
        }
        sleep.await;
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn an_alarm_rings_no_later_than_it_was_last_asked_to() {
        let (mut alarm, begun) = (Alarm::default(), Instant::now());
        let later = Some(begun + Duration::from_secs(3600));
        assert!(alarm.rings(later).now_or_never().is_none());
        alarm.rings(Some(begun + Duration::from_millis(1))).await;
        assert!(begun.elapsed() < Duration::from_secs(3600));
        assert!(alarm.rings(later).now_or_never().is_none(), "it has rung");
        assert!(alarm.rings(None).now_or_never().is_none());
    }
}
