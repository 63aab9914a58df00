//! What a source does that cannot go on: says why, records what `setup` has to know, stores what is in memory.

use std::time::Duration;

use tracing::{info, warn};

use super::super::PipelineError;
use super::super::intake::Backlog;
use super::{RETRY_CAP, SourceTask, UNSENT_PAUSE};
use crate::admin::SourceState;
use crate::checkpoint::SourceRecord;
use crate::source::slot::{self, after_commit};
use crate::source::{Sentinel, SourceError};

/// How long what is in memory may take to be stored, where the source cannot go on from it.
const LAST_GRACE: Duration = Duration::from_secs(5);

impl SourceTask {
    /// Says why there is no stream.
    pub(super) fn lost(&mut self, error: &PipelineError) {
        if let Some(session) = &self.session {
            // Where the server cannot send, what was read before goes on being delivered, under the lease.
            session.fence.set_connected(error.unsent().is_some());
            if session.over.is_cancelled() {
                self.session = None;
                self.backlog = Backlog::default();
            }
        }
        let (label, reason, hint) = (error.label(), chain(error), error.hint());
        let state = if error.is_retryable() {
            SourceState::Waiting { label, reason: reason.clone(), hint: hint.clone() }
        } else {
            SourceState::Failed { label, reason: reason.clone(), hint: hint.clone() }
        };
        self.context.readiness.set(self.context.name(), state);
        // What is tried again many times a minute is said once.
        if self.said.as_ref() != Some(&reason) {
            warn!(source = self.context.name(), reason, hint, retryable = error.is_retryable(), "not streaming");
            self.said = Some(reason);
        }
    }

    /// What only reading the log has shown is recorded, so that `setup` knows what it is to get past.
    pub(super) async fn record(&self, error: &PipelineError) {
        let stuck = self.session.as_ref().and_then(|session| Some((&session.store, session.progress.stuck()?)));
        let stuck = stuck.filter(|(_, stuck)| error.unsent() == Some(Some(stuck.commit_lsn)));
        let foreign = error.is_foreign() && self.from_record;
        if !foreign && stuck.is_none() {
            return;
        }
        let recorded = async {
            let client = self.context.catalog.link.client().await.map_err(PipelineError::Catalog)?;
            match stuck {
                Some((store, stuck)) => store.record_stuck(&client, &stuck, &chain(error)).await?,
                None => SourceRecord::refuse(&client, self.context.name(), &chain(error)).await?,
            }
            Ok::<(), PipelineError>(())
        };
        // A stop must not wait for it, and the next try records it otherwise.
        let outcome = tokio::select! {
            biased;
            () = self.context.stop.cancelled() => return,
            outcome = tokio::time::timeout(RETRY_CAP, recorded) => outcome,
        };
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(
                    source = self.context.name(),
                    error = &error as &dyn std::error::Error,
                    "why could not be recorded"
                );
            }
            Err(_) => warn!(source = self.context.name(), "why could not be recorded in time"),
        }
    }

    /// What another history says is to be judged by the record alone, which an operator may have mended. What was read before
    /// is stored: it is not part of the gap. Only then is it said that `setup` is wanted, which would cut this off.
    pub(super) async fn give_up_memory(&mut self, error: &PipelineError) {
        if error.is_discord()
            && let Some(session) = self.session.take()
        {
            session.fence.set_connected(false);
            let state = SourceState::Waiting { label: error.label(), reason: chain(error), hint: None };
            self.context.readiness.set(self.context.name(), state);
            session.drain(std::mem::take(&mut self.backlog), LAST_GRACE).await;
        }
    }

    /// After a crash of the server its slot may be before a transaction that was skipped: it is moved past it again. The
    /// checkpoint is past it already. Returns whether that was so.
    pub(super) async fn pass_skipped(&self, error: &PipelineError) -> bool {
        let Some(Some(commit_lsn)) = error.unsent() else { return false };
        let settings = &self.context.settings;
        let passed = async {
            let catalog = self.context.catalog.link.client().await.map_err(PipelineError::Catalog)?;
            if SourceRecord::read(&catalog, settings.name()).await?.point.flush_lsn <= commit_lsn {
                return Ok(false);
            }
            let sentinel = Sentinel::connect(settings.url()).await?;
            let client = sentinel.client().ok_or(SourceError::ShuttingDown)?;
            let end = slot::advance(&client, settings.slot(), after_commit(commit_lsn)).await?;
            info!(source = settings.name(), slot = %end, skipped = %commit_lsn, "the slot is past the skipped transaction");
            Ok::<bool, PipelineError>(true)
        };
        let outcome = tokio::select! {
            biased;
            () = self.context.stop.cancelled() => return false,
            outcome = tokio::time::timeout(UNSENT_PAUSE, passed) => outcome,
        };
        match outcome {
            Ok(Ok(passed)) => passed,
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                warn!(source = settings.name(), error, "the slot was not moved past the skipped transaction");
                false
            }
            Err(_) => false,
        }
    }
}

/// The error and what caused it, in one line.
fn chain(error: &PipelineError) -> String {
    let first: &dyn std::error::Error = error;
    let mut said: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(first), |error| (*error).source()) {
        let text = error.to_string();
        if said.last() != Some(&text) {
            said.push(text);
        }
    }
    said.join(": ")
}
