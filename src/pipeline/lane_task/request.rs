//! One request of a lane: made, and what is to be known of it when it is over.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use smallvec::SmallVec;

use super::desk::{Desk, Outcome};
use crate::deliver::{Answer, AttemptKind, EntryId, Failure, Request, Setback, Start, Timer};
use crate::model::Event;
use crate::pipeline::endpoint::Endpoint;
use crate::pipeline::in_flight::Permit;
use crate::pipeline::lanes::LaneContext;

/// A request that is over.
pub(super) struct Landed {
    pub(super) notifications: SmallVec<[Sent; 1]>,
    begun: Instant,
    pub(super) ended: Instant,
    pub(super) outcome: Result<(), Failure>,
}

/// What a request carried.
pub(in crate::pipeline) struct Sent {
    id: EntryId,
    pub(in crate::pipeline) event: Arc<Event>,
    pub(in crate::pipeline) attempt: u32,
}

impl Landed {
    /// One that took no time.
    #[cfg(test)]
    pub(super) fn of(request: &Request, outcome: Result<(), Failure>) -> Self {
        let sent = |start: &Start| Sent { id: start.id, event: start.event.clone(), attempt: start.attempt };
        let notifications = request.iter().map(sent).collect();
        let now = Instant::now();
        Self { notifications, begun: now, ended: now, outcome }
    }

    pub(super) fn took(&self) -> Duration {
        self.ended - self.begun
    }

    pub(super) fn ids(&self) -> SmallVec<[EntryId; 1]> {
        self.notifications.iter().map(|sent| sent.id).collect()
    }
}

/// What the lane is told of one that failed.
pub(super) fn setback(landed: &Landed, failure: &Failure) -> Setback {
    let answer = failure.answer.as_ref();
    Setback {
        // The lane sets the number of each notification's attempt.
        record: failure.record(0, SystemTime::now() - landed.begun.elapsed(), landed.took()),
        asked: answer.and_then(|answer| answer.retry_after),
        too_large: answer.is_some_and(Answer::is_too_large),
    }
}

/// So long one right to send is good for while others wait for one.
const TURN: Duration = Duration::from_millis(20);

/// Makes a request, and as long as they are accepted those that follow. Returns one that the lane's task has to see to.
pub(super) async fn make_requests(
    context: Arc<LaneContext>,
    desk: Arc<Desk>,
    endpoint: Arc<Endpoint>,
    mut permit: Permit,
    mut request: Request,
) -> Option<Landed> {
    let mut begun = Instant::now();
    let turn_ends = begun + TURN;
    let (mut freshness, mut exchange) = (Timer::default(), Timer::default());
    loop {
        let mut made = pin!(make(&context, &endpoint, request, begun, &mut exchange));
        let landed = match freshness.limit(begun + Permit::FRESH_FOR, made.as_mut()).await {
            Some(landed) => landed,
            None => {
                permit.age();
                made.await
            }
        };
        begun = landed.ended;
        let others_may = context.in_flight.is_waited_for() && begun >= turn_ends;
        let may_go_on = !others_may && !context.stopping.is_cancelled() && context.fence.is_open() && permit.renew();
        let (tickets, next) = match desk.next(landed, may_go_on) {
            Outcome::Accepted(tickets, next) => (tickets, next),
            Outcome::Ended(landed) => return Some(landed),
        };
        context.accepted(endpoint.subscription.id, tickets);
        if next.is_empty() {
            return None;
        }
        request = next;
    }
}

async fn make(
    context: &LaneContext,
    endpoint: &Endpoint,
    request: Request,
    begun: Instant,
    timer: &mut Timer,
) -> Landed {
    // What has been tried most often tells the number of the whole.
    let attempt = request.iter().map(|start| start.attempt).max().unwrap_or(1);
    let poster = context.tuning.borrow().poster.clone();
    let notifications: SmallVec<[(&str, &Bytes); 1]> =
        request.iter().map(|start| (start.event.id.as_str(), start.body.bytes())).collect();
    let kind = AttemptKind::Notification { attempt };
    let outcome = endpoint.post(&poster, kind, &notifications, begun, timer).await;
    drop(notifications);
    let sent = |Start { id, event, attempt, .. }| Sent { id, event, attempt };
    let notifications = request.into_iter().map(sent).collect();
    Landed { notifications, begun, ended: Instant::now(), outcome }
}
