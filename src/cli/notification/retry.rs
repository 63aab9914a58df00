//! `notification retry`: an extra attempt, by hand.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use clap::{ArgGroup, Args};
use indicatif::ProgressBar;
use tokio::time::{Instant, sleep};

use super::super::context::Context;
use super::super::failure::Advice;
use super::super::output::answer;
use super::{count, find, require_daemon, was};
use crate::catalog::details::SubscriptionDetails;
use crate::catalog::failures::{self, Candidate};
use crate::catalog::retry_requests::{self, ASKER_WAITS, RetryAnswer};
use crate::model::{EventId, SubscriptionState};

/// Requests that are open at once: enough to keep a daemon busy, and few to be left behind where this command is killed.
const OPEN: usize = 64;

/// Failures that are looked up at once.
const PAGE: i64 = 500;

/// How often a wait looks for answers.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How often the daemon is told that somebody still waits, and is looked after.
const STILL_HERE: Duration = Duration::from_secs(5);

/// What to send again.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").required(true).args(["all", "events"])))]
pub(in super::super) struct RetryArgs {
    /// Its id, as `webhookdb notification list` shows it
    id: String,
    /// Everything that was given up and is still kept
    #[arg(long)]
    all: bool,
    /// One event, failed or pending, by its id or the webhook-id that the endpoint saw; may be given several times
    #[arg(long = "id", value_name = "EVENT")]
    events: Vec<String>,
}

pub(super) async fn run(context: &Context<'_>, args: RetryArgs) -> anyhow::Result<()> {
    let subscription = find(context, &args.id).await?;
    check_served(&subscription)?;
    let queue = if args.all {
        Queue::of_all(context, &subscription).await?
    } else {
        Queue::of_events(context, &subscription, &args.events).await?
    };
    require_daemon(context).await?;
    Retrying::new(context, &subscription, queue).run().await
}

fn check_served(subscription: &SubscriptionDetails) -> Result<(), Advice> {
    let id = subscription.opaque_id;
    let first = match subscription.state {
        SubscriptionState::Paused => "resume",
        SubscriptionState::Deactivated => "enable",
        _ => return Ok(()),
    };
    let what =
        format!("notification {id} is {} ({}): nothing is sent to it", subscription.state.as_str(), subscription.why());
    Err(Advice::new(what, format!("`webhookdb notification {first} {id}` first")))
}

/// What is still to be asked for, in the order of the log.
struct Queue {
    total: i64,
    waiting: VecDeque<Candidate>,
    /// Beyond and up to which place there are more.
    more: Option<(i64, i64)>,
}

impl Queue {
    async fn of_all(context: &Context<'_>, subscription: &SubscriptionDetails) -> anyhow::Result<Self> {
        let (total, last) = failures::extent(&context.catalog, subscription.id).await?;
        if total == 0 {
            let what = format!("notification {} has no failed events", subscription.opaque_id);
            let hint = "what is pending is sent by itself; --id sends one of these again at once";
            return Err(Advice::new(what, hint).into());
        }
        Ok(Self { total, waiting: VecDeque::new(), more: Some((0, last)) })
    }

    async fn of_events(
        context: &Context<'_>,
        subscription: &SubscriptionDetails,
        events: &[String],
    ) -> anyhow::Result<Self> {
        let id = subscription.opaque_id;
        let event_id = |given: &String| EventId::event_of_message(given, id).unwrap_or_else(|| given.clone());
        let events: Vec<String> = events.iter().map(event_id).collect();
        let found = failures::by_id(&context.catalog, subscription.id, &events).await?;
        let hint = format!("`webhookdb notification failures {id}` shows those that failed");
        if let Some(unknown) = events.iter().find(|event| !found.iter().any(|found| found.event_id == **event)) {
            let what = format!("notification {id} has no failed or pending event {unknown}");
            return Err(Advice::new(what, hint).into());
        }
        if let Some(delivered) = found.iter().find(|found| found.state == "delivered") {
            return Err(Advice::new(format!("event {} was delivered already", delivered.event_id), hint).into());
        }
        let total = i64::try_from(found.len()).unwrap_or(i64::MAX);
        Ok(Self { total, waiting: found.into(), more: None })
    }

    async fn fill(&mut self, context: &Context<'_>, subscription: i64) -> anyhow::Result<()> {
        if let Some((after, last)) = self.more.filter(|_| self.waiting.is_empty()) {
            self.waiting = failures::page(&context.catalog, subscription, after, last, PAGE).await?.into();
            self.more = self.waiting.back().map(|candidate| (candidate.seq, last));
        }
        Ok(())
    }
}

/// The requests of one run of the command.
struct Retrying<'a> {
    context: &'a Context<'a>,
    subscription: &'a SubscriptionDetails,
    queue: Queue,
    open: HashMap<i64, Candidate>,
    progress: ProgressBar,
    accepted: i64,
    refused: i64,
    /// Accepted, and due all the same.
    still_pending: i64,
    heard_at: Instant,
    told_at: Instant,
}

impl<'a> Retrying<'a> {
    fn new(context: &'a Context<'a>, subscription: &'a SubscriptionDetails, queue: Queue) -> Self {
        Self {
            context,
            subscription,
            // On stderr, and only where that is a terminal.
            progress: ProgressBar::new(queue.total.unsigned_abs()),
            queue,
            open: HashMap::new(),
            accepted: 0,
            refused: 0,
            still_pending: 0,
            heard_at: Instant::now(),
            told_at: Instant::now(),
        }
    }

    async fn run(mut self) -> anyhow::Result<()> {
        let done = self.send_all().await;
        self.progress.finish_and_clear();
        let open: Vec<i64> = self.open.keys().copied().collect();
        retry_requests::withdraw(&self.context.catalog, &open).await?;
        let (total, url) = (count(self.queue.total, "event"), &self.subscription.url);
        answer(&format!("{} of {total} {} accepted by {url}.", self.accepted, was(self.queue.total)))?;
        if self.still_pending > 0 {
            answer(&format!(
                "{} of these stay pending all the same, and will be sent again in their turn.",
                self.still_pending
            ))?;
        }
        done?;
        if self.refused == 0 {
            return Ok(());
        }
        let id = self.subscription.opaque_id;
        let what = format!("{} of {total} {} not accepted", self.refused, was(self.queue.total));
        let hint = format!("they stay as they were; `webhookdb notification failures {id}` shows what failed");
        Err(Advice::new(what, hint).into())
    }

    async fn send_all(&mut self) -> anyhow::Result<()> {
        loop {
            self.queue.fill(self.context, self.subscription.id).await?;
            self.ask().await?;
            if self.open.is_empty() {
                return Ok(());
            }
            let open: Vec<i64> = self.open.keys().copied().collect();
            let answers = retry_requests::take_answers(&self.context.catalog, &open).await?;
            if answers.is_empty() {
                self.still_here(&open).await?;
                sleep(LOOK_AGAIN).await;
            }
            for answer in answers {
                self.hear(answer)?;
            }
        }
    }

    /// Asks for as many as may be open. Changes of one row are sent in their order, one at a time.
    async fn ask(&mut self) -> anyhow::Result<()> {
        let room = OPEN - self.open.len();
        let next = failures::take_untied(&mut self.queue.waiting, self.open.values(), room);
        if next.is_empty() {
            return Ok(());
        }
        let events: Vec<&str> = next.iter().map(|candidate| candidate.event_id.as_str()).collect();
        let requests = retry_requests::insert(&self.context.catalog, self.subscription.id, &events).await?;
        let mut by_event: HashMap<String, Candidate> =
            next.into_iter().map(|candidate| (candidate.event_id.clone(), candidate)).collect();
        self.open.extend(requests.into_iter().filter_map(|(id, event)| Some((id, by_event.remove(&event)?))));
        Ok(())
    }

    fn hear(&mut self, heard: RetryAnswer) -> anyhow::Result<()> {
        self.heard_at = Instant::now();
        self.progress.inc(1);
        let Some(candidate) = self.open.remove(&heard.id) else { return Ok(()) };
        match heard.outcome {
            Ok(()) => {
                self.accepted += 1;
                self.still_pending += i64::from(candidate.state == "owed");
                Ok(())
            }
            Err(reason) => {
                self.refused += 1;
                let line = format!("{} was not accepted: {reason}", candidate.event_id);
                self.progress.suspend(|| answer(&line))
            }
        }
    }

    /// Now and then: the daemon may have gone, and it must not believe that we have.
    async fn still_here(&mut self, open: &[i64]) -> anyhow::Result<()> {
        let timeout = self.context.settings.delivery().timeout();
        if self.heard_at.elapsed() > ASKER_WAITS + timeout {
            let what = format!("{} without an answer from the daemon", count(i64::try_from(open.len())?, "event"));
            return Err(Advice::new(what, "`webhookdb status` shows whether the daemon is well").into());
        }
        if self.told_at.elapsed() > STILL_HERE {
            self.told_at = Instant::now();
            retry_requests::still_waiting(&self.context.catalog, open).await?;
            require_daemon(self.context).await?;
        }
        Ok(())
    }
}
