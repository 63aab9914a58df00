//! The connector that dials endpoints: it judges, and dials what it has judged.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::{GuardError, NetworkGuard};

/// Resolves names and refuses a name of which any address is refused.
#[derive(Clone, Debug)]
struct GuardedResolver {
    guard: NetworkGuard,
    plain_http: bool,
}

type Resolving = Pin<Box<dyn Future<Output = io::Result<std::vec::IntoIter<SocketAddr>>> + Send>>;

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Resolving;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { guard, plain_http } = self.clone();
        Box::pin(async move {
            // Asked once: what is judged here is what the connector gets to dial, whatever the next answer would be.
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            for address in &addresses {
                guard.judge(address.ip(), plain_http).map_err(io::Error::other)?;
            }
            Ok(addresses.into_iter())
        })
    }
}

/// Dials only what the guard lets through, literals included, which the resolver never sees. It knows of no proxies, and so
/// not of those that the environment names: a proxy would resolve names itself, and past the guard.
#[derive(Clone)]
pub(in crate::deliver) struct GuardedConnector {
    guard: NetworkGuard,
    https: HttpConnector<GuardedResolver>,
    http: HttpConnector<GuardedResolver>,
}

impl fmt::Debug for GuardedConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedConnector").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl GuardedConnector {
    pub(in crate::deliver) fn new(guard: NetworkGuard, connect_timeout: Duration) -> Self {
        let connector = |plain_http| {
            let mut connector = HttpConnector::new_with_resolver(GuardedResolver { guard: guard.clone(), plain_http });
            connector.enforce_http(false);
            connector.set_nodelay(true);
            connector.set_connect_timeout(Some(connect_timeout));
            connector
        };
        Self { https: connector(false), http: connector(true), guard }
    }

    fn judge_literal(&self, uri: &Uri) -> Result<(), GuardError> {
        let host = uri.host().ok_or(GuardError::NoHost)?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
        literal.map_or(Ok(()), |address| self.guard.judge(address, uri.scheme_str() == Some("http")))
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let judged = self.judge_literal(&uri);
        let mut connector = if uri.scheme_str() == Some("http") { self.http.clone() } else { self.https.clone() };
        Box::pin(async move {
            judged?;
            Ok(connector.call(uri).await?)
        })
    }
}
