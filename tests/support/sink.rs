//! An endpoint that costs next to nothing: it keeps no requests, so that it takes millions, and thousands that hang.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::receiver::{Receiver, SECRET};
use super::{PATIENCE, POLL};

/// How requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// 204, at once.
    Accepts,
    /// 204, at once; then the connection is closed without having said so.
    AcceptsAndCloses,
    /// Never, until another manner is set; then by that.
    Hangs,
    /// 500, at once.
    Fails,
    /// 204, one request a second, all connections together.
    OneASecond,
    /// 500 to each external id that ends with an even digit, 204 to the others.
    RejectsEven,
}

#[derive(Default)]
struct Seen {
    requests: usize,
    /// Connections that are over.
    closed: usize,
    accepted: HashSet<u64>,
    /// When the first request about each external id was accepted, where that is kept.
    times: Option<HashMap<String, Instant>>,
}

struct State {
    manner: watch::Sender<Manner>,
    seen: Mutex<Seen>,
    turn: tokio::sync::Mutex<()>,
}

/// A server on 127.0.0.1, on any free port; gone when dropped.
pub(crate) struct Sink {
    scheme: &'static str,
    port: u16,
    certificate: Option<String>,
    state: Arc<State>,
    server: JoinHandle<()>,
}

impl Sink {
    /// Plain HTTP.
    pub(crate) async fn start(manner: Manner) -> Self {
        Self::start_with(manner, None).await
    }

    /// TLS, by a certificate that nobody trusts but who is given [`certificate`](Self::certificate).
    pub(crate) async fn start_with_tls(manner: Manner) -> Self {
        Self::start_with(manner, Some(Receiver::acceptor())).await
    }

    async fn start_with(manner: Manner, tls: Option<(TlsAcceptor, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (acceptor, certificate) = tls.unzip();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let state =
            State { manner: watch::Sender::new(manner), seen: Mutex::default(), turn: tokio::sync::Mutex::default() };
        let state = Arc::new(state);
        let server = tokio::spawn(accept(listener, acceptor, Arc::clone(&state)));
        Self { scheme, port, certificate, state, server }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}/", self.scheme, self.port)
    }

    /// The PEM of its certificate, where it speaks TLS.
    pub(crate) fn certificate(&self) -> &str {
        self.certificate.as_deref().expect("a sink with TLS")
    }

    /// From now on, for requests that hang too.
    pub(crate) fn set(&self, manner: Manner) {
        self.state.manner.send_replace(manner);
    }

    /// How many requests have come, whatever became of them.
    pub(crate) fn requests(&self) -> usize {
        self.seen(|seen| seen.requests)
    }

    /// How many different webhook-ids were accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.seen(|seen| seen.accepted.len())
    }

    /// Forgets what was accepted: what comes again counts again.
    pub(crate) fn forget(&self) {
        self.seen(|seen| seen.accepted = HashSet::new());
    }

    /// From now on keeps when each external id came first.
    pub(crate) fn keep_times(&self) {
        self.seen(|seen| seen.times = Some(HashMap::new()));
    }

    /// When each external id came first, since they are kept.
    pub(crate) fn times(&self) -> HashMap<String, Instant> {
        self.seen(|seen| seen.times.clone().unwrap_or_default())
    }

    /// Waits until so many different webhook-ids were accepted.
    pub(crate) async fn wait_for_accepted(&self, n: usize, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.accepted() < n {
            assert!(Instant::now() < deadline, "{} of {n} were accepted within {limit:?}", self.accepted());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until so many connections are over.
    pub(crate) async fn wait_for_closed(&self, n: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.seen(|seen| seen.closed) < n {
            assert!(Instant::now() < deadline, "{} of {n} were closed", self.seen(|seen| seen.closed));
            tokio::time::sleep(POLL).await;
        }
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.state.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            // The other side may go at any time.
            let _ = connection(socket, tls, &state).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(socket: TcpStream, tls: Option<TlsAcceptor>, state: &State) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let served = match tls {
        None => serve(socket, state).await,
        Some(tls) => serve(tls.accept(socket).await?, state).await,
    };
    state.seen.lock().unwrap_or_else(PoisonError::into_inner).closed += 1;
    served
}

async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin, state: &State) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(4096);
    while let Some((head, body)) = request(&mut socket, &mut buffer).await? {
        let answer = state.answer(&buffer[..head], &buffer[head..head + body]).await;
        buffer.drain(..head + body);
        buffer.shrink_to(1 << 16);
        let phrase = if answer { "204 No Content" } else { "500 Internal Server Error\r\ncontent-length: 0" };
        socket.write_all(format!("HTTP/1.1 {phrase}\r\n\r\n").as_bytes()).await?;
        if *state.manner.borrow() == Manner::AcceptsAndCloses {
            break;
        }
    }
    Ok(())
}

/// Reads until a request is whole; the lengths of its head and its body.
async fn request(socket: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<Option<(usize, usize)>> {
    let mut searched = 0;
    let head = loop {
        let found = buffer[searched..].windows(4).position(|window| window == b"\r\n\r\n");
        match found {
            Some(at) => break searched + at + 4,
            None => searched = buffer.len().saturating_sub(3),
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let body = header(&buffer[..head], "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    while buffer.len() < head + body {
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((head, body)))
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let lines = std::str::from_utf8(head).ok()?.split("\r\n");
    lines
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

impl State {
    /// Whether it is accepted.
    async fn answer(&self, head: &[u8], body: &[u8]) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).requests += 1;
        let manner = {
            let mut manner = self.manner.subscribe();
            let manner = manner.wait_for(|manner| *manner != Manner::Hangs).await;
            *manner.expect("the sink outlives its connections")
        };
        if manner == Manner::OneASecond {
            let _turn = self.turn.lock().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let accepted = match manner {
            Manner::Fails => false,
            Manner::RejectsEven => external_id(body).bytes().last().is_some_and(|digit| digit % 2 == 1),
            Manner::Accepts | Manner::AcceptsAndCloses | Manner::Hangs | Manner::OneASecond => true,
        };
        if accepted {
            self.record(head, body);
        }
        accepted
    }

    fn record(&self, head: &[u8], body: &[u8]) {
        let id = header(head, "webhook-id").expect("a webhook-id");
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(id);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.accepted.insert(hash);
        if let Some(times) = &mut seen.times {
            times.entry(external_id(body)).or_insert_with(Instant::now);
        }
    }
}

/// Found without reading the JSON: these bodies may be large, and the clock is running.
fn external_id(body: &[u8]) -> String {
    const KEY: &[u8] = b"\"external_id\":\"";
    let from = body.windows(KEY.len()).position(|window| window == KEY).map_or(0, |at| at + KEY.len());
    let id = body[from..].split(|byte| *byte == b'"').next().unwrap_or_default();
    String::from_utf8_lossy(id).into_owned()
}

/// The secret that subscriptions to sinks have; sinks do not look at signatures.
pub(crate) const SINK_SECRET: &str = SECRET;
