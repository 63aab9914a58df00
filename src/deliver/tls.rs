//! Whom endpoints must prove themselves to: the system's roots, and those that the operator adds.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};

use super::PosterError;

/// TLS 1.2 and later, by ring; the system's roots and those of `ca_file`.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, PosterError> {
    let mut roots = RootCertStore::empty();
    // A root that cannot be read only means that fewer endpoints are trusted; the handshake will say so.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        add_file(&mut roots, path)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What there is to be done about it, where the error tells.
pub(super) const fn remedy(error: &Error) -> Option<&'static str> {
    match error {
        Error::InvalidCertificate(error) => certificate_remedy(error),
        Error::PeerIncompatible(_) | Error::AlertReceived(_) => Some("the endpoint must speak TLS 1.2 or 1.3"),
        _ => None,
    }
}

const fn certificate_remedy(error: &CertificateError) -> Option<&'static str> {
    match error {
        CertificateError::UnknownIssuer => {
            Some("the endpoint must send its whole chain; a private authority is named in [delivery] ca_file")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some("the URL must name the endpoint as its certificate does")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Some("the endpoint's certificate is to be renewed, or the clock here set right")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Some("is the clock here right?"),
        _ => None,
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), PosterError> {
    let unreadable = |source| PosterError::CaFile { path: path.into(), source };
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        roots.add(certificate.map_err(unreadable)?)?;
    }
    Ok(())
}
