//! A Postgres URL, read by ourselves since tokio-postgres's own reader knows neither verify-ca, verify-full nor sslrootcert.

mod error;
mod parse;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use crate::model::Secret;

pub use error::PostgresUrlError;

/// How far the server must prove itself, with libpq's names and meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS where the server offers it.
    Prefer,
    /// TLS, whoever answers (as libpq: where `sslrootcert` is given, the chain is verified as by verify-ca).
    Require,
    /// TLS, with a certificate that a trusted root has signed.
    VerifyCa,
    /// TLS, with such a certificate for this very host name.
    VerifyFull,
}

/// Whether a login by SCRAM is tied to the TLS session that it goes through, with libpq's names and meanings. It keeps out who
/// stands in between with a certificate of their own, even where `sslmode` verifies none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where TLS is used and the server offers it.
    Prefer,
    /// Always: any other login is refused.
    Require,
}

/// Where a Postgres server is and how to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresUrl {
    /// Host name, address, or (where it begins with `/`) the directory of a Unix socket.
    pub host: String,
    /// TCP port, or the socket file's number.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Password, where one is given.
    pub password: Option<Secret>,
    /// Database.
    pub database: String,
    /// How far the server must prove itself.
    pub ssl_mode: SslMode,
    /// Whether SCRAM is tied to the TLS session.
    pub channel_binding: ChannelBinding,
    /// PEM file of the roots to trust instead of the system's.
    pub ssl_root_cert: Option<PathBuf>,
    /// PEM file of the client's certificate chain.
    pub ssl_cert: Option<PathBuf>,
    /// PEM file of the client's key.
    pub ssl_key: Option<PathBuf>,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
}
