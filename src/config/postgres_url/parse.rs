//! From the text of a URL to its parts, by libpq's rules.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::{ChannelBinding, PostgresUrl, PostgresUrlError, SslMode};
use crate::model::Secret;

/// Postgres's registered port.
const DEFAULT_PORT: u16 = 5432;

/// Long enough for a far server behind TLS, short enough that a dead address is said soon.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Beyond ten minutes a wait for a connection looks like a hang.
pub(super) const CONNECT_TIMEOUT_SECONDS_MAX: u64 = 600;

/// Where packages of the distributions put the server's socket, and where Postgres itself does.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Every parameter that may stand behind the `?`, with libpq's names.
pub(super) const PARAMETERS: [&str; 11] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "channel_binding",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "connect_timeout",
];

impl FromStr for PostgresUrl {
    type Err = PostgresUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('\0') {
            return Err(PostgresUrlError::Nul);
        }
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or(PostgresUrlError::Scheme)?;
        Parts::split(rest)?.into_url()
    }
}

/// What the URL says, decoded; an empty part counts as one that is absent, as in libpq.
#[derive(Default)]
struct Parts {
    host: Option<String>,
    port: Option<String>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    ssl_mode: Option<String>,
    channel_binding: Option<String>,
    ssl_root_cert: Option<String>,
    ssl_cert: Option<String>,
    ssl_key: Option<String>,
    connect_timeout: Option<String>,
}

impl Parts {
    /// Takes `user:password@host:port/database?parameters` apart. The credentials end at the first `@` before any `/`.
    fn split(text: &str) -> Result<Self, PostgresUrlError> {
        let mut parts = Self::default();
        let (credentials, rest) = match text.split_once('@') {
            Some((credentials, rest)) if !credentials.contains('/') => (credentials, rest),
            _ => ("", text),
        };
        parts.read_credentials(credentials)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (address, database) = rest.split_once('/').unwrap_or((rest, ""));
        parts.read_address(address)?;
        parts.database = decode("database", refuse("database", database, &['/', '@'])?)?;
        if !query.is_empty() {
            parts.read_parameters(query)?;
        }
        Ok(parts)
    }

    fn read_credentials(&mut self, credentials: &str) -> Result<(), PostgresUrlError> {
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        self.user = decode("user", user)?;
        self.password = decode("password", password)?;
        Ok(())
    }

    fn read_address(&mut self, address: &str) -> Result<(), PostgresUrlError> {
        if address.contains(',') {
            return Err(PostgresUrlError::SeveralHosts);
        }
        let (host, port) = match address.strip_prefix('[') {
            Some(bracketed) => split_ipv6(bracketed)?,
            None => address.split_once(':').unwrap_or((address, "")),
        };
        self.host = decode("host", refuse("host", host, &['@', ' ', '\t', '\n', '\r', '#'])?)?;
        self.port = decode("port", port)?;
        Ok(())
    }

    fn read_parameters(&mut self, query: &str) -> Result<(), PostgresUrlError> {
        for parameter in query.split('&') {
            let (name, value) = parameter.split_once('=').ok_or(PostgresUrlError::Parameter)?;
            let (slot, name) = self.slot(name).ok_or_else(|| unknown_parameter(name, query))?;
            *slot = decode(name, value)?;
        }
        Ok(())
    }

    /// Where the parameter of that name is kept, and its name as a constant.
    fn slot(&mut self, name: &str) -> Option<(&mut Option<String>, &'static str)> {
        let known = PARAMETERS.into_iter().find(|known| *known == name)?;
        let slot = match known {
            "host" => &mut self.host,
            "port" => &mut self.port,
            "user" => &mut self.user,
            "password" => &mut self.password,
            "dbname" => &mut self.database,
            "sslmode" => &mut self.ssl_mode,
            "channel_binding" => &mut self.channel_binding,
            "sslrootcert" => &mut self.ssl_root_cert,
            "sslcert" => &mut self.ssl_cert,
            "sslkey" => &mut self.ssl_key,
            "connect_timeout" => &mut self.connect_timeout,
            _ => return None,
        };
        Some((slot, known))
    }

    fn into_url(self) -> Result<PostgresUrl, PostgresUrlError> {
        let user = self.user.map_or_else(system_user, Ok)?;
        let host = self.host.unwrap_or_else(default_host);
        if host.contains(',') {
            return Err(PostgresUrlError::SeveralHosts);
        }
        let (ssl_mode, ssl_root_cert) = tls(self.ssl_mode.as_deref(), self.ssl_root_cert)?;
        let channel_binding = self.channel_binding.map_or(Ok(ChannelBinding::Prefer), |text| parse_binding(&text))?;
        if channel_binding == ChannelBinding::Require && ssl_mode == SslMode::Disable {
            return Err(PostgresUrlError::ChannelBindingWithoutTls);
        }
        if self.ssl_cert.is_some() != self.ssl_key.is_some() {
            return Err(PostgresUrlError::ClientCertificate);
        }
        Ok(PostgresUrl {
            host,
            port: self.port.map_or(Ok(DEFAULT_PORT), |port| parse_port(&port))?,
            database: self.database.unwrap_or_else(|| user.clone()),
            user,
            password: self.password.map(Secret::new),
            ssl_mode,
            channel_binding,
            ssl_root_cert,
            ssl_cert: self.ssl_cert.map(PathBuf::from),
            ssl_key: self.ssl_key.map(PathBuf::from),
            connect_timeout: self.connect_timeout.map_or(Ok(DEFAULT_CONNECT_TIMEOUT), |text| parse_timeout(&text))?,
        })
    }
}

/// `::1]:5432`, the bracket before it taken away, as address and port.
fn split_ipv6(bracketed: &str) -> Result<(&str, &str), PostgresUrlError> {
    let (address, rest) = bracketed.split_once(']').ok_or(PostgresUrlError::Ipv6)?;
    address.parse::<Ipv6Addr>().map_err(|_| PostgresUrlError::Ipv6)?;
    match rest.strip_prefix(':') {
        Some(port) => Ok((address, port)),
        None if rest.is_empty() => Ok((address, "")),
        None => Err(PostgresUrlError::Ipv6),
    }
}

/// The text, unless it holds one of these characters unencoded.
fn refuse<'t>(part: &'static str, text: &'t str, characters: &[char]) -> Result<&'t str, PostgresUrlError> {
    if text.contains(characters) { Err(PostgresUrlError::Unencoded { part }) } else { Ok(text) }
}

/// The part without its percent-encoding; `None` where it is empty.
fn decode(part: &'static str, text: &str) -> Result<Option<String>, PostgresUrlError> {
    let malformed = || PostgresUrlError::Encoding { part };
    let is_escape = |tail: &str| {
        let mut digits = tail.bytes().take(2);
        digits.len() == 2 && digits.all(|digit| digit.is_ascii_hexdigit())
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err(malformed());
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| malformed())?;
    if decoded.contains('\0') {
        return Err(PostgresUrlError::Nul);
    }
    Ok((!decoded.is_empty()).then(|| decoded.into_owned()))
}

/// A name is repeated only where it looks like one, and the query does not look like the end of a password.
fn unknown_parameter(name: &str, query: &str) -> PostgresUrlError {
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    PostgresUrlError::UnknownParameter { name: (plain && !query.contains('@')).then(|| name.to_owned()) }
}

/// libpq's default: the name of the account that runs the program.
fn system_user() -> Result<String, PostgresUrlError> {
    match nix::unistd::User::from_uid(nix::unistd::geteuid()) {
        Ok(Some(user)) => Ok(user.name),
        _ => Err(PostgresUrlError::User),
    }
}

fn default_host() -> String {
    let [packaged, own] = SOCKET_DIRECTORIES;
    if Path::new(packaged).is_dir() { packaged.to_owned() } else { own.to_owned() }
}

fn tls(mode: Option<&str>, roots: Option<String>) -> Result<(SslMode, Option<PathBuf>), PostgresUrlError> {
    let mode = mode.map(parse_ssl_mode).transpose()?;
    match roots {
        Some(roots) if roots == "system" => match mode {
            None | Some(SslMode::VerifyFull) => Ok((SslMode::VerifyFull, None)),
            Some(_) => Err(PostgresUrlError::SystemRoots),
        },
        roots => Ok((mode.unwrap_or(SslMode::Prefer), roots.map(PathBuf::from))),
    }
}

fn parse_ssl_mode(text: &str) -> Result<SslMode, PostgresUrlError> {
    match text {
        "disable" => Ok(SslMode::Disable),
        "prefer" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verify-ca" => Ok(SslMode::VerifyCa),
        "verify-full" => Ok(SslMode::VerifyFull),
        "allow" => Err(PostgresUrlError::SslModeAllow),
        _ => Err(PostgresUrlError::SslMode),
    }
}

fn parse_binding(text: &str) -> Result<ChannelBinding, PostgresUrlError> {
    match text {
        "disable" => Ok(ChannelBinding::Disable),
        "prefer" => Ok(ChannelBinding::Prefer),
        "require" => Ok(ChannelBinding::Require),
        _ => Err(PostgresUrlError::ChannelBinding),
    }
}

fn parse_port(text: &str) -> Result<u16, PostgresUrlError> {
    text.parse().ok().filter(|port| *port > 0).ok_or(PostgresUrlError::Port)
}

fn parse_timeout(text: &str) -> Result<Duration, PostgresUrlError> {
    let seconds = text.parse().ok().filter(|seconds| (1..=CONNECT_TIMEOUT_SECONDS_MAX).contains(seconds));
    seconds.map(Duration::from_secs).ok_or(PostgresUrlError::ConnectTimeout)
}
