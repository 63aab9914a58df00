//! Which networks notifications may go to. The addresses that are judged are the ones that are dialled.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::net::TcpStream;
use tower_service::Service;
use url::{Host, Url};

use crate::config::DeliverySettings;

/// Special-purpose IPv4 networks (<https://www.iana.org/assignments/iana-ipv4-special-registry>), none of which is an endpoint.
const REFUSED_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "\"this\" network"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "reserved"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "reserved"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmark"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// Special-purpose parts of the IPv6 global unicast network; everything outside of that network is refused anyway.
const REFUSED_V6: &[(Ipv6Net, &str)] = &[
    (v6(0, 0, 128), "unspecified"),
    (v6(0, 1, 128), "loopback"),
    (v6(0x2001_0000, 0, 32), "Teredo"),
    (v6(0x2001_0db8, 0, 32), "documentation"),
    (v6(0x2001_0000, 0, 23), "reserved"),
    (v6(0x2002_0000, 0, 16), "6to4"),
    (v6(0x3fff_0000, 0, 20), "documentation"),
    (v6(0xfc00_0000, 0, 7), "private"),
    (v6(0xfe80_0000, 0, 10), "link-local"),
    (v6(0xff00_0000, 0, 8), "multicast"),
];

const GLOBAL_UNICAST: Ipv6Net = v6(0x2000_0000, 0, 3);
const NAT64: Ipv6Net = v6(0x0064_ff9b, 0, 96);

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// The network of the first 32 and the last 32 bits of an address.
const fn v6(first: u32, last: u32, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_bits((first as u128) << 96 | last as u128), prefix)
}

/// Why a destination is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// Its address is in a network that no endpoint is in.
    #[error("{address} is in a {network} network")]
    Network {
        /// The address.
        address: IpAddr,
        /// What the network is for.
        network: &'static str,
    },
    /// Plain http to an address that is not listed.
    #[error("plain http to {address} is not allowed")]
    PlainHttp {
        /// The address.
        address: IpAddr,
    },
    /// The URL has no host.
    #[error("the URL has no host")]
    NoHost,
}

impl GuardError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Network { .. } => {
                Some("list the network in [delivery] allow_networks if it may receive notifications".into())
            }
            Self::PlainHttp { .. } => {
                Some("use https, or set [delivery] allow_http, or list the network in [delivery] allow_networks".into())
            }
            Self::NoHost => None,
        }
    }
}

/// What is known of a destination before anything is sent.
#[derive(Debug)]
pub enum GuardVerdict {
    /// Every address of it may be dialled now; each connection is judged again.
    Allowed,
    /// Its name cannot be resolved now.
    Unresolved(io::Error),
}

/// The rules: special-purpose networks are refused unless they are listed.
#[derive(Clone, Debug)]
pub struct NetworkGuard {
    allowed: Arc<[IpNet]>,
    allow_http: bool,
}

impl NetworkGuard {
    /// With the operator's exceptions.
    #[must_use]
    pub fn new(settings: &DeliverySettings) -> Self {
        Self { allowed: settings.allow_networks().into(), allow_http: settings.allow_http() }
    }

    /// Judges one address.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn judge(&self, address: IpAddr, plain_http: bool) -> Result<(), GuardError> {
        let effective = effective(address);
        if self.is_listed(address) || self.is_listed(effective) {
            return Ok(());
        }
        if let Some(network) = refused(effective) {
            return Err(GuardError::Network { address, network });
        }
        if plain_http && !self.allow_http { Err(GuardError::PlainHttp { address }) } else { Ok(()) }
    }

    /// Judges every address of a URL's host as it resolves now.
    ///
    /// # Errors
    /// Where any of them is refused.
    pub async fn check_url(&self, url: &Url) -> Result<GuardVerdict, GuardError> {
        let plain_http = url.scheme() == "http";
        match url.host().ok_or(GuardError::NoHost)? {
            Host::Ipv4(address) => self.judge(address.into(), plain_http)?,
            Host::Ipv6(address) => self.judge(address.into(), plain_http)?,
            Host::Domain(name) => match tokio::net::lookup_host((name, 0)).await {
                Ok(mut addresses) => addresses.try_for_each(|address| self.judge(address.ip(), plain_http))?,
                Err(error) => return Ok(GuardVerdict::Unresolved(error)),
            },
        }
        Ok(GuardVerdict::Allowed)
    }

    fn is_listed(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|network| network.contains(&address))
    }
}

/// The address that a packet would reach in the end: IPv4 inside of an IPv4-mapped or a NAT64 address.
fn effective(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if NAT64.contains(&v6) => {
            let [.., a, b, c, d] = v6.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        address => address.to_canonical(),
    }
}

fn refused(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => REFUSED_V4.iter().find(|(network, _)| network.contains(&v4)).map(|(_, name)| *name),
        IpAddr::V6(v6) => {
            let special = REFUSED_V6.iter().find(|(network, _)| network.contains(&v6)).map(|(_, name)| *name);
            special.or_else(|| (!GLOBAL_UNICAST.contains(&v6)).then_some("reserved"))
        }
    }
}

/// Resolves names and refuses a name of which any address is refused.
#[derive(Clone, Debug)]
pub(super) struct GuardedResolver {
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
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            for address in &addresses {
                guard.judge(address.ip(), plain_http).map_err(io::Error::other)?;
            }
            Ok(addresses.into_iter())
        })
    }
}

/// Dials only what the guard lets through, literals included, which the resolver never sees.
#[derive(Clone)]
pub(super) struct GuardedConnector {
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
    pub(super) fn new(guard: NetworkGuard, connect_timeout: std::time::Duration) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allowed: &[&str], allow_http: bool) -> NetworkGuard {
        NetworkGuard { allowed: allowed.iter().map(|network| network.parse().unwrap()).collect(), allow_http }
    }

    #[test]
    fn special_networks_are_refused_and_public_ones_are_not() {
        let refused = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.19.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "::127.0.0.1",
            "100::1",
            "3fff::1",
            "4000::1",
        ];
        for address in refused {
            assert!(guard(&[], true).judge(address.parse().unwrap(), false).is_err(), "{address}");
        }
        for address in
            ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "::ffff:93.184.216.34", "100.128.0.1"]
        {
            assert_eq!(guard(&[], true).judge(address.parse().unwrap(), false), Ok(()), "{address}");
        }
    }

    #[test]
    fn a_listed_network_is_let_through_also_when_it_is_mapped() {
        let guard = guard(&["127.0.0.0/8"], false);
        assert_eq!(guard.judge("127.0.0.1".parse().unwrap(), true), Ok(()));
        assert_eq!(guard.judge("::ffff:127.0.0.1".parse().unwrap(), true), Ok(()));
        assert!(guard.judge("10.0.0.1".parse().unwrap(), false).is_err());
    }

    #[test]
    fn plain_http_goes_to_listed_networks_only_unless_allowed() {
        let public = "93.184.216.34".parse().unwrap();
        assert_eq!(guard(&[], false).judge(public, true), Err(GuardError::PlainHttp { address: public }));
        assert_eq!(guard(&[], true).judge(public, true), Ok(()));
    }

    #[tokio::test]
    async fn literals_in_every_spelling_are_judged() {
        for url in [
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://[::ffff:7f00:1]/",
            "https://127.1/",
        ] {
            let verdict = guard(&[], true).check_url(&Url::parse(url).unwrap()).await;
            assert!(matches!(verdict, Err(GuardError::Network { .. })), "{url}");
        }
    }
}
