//! The demo's subscriber: an HTTP server that verifies with the published Standard Webhooks library.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::DemoError;

/// Deliveries that wait to be shown; beyond these the endpoint answers later, which any endpoint may.
const DELIVERIES_MAX: usize = 1_024;

/// One request, judged.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) webhook_id: String,
    pub(super) kind: String,
    pub(super) external_id: String,
    pub(super) verified: bool,
    /// From the commit, whose time the body bears, by the clock of this one machine.
    pub(super) latency: Duration,
}

/// The server; stops when it is dropped.
pub(super) struct Receiver {
    address: SocketAddr,
    key: Arc<OnceLock<Webhook>>,
    deliveries: mpsc::Receiver<Delivery>,
    _server: JoinSet<()>,
}

impl Receiver {
    pub(super) async fn start(address: SocketAddr) -> Result<Self, DemoError> {
        let listener = TcpListener::bind(address).await.map_err(DemoError::io("listen for notifications"))?;
        let address = listener.local_addr().map_err(DemoError::io("listen for notifications"))?;
        let (sender, deliveries) = mpsc::channel(DELIVERIES_MAX);
        let key = Arc::new(OnceLock::new());
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&key), sender));
        Ok(Self { address, key, deliveries, _server: server })
    }

    /// Where notifications are to be sent.
    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Takes the key that `notification create` printed; false where the library does not.
    pub(super) fn verify_with(&self, key: &str) -> bool {
        Webhook::new(key).is_ok_and(|key| self.key.set(key).is_ok())
    }

    /// The next delivery, in order of arrival; none where nothing came for so long.
    pub(super) async fn next(&mut self, patience: Duration) -> Option<Delivery> {
        tokio::time::timeout(patience, self.deliveries.recv()).await.ok().flatten()
    }
}

type Sender = mpsc::Sender<Delivery>;

/// Serves each connection in a task of its own, which ends with this one.
async fn accept(listener: TcpListener, key: Arc<OnceLock<Webhook>>, sender: Sender) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (key, sender) = (Arc::clone(&key), sender.clone());
        let service = service_fn(move |request| receive(request, Arc::clone(&key), sender.clone()));
        connections.spawn(async move {
            // The daemon closes its connections as it pleases.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn receive(
    request: Request<Incoming>,
    key: Arc<OnceLock<Webhook>>,
    sender: Sender,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let status = match body.collect().await {
        // Only the demo that has ended does not take it.
        Ok(body) => sender.send(judge(head.headers, body.to_bytes(), key.get())).await.map_or(503, |()| 204),
        Err(_) => 400,
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    Ok(response)
}

/// What the demo reads of a body.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    r#type: String,
    timestamp: String,
    external_id: serde_json::Value,
}

fn judge(headers: HeaderMap, bytes: Bytes, key: Option<&Webhook>) -> Delivery {
    let body: Body = serde_json::from_slice(&bytes).unwrap_or_default();
    let committed = humantime::parse_rfc3339(&body.timestamp).unwrap_or_else(|_| SystemTime::now());
    Delivery {
        webhook_id: headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned(),
        kind: body.r#type,
        external_id: body.external_id.as_str().unwrap_or_default().to_owned(),
        verified: key.is_some_and(|key| key.verify(&bytes, &headers).is_ok()),
        latency: committed.elapsed().unwrap_or_default(),
        headers,
        body: bytes,
    }
}
