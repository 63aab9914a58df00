//! A subscriber's endpoint: a real HTTP server that records what comes and answers as it is told.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::pki::Issued;
use super::request::{Received, verify};
use super::{PATIENCE, Reply};

/// The secret of subscriptions that [`Site`](super::Site) makes.
pub(crate) const SECRET: &str = "webhook_secret123, and long enough for nobody to warn";

type Behaviour = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

struct State {
    secret: String,
    behaviour: RwLock<Behaviour>,
    received: Mutex<Vec<Arc<Received>>>,
    seen: Mutex<HashMap<String, usize>>,
    connections: AtomicUsize,
    arrived: Notify,
}

/// A server on 127.0.0.1, on any free port. It answers 200 until it is told otherwise, and stops when dropped.
pub(crate) struct Receiver {
    scheme: &'static str,
    port: u16,
    certificate: Option<String>,
    state: Arc<State>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// Plain HTTP, for subscriptions under [`SECRET`].
    pub(crate) async fn start() -> Self {
        Self::start_with(SECRET, None).await
    }

    /// Plain HTTP, for subscriptions under another secret.
    pub(crate) async fn start_with_secret(secret: &str) -> Self {
        Self::start_with(secret, None).await
    }

    /// TLS by a certificate for 127.0.0.1 that nobody trusts but who is given [`certificate`](Self::certificate).
    pub(crate) async fn start_with_tls() -> Self {
        Self::start_with(SECRET, Some(Self::acceptor())).await
    }

    /// TLS by this certificate, offering these protocols by ALPN (none: it has no word for that).
    pub(crate) async fn start_showing(shown: &Issued, protocols: &[&str]) -> Self {
        let (chain, key) = shown.der();
        Self::start_with(SECRET, Some((acceptor(chain, key, protocols), shown.chain.clone()))).await
    }

    /// A certificate for 127.0.0.1 and the TLS that shows it.
    pub(super) fn acceptor() -> (TlsAcceptor, String) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        (acceptor(vec![made.cert.der().clone()], key, &[]), made.cert.pem())
    }

    async fn start_with(secret: &str, tls: Option<(TlsAcceptor, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State {
            secret: secret.to_owned(),
            behaviour: RwLock::new(Arc::new(|_| Reply::OK)),
            received: Mutex::default(),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            arrived: Notify::new(),
        });
        let (acceptor, certificate) = tls.unzip();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let server = tokio::spawn(accept(listener, acceptor, Arc::clone(&state)));
        Self { scheme, port, certificate, state, server }
    }

    /// Its URL with this path, which begins with `/`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    /// The PEM of its certificate, where it speaks TLS.
    pub(crate) fn certificate(&self) -> &str {
        self.certificate.as_deref().expect("a receiver with TLS")
    }

    /// From now on the answer to each request is what this says.
    pub(crate) fn respond(&self, behaviour: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        *self.state.behaviour.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(behaviour);
    }

    /// From now on this is the answer to every request.
    pub(crate) fn always(&self, reply: Reply) {
        self.respond(move |_| reply.clone());
    }

    /// Everything so far, in the order of arrival.
    pub(crate) fn received(&self) -> Vec<Arc<Received>> {
        self.requests().clone()
    }

    /// How many requests came so far.
    pub(crate) fn count(&self) -> usize {
        self.requests().len()
    }

    /// Waits until `n` requests have come; returns all that came, each with a good signature.
    pub(crate) async fn wait_for(&self, n: usize) -> Vec<Arc<Received>> {
        self.wait_until(&format!("{n} requests"), |requests| requests.len() >= n).await
    }

    /// Waits until `n` different webhook-ids have come; returns all that came.
    pub(crate) async fn wait_for_distinct(&self, n: usize) -> Vec<Arc<Received>> {
        let is_first = |request: &&Arc<Received>| request.times_seen == 1;
        let are_enough =
            |requests: &[Arc<Received>]| requests.len() >= n && requests.iter().filter(is_first).count() >= n;
        self.wait_until(&format!("{n} different webhook-ids"), are_enough).await
    }

    /// Waits until a request about this external id has come; returns all that came.
    pub(crate) async fn wait_for_id(&self, external_id: &str) -> Vec<Arc<Received>> {
        let is_it = |request: &Arc<Received>| request.external_id() == external_id;
        self.wait_until(&format!("one about {external_id}"), |requests| requests.iter().any(is_it)).await
    }

    /// Waits until as many requests as these external ids have come, and asserts that they are about these, in whatever order:
    /// none is kept between different rows.
    pub(crate) async fn expect_ids(&self, expected: &[&str]) {
        let requests = self.wait_for(expected.len()).await;
        let mut ids: Vec<_> = requests.iter().map(|request| request.external_id()).collect();
        let mut expected = expected.to_vec();
        ids.sort();
        expected.sort_unstable();
        assert_eq!(ids, expected);
    }

    /// Waits until the condition holds for everything that came; returns that, each with a good signature.
    pub(crate) async fn wait_until(
        &self,
        what: &str,
        condition: impl Fn(&[Arc<Received>]) -> bool,
    ) -> Vec<Arc<Received>> {
        self.wait_within(PATIENCE, what, condition).await
    }

    /// As [`wait_until`](Self::wait_until), for what may take longer, or must not take as long.
    pub(crate) async fn wait_within(
        &self,
        limit: Duration,
        what: &str,
        condition: impl Fn(&[Arc<Received>]) -> bool,
    ) -> Vec<Arc<Received>> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let arrived = self.state.arrived.notified();
            let requests = self.received();
            if condition(&requests) {
                requests.iter().for_each(|request| assert_eq!(request.verified, Ok(()), "{request:?}"));
                return requests;
            }
            if tokio::time::timeout_at(deadline, arrived).await.is_err() {
                panic!("not within {limit:?}: {what}\n{}", self.summary());
            }
        }
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Arc<Received>>> {
        lock(&self.state.received)
    }

    fn summary(&self) -> String {
        let requests = self.received();
        let mut text = format!("{} requests came", requests.len());
        for request in requests.iter().rev().take(5) {
            let body = String::from_utf8_lossy(&request.body);
            let body: String = body.chars().take(300).collect();
            write!(text, "\n#{} {} {body}", request.number, request.webhook_id()).expect("a string takes all");
        }
        text
    }
}

fn acceptor(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>, protocols: &[&str]) -> TlsAcceptor {
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).expect("a TLS config");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections are tasks of the acceptor's own set: they end with it.
async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            // The other side may go at any time, and some tests make it.
            let _ = connection(socket, tls, state).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(socket: TcpStream, tls: Option<TlsAcceptor>, state: Arc<State>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let number = state.connections.fetch_add(1, Ordering::Relaxed);
    let (socket, reset) = with_reset_handle(socket)?;
    match tls {
        None => serve(socket, false, number, state, reset).await,
        Some(tls) => {
            let socket = tls.accept(socket).await?;
            let is_http2 = socket.get_ref().1.alpn_protocol() == Some(b"h2");
            serve(socket, is_http2, number, state, reset).await;
        }
    }
    Ok(())
}

/// A second handle to the socket, by which closing it can be made a reset while the server owns the first.
fn with_reset_handle(socket: TcpStream) -> io::Result<(TcpStream, TcpStream)> {
    let socket = socket.into_std()?;
    let second = socket.try_clone()?;
    Ok((TcpStream::from_std(socket)?, TcpStream::from_std(second)?))
}

async fn serve<S>(socket: S, is_http2: bool, connection: usize, state: Arc<State>, reset: TcpStream)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let reset = Arc::new(reset);
    let service = service_fn(move |request| {
        let (state, reset) = (Arc::clone(&state), Arc::clone(&reset));
        async move {
            let response = answer(request, connection, &state).await?;
            response.ok_or_else(|| reset.set_zero_linger().err().unwrap_or(io::ErrorKind::ConnectionReset.into()))
        }
    });
    // An error is the reset that was asked for, or the other side's going.
    let _ = if is_http2 {
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await
    } else {
        http1::Builder::new().serve_connection(TokioIo::new(socket), service).await
    };
}

type Answer = Option<Response<BoxBody<Bytes, Infallible>>>;

async fn answer(request: Request<Incoming>, connection: usize, state: &State) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let received = state.record(connection, head, body);
    let behaviour = Arc::clone(&state.behaviour.read().unwrap_or_else(PoisonError::into_inner));
    Ok(behaviour(&received).response().await)
}

impl State {
    fn record(&self, connection: usize, head: hyper::http::request::Parts, body: Bytes) -> Arc<Received> {
        let id = head.headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let times_seen = *lock(&self.seen).entry(id).and_modify(|times| *times += 1).or_insert(1);
        let mut requests = lock(&self.received);
        let received = Arc::new(Received {
            number: requests.len(),
            times_seen,
            connection,
            at: Instant::now(),
            at_wall_clock: SystemTime::now(),
            version: head.version,
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            verified: verify(&self.secret, &body, &head.headers),
            headers: head.headers,
            body,
        });
        requests.push(Arc::clone(&received));
        drop(requests);
        self.arrived.notify_waiters();
        received
    }
}
