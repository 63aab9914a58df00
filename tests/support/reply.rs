//! How a receiver answers.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use tokio::sync::watch;

/// The answer to one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// This status, an empty body.
    Status(u16),
    /// This status, header and body.
    Full(u16, &'static str, String, String),
    /// 302 to this place.
    Redirect(String),
    /// That answer, so much later.
    After(Duration, Box<Reply>),
    /// That answer, once the gate is open.
    Gated(Gate, Box<Reply>),
    /// Never any answer; the connection stays.
    Hang,
    /// The connection is reset (RST) in place of an answer.
    Reset,
    /// 200, and a body as fast as it can be read, without end.
    EndlessBody,
    /// 200, and a byte of body each time this has passed, without end.
    SlowBody(Duration),
}

impl Reply {
    /// 200.
    pub(crate) const OK: Self = Self::Status(200);

    /// The response, in its time; none where the connection is to be reset.
    pub(super) async fn response(self) -> Option<Response<BoxBody<Bytes, Infallible>>> {
        match self {
            Self::Status(status) => Some(response(status, Bytes::new())),
            Self::Full(status, name, value, body) => Some(with_header(response(status, body.into()), name, &value)),
            Self::Redirect(location) => Some(with_header(response(302, Bytes::new()), "location", &location)),
            Self::After(delay, reply) => {
                tokio::time::sleep(delay).await;
                Box::pin(reply.response()).await
            }
            Self::Gated(gate, reply) => {
                gate.passed().await;
                Box::pin(reply.response()).await
            }
            Self::Hang => std::future::pending().await,
            Self::Reset => None,
            Self::EndlessBody => Some(streaming(stream::repeat(Bytes::from_static(&[b'x'; 8192])))),
            Self::SlowBody(pause) => Some(streaming(stream::repeat(()).then(move |()| async move {
                tokio::time::sleep(pause).await;
                Bytes::from_static(b"x")
            }))),
        }
    }
}

/// Holds answers back until it is opened; clones are the same gate.
#[derive(Clone, Debug)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed one.
    pub(crate) fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets everything pass, now and later.
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    /// That answer, once this gate is open.
    pub(crate) fn then(&self, reply: Reply) -> Reply {
        Reply::Gated(self.clone(), Box::new(reply))
    }

    async fn passed(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

fn response(status: u16, body: Bytes) -> Response<BoxBody<Bytes, Infallible>> {
    Response::builder().status(status).body(Full::new(body).boxed()).expect("a response")
}

fn with_header<B>(mut response: Response<B>, name: &'static str, value: &str) -> Response<B> {
    response.headers_mut().insert(name, value.parse().expect("a header's value"));
    response
}

fn streaming(chunks: impl Stream<Item = Bytes> + Send + Sync + 'static) -> Response<BoxBody<Bytes, Infallible>> {
    let frames = chunks.map(|chunk| Ok(Frame::data(chunk)));
    Response::new(BodyExt::boxed(StreamBody::new(frames)))
}
