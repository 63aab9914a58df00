//! One connection to an endpoint. Over HTTP/1 whoever has a request on it drives it too: a task of its own would cost two
//! changes of task for each request, and there is nothing that it could do meanwhile.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower_service::Service;

use super::bell::Bell;
use super::guard::GuardedConnector;
use super::{Payload, Target};

/// An HTTP/2 connection is shared by all requests, and none of them ends it by timing out: one that has gone without a word is
/// found out by a ping, else every attempt would go into it until the kernel gives it up after a quarter of an hour.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What makes connections: judged by the guard, by TLS where the URL says so.
pub(super) type Connector = HttpsConnector<GuardedConnector>;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A request that failed, and comes back where nothing of it was sent.
pub(super) type SendError = TrySendError<Request<Payload>>;

/// Of either version, as the endpoint has chosen.
pub(super) enum Connection {
    Http1(Http1),
    Http2(Http2),
}

impl Connection {
    /// Opens one.
    pub(super) async fn open(connector: &Connector, target: &Target) -> Result<Self, BoxError> {
        // It is always ready.
        let stream = connector.clone().call(target.uri().clone()).await?;
        if stream.connected().is_negotiated_h2() {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).keep_alive_interval(Some(PING_INTERVAL)).keep_alive_timeout(PING_TIMEOUT);
            let (sender, driver) = builder.handshake(stream).await?;
            // Its end is told to every request on it; it ends when there is neither a request nor a sender.
            tokio::spawn(driver);
            Ok(Self::Http2(sender))
        } else {
            let (sender, driver) = http1::handshake(stream).await?;
            Ok(Self::Http1(Http1 { sender, driver: Some(Box::pin(driver)), bell: Bell::new() }))
        }
    }

    /// Sends a request, and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        target: &Target,
        mut request: Request<Payload>,
    ) -> Result<Response<Incoming>, SendError> {
        match self {
            Self::Http1(connection) => {
                target.address(&mut request, hyper::Version::HTTP_11);
                let sending = connection.sender.try_send_request(request);
                connection.drive(sending).await
            }
            Self::Http2(sender) => {
                target.address(&mut request, hyper::Version::HTTP_2);
                sender.try_send_request(request).await
            }
        }
    }

    /// Waits for something that this connection brings.
    pub(super) async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        match self {
            Self::Http1(connection) => connection.drive(future).await,
            Self::Http2(_) => future.await,
        }
    }
}

/// Many requests share it.
pub(super) type Http2 = http2::SendRequest<Payload>;

/// One request at a time has it.
pub(super) struct Http1 {
    sender: http1::SendRequest<Payload>,
    /// None once it is closed.
    driver: Option<Pin<Box<http1::Connection<Stream, Payload>>>>,
    bell: Bell,
}

impl Http1 {
    /// Whether it takes another request, as far as is known.
    pub(super) fn is_ready(&mut self) -> bool {
        // Most often it has got there with the answer.
        self.sender.is_ready() || (self.is_open() && self.sender.is_ready())
    }

    /// Looks whether the other side has closed it.
    pub(super) fn is_open(&mut self) -> bool {
        advance(&mut self.driver, &mut Context::from_waker(self.bell.waker()));
        self.driver.is_some()
    }

    async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let Self { driver, bell, .. } = self;
        poll_fn(|context| {
            bell.answer(context, |context| {
                advance(driver, context);
                future.as_mut().poll(context)
            })
        })
        .await
    }
}

/// Reads and writes what can be.
fn advance(driver: &mut Option<Pin<Box<http1::Connection<Stream, Payload>>>>, context: &mut Context<'_>) {
    // Why it ended, the request that it carried is told.
    if let Some(open) = driver
        && let Poll::Ready(_) = open.as_mut().poll(context)
    {
        *driver = None;
    }
}
