//! `/healthz`, `/readyz` and `/metrics`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::debug;

use super::{Readiness, SourceState};

/// The listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on [http] listen = {address}")]
pub struct AdminError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Connections at once: a scraper and a few people. More wait in the kernel.
const CONNECTIONS_MAX: usize = 32;

/// A client that does not send its request within this is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the listener, and returns its address and the task that serves it.
///
/// # Errors
/// Where the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    metrics: PrometheusHandle,
) -> Result<(SocketAddr, impl Future<Output = ()>), AdminError> {
    let failed = |source| AdminError { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    Ok((local, accept(listener, readiness, metrics)))
}

async fn accept(listener: TcpListener, readiness: Readiness, metrics: PrometheusHandle) {
    let permits = std::sync::Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (readiness, metrics) = (readiness.clone(), metrics.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = respond(&request, &readiness, &metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                debug!(error = &error as &dyn std::error::Error, "an admin connection ended");
            }
            drop(permit);
        });
    }
}

fn respond(request: &Request<Incoming>, readiness: &Readiness, metrics: &PrometheusHandle) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET is served here\n".into());
    }
    match request.uri().path() {
        "/healthz" => answer(StatusCode::OK, "application/json", r#"{"status":"alive"}"#.into()),
        "/readyz" => ready(&readiness.overall()),
        "/metrics" => answer(StatusCode::OK, "text/plain; version=0.0.4", metrics.render()),
        _ => answer(StatusCode::NOT_FOUND, "text/plain", "here are /healthz, /readyz and /metrics\n".into()),
    }
}

fn ready(state: &SourceState) -> Response<Full<Bytes>> {
    let status = if *state == SourceState::Streaming { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, "application/json", serde_json::to_string(state).unwrap_or_default())
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
