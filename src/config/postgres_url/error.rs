//! What can be wrong with a Postgres URL; no message repeats any part of one that could be a password.

use super::parse::{CONNECT_TIMEOUT_SECONDS_MAX, PARAMETERS};

/// Why a text is not a Postgres URL that this program can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresUrlError {
    /// Anything else than the two schemes, libpq's `host=… dbname=…` form too.
    #[error("expected a URL that begins with postgres:// or postgresql://")]
    Scheme,
    /// A NUL byte, which the protocol cannot carry.
    #[error("a URL cannot hold a NUL character")]
    Nul,
    /// libpq would try one host after the other; a slot lives on exactly one server.
    #[error("several hosts are not supported: name the one server that has the slot")]
    SeveralHosts,
    /// A `%` without two hexadecimal digits behind it, or bytes that are no UTF-8.
    #[error("the {part} is not well percent-encoded: write a `%` itself as %25")]
    Encoding {
        /// Which part of the URL.
        part: &'static str,
    },
    /// A character that ends a part of the URL stands within one, as happens with a password pasted as it is.
    #[error(
        "the {part} holds a character that has a meaning in URLs: in user, password and database percent-encode \
         `/` as %2F, `@` as %40, `:` as %3A, `?` as %3F, `#` as %23, `%` as %25 and a space as %20"
    )]
    Unencoded {
        /// Which part of the URL.
        part: &'static str,
    },
    /// Brackets around anything but an IPv6 address.
    #[error("expected an IPv6 address between the brackets, such as [::1]")]
    Ipv6,
    /// A port that is none.
    #[error(
        "expected a port from 1 to 65535 after the host (where a password stands in the URL, percent-encode its `/` as %2F)"
    )]
    Port,
    /// A parameter without `=`.
    #[error("expected name=value parameters after the `?`, joined by `&`")]
    Parameter,
    /// A parameter that would change nothing here, so that leaving it in would deceive.
    #[error("{} is not supported: known are {}", name.as_deref().map_or_else(|| "one of the parameters".to_owned(), |name| format!("the parameter {name}")), PARAMETERS.join(", "))]
    UnknownParameter {
        /// Its name, where that cannot be a piece of a password.
        name: Option<String>,
    },
    /// An `sslmode` that libpq does not know either.
    #[error("expected sslmode disable, prefer, require, verify-ca or verify-full")]
    SslMode,
    /// libpq's weakest mode.
    #[error(
        "sslmode=allow is not supported, since it tries without TLS first: use prefer, or better require or verify-full"
    )]
    SslModeAllow,
    /// A `channel_binding` that libpq does not know either.
    #[error("expected channel_binding disable, prefer or require")]
    ChannelBinding,
    /// There is no channel to bind to.
    #[error("channel_binding=require needs TLS: use sslmode=require, or better verify-full")]
    ChannelBindingWithoutTls,
    /// As libpq: whoever trusts every public authority must compare the name too.
    #[error("sslrootcert=system needs sslmode=verify-full")]
    SystemRoots,
    /// One of certificate and key without the other.
    #[error("sslcert and sslkey belong together: give both or neither")]
    ClientCertificate,
    /// libpq's 0 (for ever) is refused too: every wait has a bound.
    #[error("expected connect_timeout in whole seconds, from 1 to {CONNECT_TIMEOUT_SECONDS_MAX}")]
    ConnectTimeout,
    /// No role in the URL, and none to be had from the operating system.
    #[error("expected a user: the operating system has no name for the account that runs this program")]
    User,
}
