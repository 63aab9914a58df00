//! The startup message for replication, and the authentication that follows it.

use std::io;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use tokio_postgres::fallible_iterator::FallibleIterator;

use super::SourceError;
use super::channel::{Reader, Writer, log_notice, server_error};
use crate::config::{ChannelBinding as Binding, PostgresUrl};
use crate::postgres::{PostgresError, dial};

/// The name of the replication connection in pg_stat_activity.
pub const APPLICATION_NAME: &str = "webhookdb-notifications";

/// The settings that the payload's text depends on, and one more: from version 18 on a mere warning tells of a missing
/// publication. Startup parameters come before the role's and the database's own settings, so that these change nothing.
pub(super) const PINNED: [(&str, &str); 9] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("search_path", "pg_catalog"),
    ("quote_all_identifiers", "off"),
    ("client_min_messages", "warning"),
];

/// A connection that is logged in and ready for a query.
pub(super) struct Login {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// The server process that serves us.
    pub(super) backend_pid: i32,
}

/// Dials, and logs in for logical replication.
pub(super) async fn login(url: &PostgresUrl) -> Result<Login, SourceError> {
    log_in(url).await.map_err(|error| match error {
        SourceError::Postgres(error) => error.at_login(url).into(),
        error => error,
    })
}

async fn log_in(url: &PostgresUrl) -> Result<Login, SourceError> {
    let stream = dial(url).await?;
    let binding = stream.tls_server_end_point().filter(|_| url.channel_binding != Binding::Disable);
    let (read, write) = tokio::io::split(stream);
    let mut login = Login { reader: Reader::new(read), writer: Writer::new(write), backend_pid: 0 };
    login.send(|buf| frontend::startup_message(startup(url), buf)).await?;
    login.authenticate(url, binding).await?;
    login.until_ready(url).await?;
    Ok(login)
}

fn startup(url: &PostgresUrl) -> impl Iterator<Item = (&str, &str)> {
    let ours = [
        ("user", url.user.as_str()),
        ("database", url.database.as_str()),
        ("replication", "database"),
        ("application_name", APPLICATION_NAME),
    ];
    ours.into_iter().chain(PINNED)
}

impl Login {
    async fn send(&mut self, build: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<(), SourceError> {
        let mut buffer = BytesMut::new();
        build(&mut buffer).map_err(SourceError::Unreadable)?;
        self.writer.send(&buffer).await
    }

    /// The next message that matters; an error of the server's is an error.
    async fn message(&mut self, url: &PostgresUrl) -> Result<Message, SourceError> {
        loop {
            match self.reader.message().await? {
                Message::ErrorResponse(body) => return Err(SourceError::at_login(server_error(&body), url)),
                Message::NoticeResponse(body) => log_notice(&body),
                message => return Ok(message),
            }
        }
    }

    async fn authenticate(&mut self, url: &PostgresUrl, binding: Option<Vec<u8>>) -> Result<(), SourceError> {
        match self.message(url).await? {
            Message::AuthenticationOk => return may_be_unbound(url),
            Message::AuthenticationCleartextPassword => {
                may_be_unbound(url)?;
                let password = password(url)?;
                self.send(|buf| frontend::password_message(password, buf)).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                may_be_unbound(url)?;
                let hash = md5_hash(url.user.as_bytes(), password(url)?, body.salt());
                self.send(|buf| frontend::password_message(hash.as_bytes(), buf)).await?;
            }
            Message::AuthenticationSasl(body) => self.scram(url, &body, binding).await?,
            _ => return Err(credentials(url, "the server asks for an authentication method that is not supported")),
        }
        match self.message(url).await? {
            Message::AuthenticationOk => Ok(()),
            _ => Err(unexpected("in place of the end of the authentication")),
        }
    }

    async fn scram(
        &mut self,
        url: &PostgresUrl,
        body: &AuthenticationSaslBody,
        binding: Option<Vec<u8>>,
    ) -> Result<(), SourceError> {
        let (mechanism, binding) = mechanism(url, body, binding)?;
        if mechanism != SCRAM_SHA_256_PLUS {
            may_be_unbound(url)?;
        }
        let mut scram = ScramSha256::new(password(url)?, binding);
        self.send(|buf| frontend::sasl_initial_response(mechanism, scram.message(), buf)).await?;
        match self.message(url).await? {
            Message::AuthenticationSaslContinue(body) => {
                scram.update(body.data()).map_err(|error| credentials(url, error))?;
            }
            _ => return Err(unexpected("in place of the SCRAM challenge")),
        }
        self.send(|buf| frontend::sasl_response(scram.message(), buf)).await?;
        match self.message(url).await? {
            // Here the server proves that it knows the password too.
            Message::AuthenticationSaslFinal(body) => {
                scram.finish(body.data()).map_err(|error| credentials(url, error))
            }
            _ => Err(unexpected("in place of the SCRAM proof")),
        }
    }

    async fn until_ready(&mut self, url: &PostgresUrl) -> Result<(), SourceError> {
        loop {
            match self.message(url).await? {
                Message::BackendKeyData(body) => self.backend_pid = body.process_id(),
                Message::ParameterStatus(_) => {}
                Message::ReadyForQuery(_) => return Ok(()),
                _ => return Err(unexpected("before the connection was ready")),
            }
        }
    }
}

/// Channel binding wherever both sides can. Where only we can, saying so lets the server notice that somebody in between
/// has hidden its offer.
fn mechanism(
    url: &PostgresUrl,
    body: &AuthenticationSaslBody,
    binding: Option<Vec<u8>>,
) -> Result<(&'static str, ChannelBinding), SourceError> {
    let offered = body.mechanisms().collect::<Vec<_>>().map_err(SourceError::Unreadable)?;
    match binding {
        Some(binding) if offered.contains(&SCRAM_SHA_256_PLUS) => {
            Ok((SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(binding)))
        }
        _ if !offered.contains(&SCRAM_SHA_256) => {
            Err(credentials(url, "the server offers no SASL mechanism that is supported"))
        }
        Some(_) => Ok((SCRAM_SHA_256, ChannelBinding::unrequested())),
        None => Ok((SCRAM_SHA_256, ChannelBinding::unsupported())),
    }
}

fn password(url: &PostgresUrl) -> Result<&[u8], SourceError> {
    let password = url.password.as_ref().ok_or_else(|| credentials(url, "the server asks for a password"))?;
    Ok(password.expose().as_bytes())
}

/// Where the URL requires channel binding no login goes without, nor does a password leave.
fn may_be_unbound(url: &PostgresUrl) -> Result<(), SourceError> {
    match url.channel_binding {
        Binding::Require => Err(credentials(url, "the server does not tie the login to the TLS session")),
        Binding::Disable | Binding::Prefer => Ok(()),
    }
}

fn credentials(url: &PostgresUrl, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SourceError {
    PostgresError::credentials(url, cause.into()).into()
}

fn unexpected(when: &'static str) -> SourceError {
    SourceError::Unreadable(io::Error::new(io::ErrorKind::InvalidData, when))
}
