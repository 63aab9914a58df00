//! The subscribers: one server with a path for each, whose answers follow the plan, and the log of what came.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::log::{Log, Request as Logged};
use super::plan::{Plan, Weather};
use crate::support::receiver::SECRET;

/// The daemon gives up an attempt after this.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Accept,
    AcceptAfter(Duration),
    /// Accepted, but whoever asked never hears of it.
    AcceptAndReset,
    /// Accepted; the answer breaks off behind its head.
    AcceptAndBreakOff,
    /// Accepted, and no answer ever comes.
    AcceptAndHang,
    Refuse(u16),
    /// This status, and to come again in a second.
    Busy(u16),
    Hang,
    Reset,
}

impl Reply {
    const fn accepts(self) -> bool {
        matches!(
            self,
            Self::Accept | Self::AcceptAfter(_) | Self::AcceptAndReset | Self::AcceptAndBreakOff | Self::AcceptAndHang
        )
    }

    /// Whether the answer must have arrived.
    fn is_heard(self) -> bool {
        match self {
            Self::AcceptAfter(delay) => delay < TIMEOUT / 4,
            reply => reply == Self::Accept,
        }
    }

    /// The same for the same request of the same run.
    fn of(weather: Weather, chance: u64) -> Self {
        match weather {
            Weather::Fair => Self::Accept,
            Weather::Slow => Self::AcceptAfter(Duration::from_millis(chance % 400)),
            Weather::Failing if chance.is_multiple_of(4) => Self::Accept,
            Weather::Failing => Self::Refuse([500, 404, 400, 502, 302, 413][(chance / 4 % 6) as usize]),
            Weather::Busy => Self::Busy([429, 503][(chance % 2) as usize]),
            Weather::Hanging => Self::Hang,
            Weather::Resetting => Self::Reset,
            Weather::LosingAnswers => {
                [Self::AcceptAndReset, Self::AcceptAndBreakOff, Self::AcceptAndHang][(chance % 3) as usize]
            }
            Weather::Mixed => match chance % 8 {
                0..=2 => Self::Accept,
                nth => Self::of(Weather::FOUL[nth as usize % 6], chance / 8),
            },
        }
    }
}

struct State {
    plan: Arc<Plan>,
    began: Mutex<Instant>,
    calm: AtomicBool,
    log: Mutex<Log>,
}

/// Stops when dropped.
pub(super) struct Endpoints {
    port: u16,
    state: Arc<State>,
    server: AbortHandle,
}

impl Endpoints {
    /// Every endpoint of the plan.
    pub(super) async fn start(plan: Arc<Plan>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let log = Mutex::new(Log::new(plan.weathers.len()));
        let began = Mutex::new(Instant::now());
        let state = Arc::new(State { plan, began, calm: AtomicBool::new(false), log });
        let server = tokio::spawn(accept(listener, Arc::clone(&state))).abort_handle();
        Self { port, state, server }
    }

    /// The plan's time begins now.
    pub(super) fn begin(&self, now: Instant) {
        *self.state.began.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Every endpoint is fair from now on.
    pub(super) fn calm(&self) {
        self.state.calm.store(true, Ordering::Relaxed);
    }

    /// Where an endpoint is.
    pub(super) fn url(&self, endpoint: usize) -> String {
        format!("http://127.0.0.1:{}/{endpoint}", self.port)
    }

    /// What came so far.
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.state.log()
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl State {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn weather(&self, endpoint: usize) -> Weather {
        if self.calm.load(Ordering::Relaxed) {
            return Weather::Fair;
        }
        let began = *self.began.lock().unwrap_or_else(PoisonError::into_inner);
        self.plan.weather(endpoint, began.elapsed())
    }

    /// Logs a request and decides upon it, in one step.
    fn decide(&self, endpoint: usize, head: &hyper::http::request::Parts, body: &Bytes) -> Reply {
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let id = header("webhook-id");
        let weather = self.weather(endpoint);
        let signed = crate::support::request::verify(SECRET, body, &head.headers);
        let asked_for_batches = self.plan.batch(endpoint).is_some();
        let unpacked = asked_for_batches.then(|| unpacked(id, body)).filter(|batch| !batch.is_empty());
        let mut log = self.log();
        if asked_for_batches && unpacked.is_none() {
            log.wrong.push(format!("{id} to endpoint {endpoint} is no batch: {}", String::from_utf8_lossy(body)));
        }
        let notifications = unpacked.unwrap_or_else(|| vec![(id.to_owned(), body.clone())]);
        let first = notifications[0].0.as_str();
        let chance = xxh3_64_with_seed(first.as_bytes(), self.plan.seed ^ log.times_seen(endpoint, first));
        let reply = Reply::of(weather, chance);
        if weather != Weather::Fair && reply != Reply::Accept {
            log.misbehaved += 1;
        }
        for (nth, (id, body)) in notifications.iter().enumerate() {
            log.record(Logged {
                endpoint,
                id,
                goes_along: nth > 0,
                attempt: header("whdb-attempt").parse().ok(),
                body,
                hash: xxh3_64(body),
                signed: signed.clone(),
                accepted: reply.accepts(),
                heard: reply.is_heard(),
            });
        }
        reply
    }
}

/// The notifications of a batch, each under the `webhook-id` that it would have by itself; none where it is no batch.
fn unpacked(id: &str, body: &Bytes) -> Vec<(String, Bytes)> {
    #[derive(serde::Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        notifications: Vec<&'a serde_json::value::RawValue>,
    }
    let subscription = id.split('_').nth(1).unwrap_or_default();
    let own_id = |notification: &str| {
        let parsed: serde_json::Value = serde_json::from_str(notification).ok()?;
        Some(format!("msg_{subscription}_{}", parsed["id"].as_str()?.strip_prefix("evt_")?))
    };
    let Ok(batch) = serde_json::from_slice::<Batch<'_>>(body) else { return Vec::new() };
    let one =
        |raw: &&serde_json::value::RawValue| Some((own_id(raw.get())?, Bytes::copy_from_slice(raw.get().as_bytes())));
    batch.notifications.iter().map(one).collect::<Option<_>>().unwrap_or_default()
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        connections.spawn(async move {
            // The other side may go at any time.
            let _ = serve(socket, state).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(socket: TcpStream, state: Arc<State>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    // A second handle, by which closing can be made a reset while the server owns the first.
    let socket = socket.into_std()?;
    let reset = Arc::new(TcpStream::from_std(socket.try_clone()?)?);
    let service = service_fn(|request| answer(request, Arc::clone(&state), Arc::clone(&reset)));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(TcpStream::from_std(socket)?), service).await;
    Ok(())
}

type Answer = io::Result<Response<BoxBody<Bytes, io::Error>>>;

async fn answer(request: Request<Incoming>, state: Arc<State>, reset: Arc<TcpStream>) -> Answer {
    let (head, body) = request.into_parts();
    let endpoint = head.uri.path().trim_start_matches('/').parse().expect("the path is an endpoint's number");
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    match state.decide(endpoint, &head, &body) {
        Reply::Accept => Ok(status(200)),
        Reply::AcceptAfter(delay) => {
            tokio::time::sleep(delay).await;
            Ok(status(204))
        }
        Reply::Refuse(code) => Ok(status(code)),
        Reply::Busy(code) => {
            let mut response = status(code);
            response.headers_mut().insert("retry-after", "1".parse().expect("a header"));
            Ok(response)
        }
        Reply::AcceptAndBreakOff => Ok(broken(reset)),
        Reply::Hang | Reply::AcceptAndHang => std::future::pending().await,
        Reply::Reset | Reply::AcceptAndReset => {
            reset.set_zero_linger()?;
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
}

fn status(code: u16) -> Response<BoxBody<Bytes, io::Error>> {
    let body = Full::new(Bytes::new()).map_err(|never: Infallible| match never {}).boxed();
    Response::builder().status(code).body(body).expect("a response")
}

/// 200 and a part of a body, then a reset.
fn broken(reset: Arc<TcpStream>) -> Response<BoxBody<Bytes, io::Error>> {
    let parts = stream::unfold(0, move |part| {
        let reset = Arc::clone(&reset);
        async move {
            if part == 0 {
                return Some((Ok(Frame::data(Bytes::from_static(b"the beginning of an answer"))), 1));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            let _ = reset.set_zero_linger();
            Some((Err(io::ErrorKind::ConnectionReset.into()), 2))
        }
    });
    let body = BodyExt::boxed(StreamBody::new(parts));
    Response::builder().status(200).header("content-length", "1000").body(body).expect("a response")
}
