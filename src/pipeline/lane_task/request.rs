//! One request of a lane: made, and what is to be known of it when it is over.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use smallvec::SmallVec;

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

/// Makes it.
pub(super) async fn attempt(
    context: Arc<LaneContext>,
    endpoint: Arc<Endpoint>,
    permit: Permit,
    request: Request,
) -> Landed {
    let (begun_at, begun) = (SystemTime::now(), Instant::now());
    // What has been tried most often tells the number of the whole.
    let attempt = request.iter().map(|start| start.attempt).max().unwrap_or(1);
    let poster = context.tuning.borrow().poster.clone();
    let notifications: SmallVec<[(&str, &Bytes); 1]> =
        request.iter().map(|start| (start.event.id.as_str(), start.body.bytes())).collect();
    let outcome = endpoint.post(&poster, AttemptKind::Notification { attempt }, &notifications).await;
    drop((permit, notifications));
    let sent = |Start { id, event, attempt, .. }| Sent { id, event, attempt };
    let notifications = request.into_iter().map(sent).collect();
    Landed { notifications, begun_at, took: begun.elapsed(), outcome }
}
