//! Where a request goes, in the forms that the versions of HTTP ask for.

use std::sync::Arc;

use hyper::header::{HeaderValue, InvalidHeaderValue};
use hyper::http::uri::{InvalidUri, PathAndQuery};
use hyper::{Uri, Version};
use url::{Position, Url};

/// Why a URL cannot be requested.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It has no host.
    #[error("the URL has no host")]
    NoHost,
    /// It is no URI (RFC 3986).
    #[error(transparent)]
    Uri(#[from] InvalidUri),
    /// Its host is no header's value.
    #[error(transparent)]
    Host(#[from] InvalidHeaderValue),
}

/// An endpoint's URL, taken apart once for all requests. A user name in it goes nowhere.
#[derive(Clone, Debug)]
pub struct Target {
    uri: Uri,
    path: Uri,
    host: HeaderValue,
    origin: Arc<str>,
}

impl Target {
    /// Of this URL.
    ///
    /// # Errors
    /// Where it is none that can be requested.
    pub fn new(url: &Url) -> Result<Self, TargetError> {
        let host = url.host_str().ok_or(TargetError::NoHost)?;
        // None where it is the scheme's own.
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let origin = format!("{}://{authority}", url.scheme());
        let path = &url[Position::BeforePath..Position::AfterQuery];
        Ok(Self {
            uri: format!("{origin}{path}").parse()?,
            path: Uri::from(path.parse::<PathAndQuery>()?),
            host: HeaderValue::from_str(&authority)?,
            origin: origin.into(),
        })
    }

    /// One that no request gets to.
    #[must_use]
    pub fn nowhere() -> Self {
        let uri = Uri::from_static("http://invalid./");
        let host = HeaderValue::from_static("invalid.");
        Self { path: Uri::from_static("/"), host, origin: "http://invalid.".into(), uri }
    }

    /// The whole URL.
    pub(super) const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What connections are shared by: scheme, host and port.
    pub(super) const fn origin(&self) -> &Arc<str> {
        &self.origin
    }

    /// Names the target in a request: by the path and a header in HTTP/1 (RFC 9112, 3.2), as a whole in HTTP/2 (RFC 9113, 8.3.1).
    pub(super) fn address<B>(&self, request: &mut hyper::Request<B>, version: Version) {
        if version == Version::HTTP_2 {
            *request.uri_mut() = self.uri.clone();
        } else {
            *request.uri_mut() = self.path.clone();
            request.headers_mut().insert(hyper::header::HOST, self.host.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_named_as_each_version_wants_it() {
        for (url, origin, path, host) in [
            ("https://example.com", "https://example.com", "/", "example.com"),
            ("https://example.com:443/a?b=c#d", "https://example.com", "/a?b=c", "example.com"),
            (
                "http://user:word@[2001:db8::1]:8080/%C3%A4",
                "http://[2001:db8::1]:8080",
                "/%C3%A4",
                "[2001:db8::1]:8080",
            ),
        ] {
            let target = Target::new(&url.parse().unwrap()).unwrap();
            assert_eq!(&**target.origin(), origin);
            let mut request = hyper::Request::new(());
            target.address(&mut request, Version::HTTP_2);
            assert_eq!(request.uri().to_string(), format!("{origin}{path}"));
            assert!(request.headers().is_empty());
            target.address(&mut request, Version::HTTP_11);
            assert_eq!(request.uri().to_string(), path);
            assert_eq!(request.headers()["host"], host);
        }
    }
}
