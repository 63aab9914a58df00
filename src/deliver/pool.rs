//! Connections that are kept for later. They take memory and descriptors, so it is bounded how many.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hyper::body::Incoming;
use hyper::{Request, Response};

use super::connection::{BoxError, Connection, Connector, Http1, Http2};
use super::{Payload, Target};

/// Below the usual 60 and 75 seconds after which servers close idle connections, so that a request seldom meets a close.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// So often it is looked which have been kept for too long, or are closed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Makes connections, and keeps them.
pub(super) struct Pool {
    connector: Connector,
    kept: Arc<Mutex<Kept>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

struct Kept {
    hosts: HashMap<Arc<str>, Host, RandomState>,
    /// Of HTTP/1, of all hosts.
    idle: usize,
    idle_max: usize,
    is_swept: bool,
}

#[derive(Default)]
struct Host {
    /// Since when; the last one is used first.
    idle: Vec<(Instant, Http1)>,
    /// When it was last asked for.
    shared: Option<(Instant, Http2)>,
}

/// The head of an answer, and the connection that brings the rest.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Connection,
}

impl Pool {
    /// For so many requests in flight, of which half may leave a connection behind.
    pub(super) fn new(connector: Connector, max_in_flight: usize) -> Self {
        let kept = Kept { hosts: HashMap::default(), idle: 0, idle_max: max_in_flight.div_ceil(2), is_swept: false };
        Self { connector, kept: Arc::new(Mutex::new(kept)) }
    }

    /// Sends a request. One that meets the close of a connection that was kept goes on another, if nothing of it was sent.
    pub(super) async fn send(&self, target: &Target, mut request: Request<Payload>) -> Result<Answered, BoxError> {
        while let Some(mut connection) = self.take(target) {
            match connection.send(target, request).await {
                Ok(response) => return Ok(Answered { response, connection }),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        // In a box, which is seldom needed: every attempt would have room for it.
        let mut connection = self.share(target, Box::pin(Connection::open(&self.connector, target)).await?);
        let response = connection.send(target, request).await.map_err(|error| error.into_error())?;
        Ok(Answered { response, connection })
    }

    /// Keeps a connection of which the answer has been read, if it takes another request.
    pub(super) fn give_back(&self, target: &Target, connection: Connection) {
        let Connection::Http1(mut connection) = connection else { return };
        if connection.is_ready() {
            // What there is no room for is closed, after the lock is let go.
            let (_excess, to_be_swept) = {
                let mut kept = self.kept();
                (kept.keep(target.origin(), connection), kept.begins_to_be_swept())
            };
            self.sweep_if(to_be_swept);
        }
    }

    /// One of HTTP/2 is enough for a host: where another came first, that one is used.
    fn share(&self, target: &Target, opened: Connection) -> Connection {
        let Connection::Http2(opened) = opened else { return opened };
        let (shared, to_be_swept) = {
            let mut kept = self.kept();
            (kept.share(target.origin(), opened), kept.begins_to_be_swept())
        };
        self.sweep_if(to_be_swept);
        Connection::Http2(shared)
    }

    /// What is kept for this target. It may be closed by now: then a request on it comes back unsent.
    fn take(&self, target: &Target) -> Option<Connection> {
        self.kept().take(target.origin())
    }

    fn sweep_if(&self, to_be_swept: bool) {
        if to_be_swept {
            tokio::spawn(sweep(Arc::downgrade(&self.kept)));
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }
}

impl Kept {
    fn take(&mut self, origin: &str) -> Option<Connection> {
        let host = self.hosts.get_mut(origin)?;
        if let Some((asked_at, shared)) = host.shared.as_mut().filter(|(_, shared)| !shared.is_closed()) {
            *asked_at = Instant::now();
            return Some(Connection::Http2(shared.clone()));
        }
        let (_, connection) = host.idle.pop()?;
        self.idle -= 1;
        Some(Connection::Http1(connection))
    }

    /// Returns what there is no room for.
    fn keep(&mut self, origin: &Arc<str>, connection: Http1) -> Option<Http1> {
        if self.idle >= self.idle_max {
            return Some(connection);
        }
        self.hosts.entry(origin.clone()).or_default().idle.push((Instant::now(), connection));
        self.idle += 1;
        None
    }

    fn share(&mut self, origin: &Arc<str>, opened: Http2) -> Http2 {
        let host = self.hosts.entry(origin.clone()).or_default();
        let first = host.shared.take().map(|(_, shared)| shared).filter(|shared| !shared.is_closed());
        let shared = first.unwrap_or(opened);
        host.shared = Some((Instant::now(), shared.clone()));
        shared
    }

    /// True the first time since nothing was kept.
    const fn begins_to_be_swept(&mut self) -> bool {
        !std::mem::replace(&mut self.is_swept, true)
    }

    /// Forgets what was not used for long, and what is closed.
    fn clean(&mut self, now: Instant) {
        let is_fresh = |since: &Instant| now.saturating_duration_since(*since) < IDLE_TIMEOUT;
        self.hosts.retain(|_, host| {
            host.idle.retain_mut(|(since, connection)| is_fresh(since) && connection.is_open());
            host.shared.take_if(|(asked_at, shared)| !is_fresh(asked_at) || shared.is_closed());
            !(host.idle.is_empty() && host.shared.is_none())
        });
        self.idle = self.hosts.values().map(|host| host.idle.len()).sum();
    }
}

/// Until nothing is kept any more, or nobody keeps it.
async fn sweep(kept: Weak<Mutex<Kept>>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        let Some(kept) = kept.upgrade() else { return };
        let mut kept = lock(&kept);
        kept.clean(Instant::now());
        if kept.hosts.is_empty() {
            kept.is_swept = false;
            return;
        }
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
