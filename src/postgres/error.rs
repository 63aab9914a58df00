//! Why a server was not reached, or refused: decided by SQLSTATE and by the type of the cause, never by text.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use postgres_protocol::escape::escape_identifier;
use rustls::{AlertDescription, CertificateError};
use tokio_postgres::error::SqlState;

use super::ServerError;
use super::dial::address;
use crate::config::{ChannelBinding, PostgresUrl};

/// Why a server was not reached or refused a statement.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No connection came about.
    #[error("cannot reach Postgres at {address}")]
    Unreachable {
        /// Host and port, or the socket's path.
        address: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Connecting, logging in and a first look included, took longer than `connect_timeout`.
    #[error("Postgres at {address} did not answer within {} seconds", after.as_secs_f32())]
    Timeout {
        /// Host and port, or the socket's path.
        address: String,
        /// The bound.
        after: Duration,
    },
    /// The URL asks for TLS and the server has none.
    #[error("Postgres at {address} does not offer TLS")]
    TlsNotOffered {
        /// Host and port.
        address: String,
    },
    /// The TLS handshake failed.
    #[error("TLS with Postgres at {address} failed")]
    Tls {
        /// Host and port.
        address: String,
        /// What rustls or the operating system said.
        #[source]
        source: io::Error,
    },
    /// A PEM file that the URL names cannot be used.
    #[error("cannot use {} as {parameter}", path.display())]
    Certificate {
        /// The URL's parameter that names it.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system's trust roots cannot be read.
    #[error("the system's trust roots cannot be loaded")]
    SystemRoots(#[source] Option<rustls_native_certs::Error>),
    /// The server asks for something that the URL does not hold (a password), or that we do not speak (GSSAPI).
    #[error("cannot log in with what the url holds")]
    Credentials(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The URL asks for channel binding, and there was none.
    #[error("cannot log in with the channel binding that the url requires")]
    ChannelBinding(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server found that somebody else ended the TLS session.
    #[error("TLS with Postgres at {address} does not end at the server")]
    Intercepted {
        /// Host and port.
        address: String,
        /// What the server said.
        #[source]
        source: Box<ServerError>,
    },
    /// The server knows the role, or not, and lets it not in.
    #[error("the role {role:?} may not log in to the database {database:?}")]
    MayNotLogIn {
        /// The role.
        role: String,
        /// The database.
        database: String,
        /// What the server said.
        #[source]
        source: Box<ServerError>,
    },
    /// A pooler that hands out sessions by the transaction.
    #[error("what answers at {address} is a transaction pooler, not Postgres itself")]
    Pooler {
        /// Host and port.
        address: String,
    },
    /// The server reported an error.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The connection was closed, by either side.
    #[error("the connection to Postgres is closed")]
    Closed,
    /// Reading or writing on an open connection failed.
    #[error("the connection to Postgres broke")]
    Io(#[source] io::Error),
    /// The server's answer is not what was asked for, or a value is not of the type that was expected.
    #[error("unexpected answer from Postgres")]
    Unexpected(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl PostgresError {
    /// The server's refusal of whom the URL names.
    #[must_use]
    pub(crate) fn may_not_log_in(url: &PostgresUrl, source: ServerError) -> Self {
        let source = Box::new(source);
        if source.is_broken_binding() {
            return Self::Intercepted { address: address(url), source };
        }
        Self::MayNotLogIn { role: url.user.clone(), database: url.database.clone(), source }
    }

    /// What the URL holds does not do for this login.
    #[must_use]
    pub(crate) fn credentials(url: &PostgresUrl, cause: Box<dyn std::error::Error + Send + Sync>) -> Self {
        match url.channel_binding {
            ChannelBinding::Require => Self::ChannelBinding(cause),
            ChannelBinding::Disable | ChannelBinding::Prefer => Self::Credentials(cause),
        }
    }

    /// What an error means where it comes before the login is done: by TLS 1.3 the server's refusal of our certificate is
    /// only its first answer, after the handshake.
    #[must_use]
    pub(crate) fn at_login(self, url: &PostgresUrl) -> Self {
        match &self {
            Self::Io(source) => match tls_cause(source) {
                Some(cause) => {
                    Self::Tls { address: address(url), source: io::Error::new(source.kind(), cause.clone()) }
                }
                None => self,
            },
            _ => self,
        }
    }

    /// Whether the same thing may succeed later with nobody having changed anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Closed | Self::Io(_) => true,
            Self::Tls { source, .. } => tls_cause(source).is_none(),
            Self::Server(error) => error.is_retryable(),
            Self::TlsNotOffered { .. }
            | Self::Certificate { .. }
            | Self::SystemRoots(_)
            | Self::Credentials(_)
            | Self::ChannelBinding(_)
            | Self::Intercepted { .. }
            | Self::MayNotLogIn { .. }
            | Self::Pooler { .. }
            | Self::Unexpected(_) => false,
        }
    }

    /// What the operator should do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { address, .. } | Self::Timeout { address, .. } => Some(format!(
                "is Postgres running, and listening at {address}? check host and port in the url, and firewalls; a pooler \
                 in between may have no session left"
            )),
            Self::TlsNotOffered { .. } => Some("set ssl = on on the server, or sslmode=prefer in the url".to_owned()),
            Self::Tls { source, .. } => Some(tls_hint(source).to_owned()),
            Self::Certificate { parameter, .. } => Some(format!("{parameter} must name a readable PEM file")),
            Self::SystemRoots(_) => Some("install ca-certificates, or name the root in sslrootcert".to_owned()),
            Self::Credentials(_) => Some(
                "put the password into the url (${NAME} takes it from the environment), or use a password method in \
                 pg_hba.conf: scram-sha-256, md5 or password"
                    .to_owned(),
            ),
            Self::ChannelBinding(_) => Some(
                "channel_binding=require takes TLS by a certificate whose signature has a hash (not Ed25519), a password in the \
                 url, and scram-sha-256 for this role in pg_hba.conf; else say channel_binding=prefer"
                    .to_owned(),
            ),
            Self::Intercepted { .. } => Some(
                "something between here and the server decrypts what is sent: find out what and whose it is. Where it is meant \
                 to be there, name its authority in sslrootcert and say channel_binding=disable"
                    .to_owned(),
            ),
            Self::MayNotLogIn { role, database, source } => Some(login_hint(role, database, source)),
            Self::Pooler { .. } => Some(
                "name Postgres itself in the url: a transaction pooler cannot carry replication, and loses LISTEN, prepared \
                 statements, session settings and advisory locks"
                    .to_owned(),
            ),
            Self::Server(error) => error.hint().map(str::to_owned),
            Self::Closed | Self::Io(_) | Self::Unexpected(_) => None,
        }
    }

    /// The server's code, where it was the server that reported the error.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&SqlState> {
        match self {
            Self::Server(error) => Some(error.sqlstate()),
            Self::MayNotLogIn { source, .. } | Self::Intercepted { source, .. } => Some(source.sqlstate()),
            _ => None,
        }
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(error) = error.as_db_error() {
            return Self::Server(error.into());
        }
        if error.is_closed() {
            return Self::Closed;
        }
        match error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
            Some(cause) if is_of_the_connection(cause) => Self::Io(io::Error::new(cause.kind(), error)),
            _ => Self::Unexpected(Box::new(error)),
        }
    }
}

/// Whether the operating system (or TLS) failed, and not our reading of what the server sent.
fn is_of_the_connection(cause: &io::Error) -> bool {
    tls_cause(cause).is_some() || !matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
}

fn login_hint(role: &str, database: &str, source: &ServerError) -> String {
    let (role, database) = (escape_identifier(role), escape_identifier(database));
    match source.hint() {
        Some(hint) if *source.sqlstate() != SqlState::INSUFFICIENT_PRIVILEGE => {
            format!("{hint}: ALTER ROLE {role} LOGIN")
        }
        _ => format!("run as the database's owner: GRANT CONNECT ON DATABASE {database} TO {role}"),
    }
}

/// What TLS said, where the error carries that, or an error of `tokio-postgres` that does.
fn tls_cause(error: &io::Error) -> Option<&rustls::Error> {
    let carried: &(dyn std::error::Error + 'static) = error.get_ref()?;
    carried.downcast_ref().or_else(|| tls_cause(carried.source()?.downcast_ref()?))
}

fn tls_hint(error: &io::Error) -> &'static str {
    match tls_cause(error) {
        Some(rustls::Error::InvalidCertificate(cause)) => certificate_hint(cause),
        Some(rustls::Error::AlertReceived(alert)) => alert_hint(*alert),
        _ => "check the server's ssl settings, and that nothing between here and there breaks TLS",
    }
}

fn alert_hint(alert: AlertDescription) -> &'static str {
    use AlertDescription as Alert;
    match alert {
        Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate => {
            "the server does not take our client certificate (sslcert): an authority in the server's ssl_ca_file must have \
             signed it, for client authentication"
        }
        Alert::CertificateExpired => {
            "our client certificate (sslcert) has expired: renew it, or set the server's clock right"
        }
        Alert::CertificateRevoked => "our client certificate (sslcert) was revoked: the server's ssl_crl_file names it",
        Alert::ProtocolVersion => {
            "the server speaks only TLS older than 1.2: raise its ssl_max_protocol_version, or the version of its OpenSSL"
        }
        _ => {
            "the server ended the handshake: does it want a client certificate (sslcert, sslkey), or TLS older than 1.2?"
        }
    }
}

fn certificate_hint(cause: &CertificateError) -> &'static str {
    match cause {
        CertificateError::UnknownIssuer => {
            "sslrootcert must name the PEM file of the authority that signed the server's certificate"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the server's certificate is not for this host name (its subjectAltName counts): connect by a name that it \
             holds, issue one that holds this name, or use sslmode=verify-ca"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired: renew it, or set the clock right"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: is the clock right?"
        }
        _ => "the server's certificate cannot be used: it must be X.509 version 3 and of a current algorithm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(cause: rustls::Error) -> PostgresError {
        PostgresError::Tls { address: "db:5432".to_owned(), source: io::Error::new(io::ErrorKind::InvalidData, cause) }
    }

    #[test]
    fn a_certificate_problem_does_not_pass_but_a_reset_handshake_may() {
        let unknown = tls(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert!(!unknown.is_retryable());
        assert!(unknown.hint().is_some_and(|hint| hint.contains("sslrootcert")));
        let reset = PostgresError::Tls { address: "db:5432".to_owned(), source: io::ErrorKind::ConnectionReset.into() };
        assert!(reset.is_retryable());
    }
}
