//! The TLS client that a URL asks for.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::TlsConnector;

use super::PostgresError;
use super::trust::{Proof, Roots, Verifier};
use crate::config::{PostgresUrl, SslMode};

/// libpq's word for the system's trust roots.
const SYSTEM: &str = "system";

/// A connector that trusts what the URL says, and shows the client certificate that it names. Reads files.
pub(super) fn connector(url: &PostgresUrl) -> Result<TlsConnector, PostgresError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new(Arc::clone(&provider), roots(url)?, proof(url));
    Ok(TlsConnector::from(Arc::new(client_config(url, provider, verifier)?)))
}

/// What `sslmode` means together with `sslrootcert`, as by libpq.
fn proof(url: &PostgresUrl) -> Proof {
    match (url.ssl_mode, &url.ssl_root_cert) {
        (SslMode::Disable | SslMode::Prefer, _) | (SslMode::Require, None) => Proof::Key,
        // Anyone may get a certificate from some public authority: only together with the host does it prove anything.
        (_, Some(path)) if is_system(path) => Proof::ChainAndHost,
        (SslMode::Require | SslMode::VerifyCa, _) => Proof::Chain,
        (SslMode::VerifyFull, _) => Proof::ChainAndHost,
    }
}

fn is_system(path: &Path) -> bool {
    path.as_os_str() == SYSTEM
}

fn roots(url: &PostgresUrl) -> Result<Roots, PostgresError> {
    match &url.ssl_root_cert {
        _ if proof(url) == Proof::Key => Ok(Roots::none()),
        Some(path) if !is_system(path) => Ok(Roots::new(certificates("sslrootcert", path)?)),
        _ => system_roots(),
    }
}

fn system_roots() -> Result<Roots, PostgresError> {
    let mut found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(PostgresError::SystemRoots(found.errors.pop()));
    }
    Ok(Roots::new(found.certs))
}

fn client_config(
    url: &PostgresUrl,
    provider: Arc<CryptoProvider>,
    verifier: Verifier,
) -> Result<ClientConfig, PostgresError> {
    let unusable = |source: rustls::Error| unusable("sslkey", url.ssl_key.as_deref(), source);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match (&url.ssl_cert, &url.ssl_key) {
        (Some(cert), Some(key)) => {
            builder.with_client_auth_cert(certificates("sslcert", cert)?, private_key(key)?).map_err(unusable)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(parameter: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, PostgresError> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    match read() {
        Ok(certificates) if certificates.is_empty() => Err(unusable(parameter, Some(path), pem::Error::NoItemsFound)),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(parameter, Some(path), error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PostgresError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unusable("sslkey", Some(path), error))
}

fn unusable(
    parameter: &'static str,
    path: Option<&Path>,
    source: impl std::error::Error + Send + Sync + 'static,
) -> PostgresError {
    let path = path.unwrap_or(Path::new("")).to_owned();
    PostgresError::Certificate { parameter, path, source: Box::new(source) }
}
