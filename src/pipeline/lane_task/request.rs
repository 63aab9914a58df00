//! One request of a lane: made, and what is to be known of it when it is over.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::time::timeout;

use super::desk::{Desk, Outcome};
use crate::deliver::{Answer, AttemptKind, EntryId, Failure, Request, Setback, Start};
use crate::model::Event;
use crate::pipeline::endpoint::Endpoint;
use crate::pipeline::in_flight::Permit;
use crate::pipeline::lanes::LaneContext;

/// A request that is over.
pub(super) struct Landed {
    pub(super) notifications: SmallVec<[Sent; 1]>,
    begun_at: SystemTime,
    pub(super) took: Duration,
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
        Self { notifications, begun_at: SystemTime::UNIX_EPOCH, took: Duration::ZERO, outcome }
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
        record: failure.record(0, landed.begun_at, landed.took),
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
    let begun = Instant::now();
    loop {
        let mut made = pin!(make(&context, &endpoint, request));
        let landed = match timeout(Permit::FRESH_FOR, made.as_mut()).await {
            Ok(landed) => landed,
            Err(_) => {
                permit.age();
                made.await
            }
        };
        let others_may = context.in_flight.is_waited_for() && begun.elapsed() >= TURN;
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

async fn make(context: &LaneContext, endpoint: &Endpoint, request: Request) -> Landed {
    let (begun_at, begun) = (SystemTime::now(), Instant::now());
    // What has been tried most often tells the number of the whole.
    let attempt = request.iter().map(|start| start.attempt).max().unwrap_or(1);
    let poster = context.tuning.borrow().poster.clone();
    let notifications: SmallVec<[(&str, &Bytes); 1]> =
        request.iter().map(|start| (start.event.id.as_str(), start.body.bytes())).collect();
    let outcome = endpoint.post(&poster, AttemptKind::Notification { attempt }, &notifications).await;
    drop(notifications);
    let sent = |Start { id, event, attempt, .. }| Sent { id, event, attempt };
    let notifications = request.into_iter().map(sent).collect();
    Landed { notifications, begun_at, took: begun.elapsed(), outcome }
}
