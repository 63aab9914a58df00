//! From a URL to an open connection on which the startup message comes next: name, socket, TLS.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{PostgresError, Stream, tls};
use crate::config::{PostgresUrl, SslMode};

/// Silence after which the operating system asks whether the other side still lives; a dead one is given up after three
/// unanswered questions, so within a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// What was sent and not acknowledged for so long means that the other side is gone: the same minute, for a connection
/// that is not silent on our side.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// The SSLRequest message: its length, and the code that no protocol version has.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Opens a connection as the URL asks. Not bounded in time: the caller bounds the whole login.
pub(crate) async fn dial(url: &PostgresUrl) -> Result<Stream, PostgresError> {
    if url.host.starts_with('/') {
        let stream = UnixStream::connect(address(url)).await.map_err(|source| unreachable(url, source))?;
        return Ok(Stream::Unix(stream));
    }
    // Made first, so that a wrong file name is told without a server.
    let connector = connector(url).await?;
    let stream = dial_tcp(url).await.map_err(|source| unreachable(url, source))?;
    match connector {
        Some(connector) => secure(url, stream, connector).await,
        None => Ok(Stream::Tcp(stream)),
    }
}

/// Where the URL points, in words: host and port, or the socket's path.
pub(crate) fn address(url: &PostgresUrl) -> String {
    match url.host.as_str() {
        directory if directory.starts_with('/') => format!("{}/.s.PGSQL.{}", directory.trim_end_matches('/'), url.port),
        host if host.contains(':') => format!("[{host}]:{}", url.port),
        host => format!("{host}:{}", url.port),
    }
}

fn unreachable(url: &PostgresUrl, source: io::Error) -> PostgresError {
    PostgresError::Unreachable { address: address(url), source }
}

async fn connector(url: &PostgresUrl) -> Result<Option<TlsConnector>, PostgresError> {
    if url.ssl_mode == SslMode::Disable {
        return Ok(None);
    }
    let url = url.clone();
    let read = tokio::task::spawn_blocking(move || tls::connector(&url));
    read.await.map_err(|panic| PostgresError::Unexpected(Box::new(panic)))?.map(Some)
}

/// Tries each of the host's addresses in turn, each with its share of the time, so that a dead first one leaves some.
async fn dial_tcp(url: &PostgresUrl) -> io::Result<TcpStream> {
    let addresses = lookup_host((url.host.as_str(), url.port)).await?.collect::<Vec<_>>();
    let share = url.connect_timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in addresses {
        match timeout(share, dial_address(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

async fn dial_address(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(3),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(stream)
}

async fn secure(url: &PostgresUrl, mut stream: TcpStream, connector: TlsConnector) -> Result<Stream, PostgresError> {
    if !offers_tls(&mut stream).await.map_err(|source| unreachable(url, source))? {
        return match url.ssl_mode {
            SslMode::Prefer => Ok(Stream::Tcp(stream)),
            _ => Err(PostgresError::TlsNotOffered { address: address(url) }),
        };
    }
    let failed = |source| PostgresError::Tls { address: address(url), source };
    let host = ServerName::try_from(url.host.clone());
    let host = host.map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    Ok(Stream::Tls(Box::new(connector.connect(host, stream).await.map_err(failed)?)))
}

/// One byte is read and no more: what follows it belongs to TLS, and bytes sent ahead of TLS would be an injection.
async fn offers_tls(stream: &mut TcpStream) -> io::Result<bool> {
    stream.write_all(&SSL_REQUEST).await?;
    Ok(stream.read_u8().await? == b'S')
}
