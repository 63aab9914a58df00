//! A URL becomes a session: SQL by `tokio-postgres`, over a connection that this room opened.

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};

use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{ChannelBinding as Binding, SslMode, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::TlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Notification};
use tracing::debug;

use super::dial::address;
use super::{PostgresError, ServerError, Stream, dial};
use crate::config::{ChannelBinding, PostgresUrl};

/// Connects, and drives the connection in a task of its own until the client is dropped.
///
/// # Errors
/// Where the server is not reached within the URL's `connect_timeout`, or refuses.
pub async fn connect(url: &PostgresUrl, application_name: &str) -> Result<Client, PostgresError> {
    Ok(open(url, application_name, None).await?.client)
}

/// Like [`connect`], and hands on every NOTIFY. A notification that finds the channel full is dropped: it only ever says
/// "look again", and who listens also looks at intervals.
///
/// # Errors
/// As [`connect`].
pub async fn connect_listening(
    url: &PostgresUrl,
    application_name: &str,
    notifications: Sender<Notification>,
) -> Result<Client, PostgresError> {
    Ok(open(url, application_name, Some(notifications)).await?.client)
}

/// A client and the task that drives its connection: the task ends when the connection does.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) driver: JoinHandle<()>,
}

/// Opens a session and starts its driver.
pub(crate) async fn open(
    url: &PostgresUrl,
    application_name: &str,
    notifications: Option<Sender<Notification>>,
) -> Result<Session, PostgresError> {
    let login = Box::pin(login(url, application_name));
    let timed_out = |_| PostgresError::Timeout { address: address(url), after: url.connect_timeout };
    let (client, connection) = timeout(url.connect_timeout, login).await.map_err(timed_out)??;
    Ok(Session { client, driver: tokio::spawn(drive(connection, notifications)) })
}

async fn login(
    url: &PostgresUrl,
    application_name: &str,
) -> Result<(Client, Connection<Stream, Stream>), PostgresError> {
    let stream = dial(url).await?;
    let mut config = Config::new();
    config.user(&url.user).dbname(&url.database).application_name(application_name);
    if let Some(password) = &url.password {
        config.password(password.expose());
    }
    config.channel_binding(match url.channel_binding {
        ChannelBinding::Disable => Binding::Disable,
        ChannelBinding::Prefer => Binding::Prefer,
        ChannelBinding::Require => Binding::Require,
    });
    // The stream is secured, or meant to be plain, already: with these two `tokio-postgres` hands it to `Secured` as it
    // is, and asks the result for its channel binding.
    config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    config.connect_raw(stream, Secured).await.map_err(|error| login_error(error, url))
}

/// During the login an answer that is neither the server's error nor the socket's is about credentials.
fn login_error(error: tokio_postgres::Error, url: &PostgresUrl) -> PostgresError {
    match PostgresError::from(error).at_login(url) {
        PostgresError::Server(source) if is_refused(&source) => PostgresError::may_not_log_in(url, source),
        PostgresError::Unexpected(cause) => PostgresError::credentials(url, cause),
        other => other,
    }
}

fn is_refused(error: &ServerError) -> bool {
    [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(error.sqlstate())
}

/// The "TLS" of a stream that needs none any more.
struct Secured;

impl TlsConnect<Stream> for Secured {
    type Stream = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn connect(self, stream: Stream) -> Self::Future {
        ready(Ok(stream))
    }
}

async fn drive(mut connection: Connection<Stream, Stream>, notifications: Option<Sender<Notification>>) {
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(message)) => hand_on(message, notifications.as_ref()),
            Some(Err(error)) => {
                return debug!(error = &PostgresError::from(error) as &dyn std::error::Error, "the connection ended");
            }
            None => return debug!("the connection was closed"),
        }
    }
}

fn hand_on(message: AsyncMessage, notifications: Option<&Sender<Notification>>) {
    match message {
        AsyncMessage::Notification(notification) => {
            let dropped = notifications.and_then(|channel| channel.try_send(notification).err());
            if let Some(reason) = dropped {
                debug!(%reason, "a notification was dropped");
            }
        }
        AsyncMessage::Notice(notice) => debug!(sqlstate = notice.code().code(), "notice: {}", notice.message()),
        _ => {}
    }
}
