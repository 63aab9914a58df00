//! One signed POST and what came of it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_rustls::HttpsConnectorBuilder;

use super::connection::Connection;
use super::guard::{GuardError, GuardedConnector, NetworkGuard};
use super::pool::{Answered, Pool};
use super::{Payload, Signer, Target, Timer, tls};
use crate::config::DeliverySettings;
use crate::model::AttemptRecord;

/// Why no endpoint at all could be reached.
#[derive(Debug, thiserror::Error)]
pub enum PosterError {
    /// The file of further roots cannot be used.
    #[error("cannot read the certificates of [delivery] ca_file {}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS for endpoints")]
    Tls(#[from] rustls::Error),
}

/// What an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptKind {
    /// A notification; attempts are numbered from 1.
    Notification {
        /// The number.
        attempt: u32,
    },
    /// A test event, which has no number.
    Test,
}

/// A request to make.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The endpoint.
    pub target: &'a Target,
    /// `webhook-id`.
    pub message_id: &'a str,
    /// What it is for.
    pub kind: AttemptKind,
    /// What is posted.
    pub payload: Payload,
}

/// Why an attempt failed, as the metrics count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The endpoint's answer was no success.
    Refused,
    /// The exchange took too long.
    Timeout,
    /// There was no connection, or it broke.
    Connect,
    /// TLS failed.
    Tls,
    /// The endpoint answered with a redirect, which is not followed.
    Redirect,
    /// The network guard refused the address.
    Guard,
}

impl FailureKind {
    /// The value of the metrics' `outcome` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Redirect => "redirect",
            Self::Guard => "guard",
        }
    }
}

/// An attempt that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// As the metrics count it.
    pub kind: FailureKind,
    /// For the log and the record.
    pub reason: String,
    /// What the endpoint answered, where it did.
    pub answer: Option<Answer>,
}

impl Failure {
    /// As it is recorded: of the attempt of this number, begun then, that took so long.
    #[must_use]
    pub fn record(&self, attempt: u32, at: SystemTime, took: Duration) -> AttemptRecord {
        AttemptRecord {
            attempt,
            at,
            outcome: self.kind.label(),
            status: self.answer.as_ref().map(|answer| answer.status),
            took,
            reason: self.reason.clone(),
            answer: self.answer.as_ref().map(|answer| answer.text.clone()),
        }
    }
}

/// An endpoint's answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The first [`Answer::KEPT`] bytes of its body, as far as they are text.
    pub text: String,
    /// So long the endpoint asks to be left alone, at most [`Answer::WAIT_MAX`].
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// What is kept of an answer.
    pub const KEPT: usize = 1024;

    /// An endpoint that asks for more is asked again after this.
    pub const WAIT_MAX: Duration = Duration::from_secs(3600);

    /// Whether the endpoint says that it is gone for good (RFC 9110, 15.5.11).
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        self.status == StatusCode::GONE.as_u16()
    }

    /// Whether the endpoint says that the request was too large for it (RFC 9110, 15.5.14).
    #[must_use]
    pub const fn is_too_large(&self) -> bool {
        self.status == StatusCode::PAYLOAD_TOO_LARGE.as_u16()
    }
}

/// Answers are read to their end so that the connection can be used again, and no further than this.
const ANSWER_MAX: usize = 1 << 20;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const ATTEMPT: HeaderName = HeaderName::from_static("whdb-attempt");
const TEST_EVENT: HeaderName = HeaderName::from_static("whdb-test-event");

/// Of a request: those here, and two that HTTP/1 adds.
const HEADERS: usize = 8;

/// Makes attempts; connections are kept and used again.
#[derive(Clone, Debug)]
pub struct Poster {
    pool: Arc<Pool>,
    timeout: Duration,
}

impl Poster {
    /// With the operator's bounds, roots and exceptions.
    ///
    /// # Errors
    /// Where the roots cannot be read.
    pub fn new(settings: &DeliverySettings) -> Result<Self, PosterError> {
        let guarded = GuardedConnector::new(NetworkGuard::new(settings), settings.timeout());
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(settings.ca_file())?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(guarded);
        Ok(Self { pool: Arc::new(Pool::new(connector, settings.max_in_flight())), timeout: settings.timeout() })
    }

    /// Makes one attempt, signed now. The timeout spans the whole exchange, from `begun` on; the timer is one that attempts
    /// before may have had.
    ///
    /// # Errors
    /// Where the endpoint did not answer 2xx, with the reason.
    pub async fn post(
        &self,
        attempt: &Attempt<'_>,
        signer: &Signer,
        begun: Instant,
        timer: &mut Timer,
    ) -> Result<StatusCode, Failure> {
        let request = request(attempt, signer).map_err(|error| failure(FailureKind::Refused, error.to_string()))?;
        let outcome = timer.limit(begun + self.timeout, self.exchange(attempt.target, request)).await;
        outcome.unwrap_or_else(|| Err(failure(FailureKind::Timeout, format!("no answer within {:?}", self.timeout))))
    }

    async fn exchange(&self, target: &Target, request: Request<Payload>) -> Result<StatusCode, Failure> {
        let Answered { response, mut connection } =
            self.pool.send(target, request).await.map_err(|error| classify(&*error))?;
        let (status, retry_after) = (response.status(), retry_after(&response, SystemTime::now));
        let answer = Answer { status: status.as_u16(), text: String::new(), retry_after };
        match read_to_end(response, &mut connection).await {
            Ok(start) => {
                self.pool.give_back(target, connection);
                if status.is_success() {
                    Ok(status)
                } else {
                    Err(refused(status, Answer { text: text(&start), ..answer }))
                }
            }
            Err(failure) => Err(Failure { answer: Some(answer), ..failure }),
        }
    }
}

fn refused(status: StatusCode, answer: Answer) -> Failure {
    let kind = if status.is_redirection() { FailureKind::Redirect } else { FailureKind::Refused };
    Failure { answer: Some(answer), ..failure(kind, format!("the endpoint answered {}", status.as_u16())) }
}

/// How long the endpoint asks to be left alone: seconds or a date (RFC 9110, 10.2.3), of the two answers that mean it.
fn retry_after<B>(response: &Response<B>, now: impl FnOnce() -> SystemTime) -> Option<Duration> {
    if !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now()).unwrap_or_default(),
    };
    Some(wait.min(Answer::WAIT_MAX))
}

/// Postgres stores no NUL in a text.
fn text(start: &[u8]) -> String {
    String::from_utf8_lossy(start).replace('\0', "\u{fffd}")
}

/// Reads an answer, and returns the start of it.
async fn read_to_end(response: Response<Incoming>, connection: &mut Connection) -> Result<Vec<u8>, Failure> {
    let mut body = response.into_body();
    let (mut start, mut read) = (Vec::new(), 0);
    while !body.is_end_stream()
        && let Some(frame) = connection.drive(body.frame()).await
    {
        let frame = frame.map_err(|error| classify(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        read += data.len();
        if read > ANSWER_MAX {
            return Err(failure(FailureKind::Refused, format!("the answer is longer than {ANSWER_MAX} bytes")));
        }
        start.extend_from_slice(&data[..data.len().min(Answer::KEPT - start.len())]);
    }
    Ok(start)
}

fn request(attempt: &Attempt<'_>, signer: &Signer) -> Result<Request<Payload>, InvalidHeaderValue> {
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signature = signer.sign(attempt.message_id, timestamp, attempt.payload.pieces());
    let mut request = Request::new(attempt.payload.clone());
    *request.method_mut() = hyper::Method::POST;
    *request.headers_mut() = HeaderMap::with_capacity(HEADERS);
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
        .insert(USER_AGENT, HeaderValue::from_static(concat!("WebhookDB-Notifications/", env!("CARGO_PKG_VERSION"))));
    headers.insert(WEBHOOK_ID, HeaderValue::from_str(attempt.message_id)?);
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp));
    headers.insert(WEBHOOK_SIGNATURE, HeaderValue::from_str(&signature)?);
    match attempt.kind {
        AttemptKind::Notification { attempt } => headers.insert(ATTEMPT, HeaderValue::from(attempt)),
        AttemptKind::Test => headers.insert(TEST_EVENT, HeaderValue::from_static("1")),
    };
    Ok(request)
}

const fn failure(kind: FailureKind, reason: String) -> Failure {
    Failure { kind, reason, answer: None }
}

/// The error and its causes. What an [`io::Error`] carries is not its source: it has to be looked into.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        carried.map(|error| error as &(dyn Error + 'static)).or_else(|| (*error).source())
    })
}

fn classify(error: &(dyn Error + 'static)) -> Failure {
    if let Some(error) = chain(error).find_map(|error| error.downcast_ref::<GuardError>()) {
        return failure(FailureKind::Guard, error.to_string());
    }
    if let Some(error) = chain(error).find_map(|error| error.downcast_ref::<rustls::Error>()) {
        let remedy = tls::remedy(error).map(|remedy| format!(" ({remedy})")).unwrap_or_default();
        return failure(FailureKind::Tls, format!("{error}{remedy}"));
    }
    let mut reasons: Vec<String> = chain(error).map(ToString::to_string).collect();
    reasons.dedup();
    failure(FailureKind::Connect, reasons.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, wait: &str) -> Response<()> {
        Response::builder().status(status).header(RETRY_AFTER, wait).body(()).unwrap()
    }

    #[test]
    fn an_endpoint_asks_for_time_in_seconds_or_by_a_date_up_to_a_cap() {
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 12:00:00 GMT").unwrap();
        for (status, wait, expected) in [
            (429, "7", Some(7)),
            (503, " 120 ", Some(120)),
            (503, "Tue, 24 Nov 2026 12:01:30 GMT", Some(90)),
            (503, "Tue, 24 Nov 2026 11:00:00 GMT", Some(0)),
            (429, "86400", Some(3600)),
            (429, "-1", None),
            (429, "soon", None),
            (500, "7", None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(&answer(status, wait), || now), expected, "{status} {wait}");
        }
    }

    #[test]
    fn what_is_kept_of_an_answer_is_text_that_postgres_takes() {
        assert_eq!(text(b"no\0such\xff"), "no\u{fffd}such\u{fffd}");
    }
}
