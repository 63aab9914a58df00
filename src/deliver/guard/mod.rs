//! Which networks notifications may go to. The addresses that are judged are the ones that are dialled.

mod connector;
mod networks;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use url::{Host, Url};

use crate::config::DeliverySettings;

pub(super) use connector::GuardedConnector;

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
        if self.is_listed(address) {
            return Ok(());
        }
        for target in networks::targets(address).into_iter().filter(|target| !self.is_listed(*target)) {
            if let Some(network) = networks::special(target) {
                return Err(GuardError::Network { address, network });
            }
            if plain_http && !self.allow_http {
                return Err(GuardError::PlainHttp { address });
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allowed: &[&str], allow_http: bool) -> NetworkGuard {
        NetworkGuard { allowed: allowed.iter().map(|network| network.parse().unwrap()).collect(), allow_http }
    }

    #[test]
    fn a_listed_network_is_let_through_also_when_it_is_mapped() {
        let guard = guard(&["127.0.0.0/8"], false);
        assert_eq!(guard.judge("127.0.0.1".parse().unwrap(), true), Ok(()));
        assert_eq!(guard.judge("::ffff:127.0.0.1".parse().unwrap(), true), Ok(()));
        assert_eq!(guard.judge("64:ff9b::127.0.0.1".parse().unwrap(), true), Ok(()));
        assert_eq!(guard.judge("64:ff9b:1::127.0.0.1".parse().unwrap(), true), Ok(()));
        // One of the two that may be meant is listed.
        assert!(guard.judge("64:ff9b:1:a01:2:300:7f00:1".parse().unwrap(), true).is_err());
        assert!(guard.judge("2002:7f00:1::".parse().unwrap(), false).is_err());
        assert!(guard.judge("10.0.0.1".parse().unwrap(), false).is_err());
    }

    #[test]
    fn plain_http_goes_to_listed_networks_only_unless_allowed() {
        let public = "93.184.216.34".parse().unwrap();
        assert_eq!(guard(&[], false).judge(public, true), Err(GuardError::PlainHttp { address: public }));
        assert_eq!(guard(&[], true).judge(public, true), Ok(()));
    }
}
