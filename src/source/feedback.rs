//! Status updates: on a timer of their own, so that nothing that is full or slow ever stops them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{BufMut, BytesMut};
use postgres_protocol::message::frontend;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::debug;

use super::channel::{Reader, Writer, tag};
use super::framing::Wire;
use super::progress::Progress;
use super::{SourceError, framing};
use crate::model::Lsn;

/// The longest time between two status updates.
const INTERVAL_MAX: Duration = Duration::from_secs(10);
/// The shortest, however short `wal_sender_timeout` is.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Acknowledgements within this time share a status update; the server forgets log no sooner for more of them.
const COALESCE: Duration = Duration::from_millis(100);
/// A status update that the operating system does not take for so long: the connection is stuck.
const SEND_MAX: Duration = Duration::from_secs(30);
/// How long an orderly end may take. A server amid a large transaction would answer only after all of it.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// 2000-01-01 in Unix time: where Postgres's clock begins.
const POSTGRES_EPOCH: Duration = Duration::from_secs(946_684_800);
/// The CopyDone message.
const COPY_DONE: u8 = b'c';

/// The writing half of a replication stream: a task that reports to the server what has been received and what is settled.
///
/// Where it is dropped the task ends at once; the connection closes when the [`ReplicationStream`](super::ReplicationStream)
/// is dropped too.
pub struct Feedback {
    progress: Arc<Progress>,
    task: JoinHandle<()>,
}

impl Feedback {
    /// How often to report, given the server's `wal_sender_timeout` (0: none): three times within it.
    pub(super) fn interval(wal_sender_timeout: Duration) -> Duration {
        match wal_sender_timeout {
            Duration::ZERO => INTERVAL_MAX,
            bound => (bound / 3).clamp(INTERVAL_MIN, INTERVAL_MAX),
        }
    }

    pub(super) fn spawn(writer: Writer, progress: Arc<Progress>, interval: Duration) -> Self {
        let task = tokio::spawn(run(writer, Arc::clone(&progress), interval));
        Self { progress, task }
    }

    /// Everything up to here is settled and recorded: the server may forget the log before it. Never goes back. Returns at
    /// once; the server is told within 100 ms.
    ///
    /// Before the first call the server is told no flush position at all.
    pub fn acknowledge(&self, flushed: Lsn) {
        self.progress.acknowledge(flushed);
    }

    /// Returns when a status update could not be sent: the connection is gone, though nobody may be reading from it.
    pub async fn lost(&self) {
        self.progress.lost.cancelled().await;
    }

    /// Ends the stream in good order: the last status update, CopyDone, and the server's answer, all within three seconds.
    ///
    /// Drop the [`ReplicationStream`](super::ReplicationStream) before: what it has left unread is then read here and
    /// dropped, without which the operating system would reset the connection and lose the last status update.
    pub async fn close(mut self) {
        self.progress.closing.cancel();
        match timeout(CLOSE_MAX, &mut self.task).await {
            Ok(_) => debug!("the replication stream was closed"),
            Err(_) => debug!("the replication stream was cut: its end was not answered in time"),
        }
    }
}

impl Drop for Feedback {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(mut writer: Writer, progress: Arc<Progress>, period: Duration) {
    let outcome = match report(&mut writer, &progress, period).await {
        Ok(()) => close(&mut writer, &progress).await,
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        debug!(error = &error as &dyn std::error::Error, "status updates ended");
    }
    progress.lost.cancel();
}

/// Sends status updates until the end is asked for.
async fn report(writer: &mut Writer, progress: &Progress, period: Duration) -> Result<(), SourceError> {
    let mut timer = interval(period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = progress.closing.cancelled() => return Ok(()),
            () = progress.reply.notified() => {}
            _ = timer.tick() => {}
            () = moved(progress, last + COALESCE) => {}
        }
        send_status(writer, progress).await?;
        last = Instant::now();
        timer.reset();
    }
}

/// Where this is dropped after the notification was taken, the status update that came in between told the position too.
async fn moved(progress: &Progress, not_before: Instant) {
    progress.moved.notified().await;
    sleep_until(not_before).await;
}

async fn send_status(writer: &mut Writer, progress: &Progress) -> Result<(), SourceError> {
    progress.answer();
    let (received, acknowledged) = progress.positions();
    let mut update = BytesMut::with_capacity(64);
    status_update(received, acknowledged, &mut update);
    send(writer, &update).await
}

async fn send(writer: &mut Writer, bytes: &[u8]) -> Result<(), SourceError> {
    let stuck = |_| SourceError::Unreadable(std::io::ErrorKind::TimedOut.into());
    timeout(SEND_MAX, writer.send(bytes)).await.map_err(stuck)?
}

/// A standby status update inside CopyData. We apply what we flush, and ask for no reply.
fn status_update(received: Lsn, acknowledged: Lsn, buffer: &mut BytesMut) {
    buffer.put_u8(framing::COPY_DATA);
    buffer.put_i32(4 + 1 + 4 * 8 + 1);
    buffer.put_u8(b'r');
    buffer.put_u64(received.get());
    buffer.put_u64(acknowledged.get());
    buffer.put_u64(acknowledged.get());
    buffer.put_i64(postgres_clock());
    buffer.put_u8(0);
}

/// Microseconds since 2000-01-01; the server only shows it.
fn postgres_clock() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + POSTGRES_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The last status update and CopyDone; then reads to the server's own end, so that nothing unread resets the connection.
async fn close(writer: &mut Writer, progress: &Progress) -> Result<(), SourceError> {
    send_status(writer, progress).await?;
    let mut end = BytesMut::new();
    frontend::copy_done(&mut end);
    send(writer, &end).await?;
    if let Some(reader) = progress.take_back() {
        read_to_the_end(reader).await?;
    }
    end.clear();
    frontend::terminate(&mut end);
    send(writer, &end).await?;
    Ok(writer.shut_down().await.map_err(crate::postgres::PostgresError::Io)?)
}

async fn read_to_the_end(mut reader: Reader) -> Result<(), SourceError> {
    loop {
        match reader.next().await? {
            Wire::Message(frame) if tag(&frame) == COPY_DONE => return Ok(()),
            Wire::Message(_) | Wire::Skipped { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_three_times_within_the_servers_patience() {
        let seconds = Duration::from_secs;
        for (bound, expected) in [(0, 10), (60, 10), (30, 10), (6, 2)] {
            assert_eq!(Feedback::interval(seconds(bound)), seconds(expected), "{bound} s");
        }
        assert_eq!(Feedback::interval(Duration::from_millis(1)), INTERVAL_MIN);
    }

    #[test]
    fn a_status_update_has_the_protocols_form() {
        let mut update = BytesMut::new();
        status_update(Lsn::new(9), Lsn::new(7), &mut update);
        assert_eq!(update.len(), 1 + 38);
        assert_eq!(&update[..6], b"d\0\0\0\x26r");
        assert_eq!(&update[6..30], [9_u64, 7, 7].map(u64::to_be_bytes).concat());
        assert_eq!(update[38], 0);
    }
}
