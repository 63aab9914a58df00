//! How a server's certificate is judged: the verifier behind each `sslmode`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::public_key;

/// What a certificate must prove. That the server holds its key is checked by all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing else.
    Key,
    /// A trusted root signed it.
    Chain,
    /// A trusted root signed it, for this host.
    ChainAndHost,
}

/// The roots that are trusted.
#[derive(Debug)]
pub(super) struct Roots {
    anchors: RootCertStore,
    /// The same certificates as they stand. A server that shows one of these is trusted as its own root, as by
    /// OpenSSL: the usual self-signed certificate is marked as an authority, and webpki accepts no authority at the end
    /// of a chain.
    themselves: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Those of these certificates that can be read; some of a system's old roots cannot.
    pub(super) fn new(certificates: Vec<CertificateDer<'static>>) -> Self {
        let mut anchors = RootCertStore::empty();
        anchors.add_parsable_certificates(certificates.iter().cloned());
        Self { anchors, themselves: certificates }
    }

    /// For a verifier that looks at no chain.
    pub(super) fn none() -> Self {
        Self::new(Vec::new())
    }
}

/// The verifier behind each `sslmode`.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    roots: Roots,
    proof: Proof,
}

impl Verifier {
    pub(super) fn new(provider: Arc<CryptoProvider>, roots: Roots, proof: Proof) -> Self {
        Self { provider, roots, proof }
    }

    fn verify_chain(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.roots.themselves.iter().any(|root| root == end) {
            return Ok(());
        }
        let algorithms = self.provider.signature_verification_algorithms.all;
        let certificate = ParsedCertificate::try_from(end)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots.anchors, between, now, algorithms)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.proof != Proof::Key {
            self.verify_chain(end_entity, intermediates, now)?;
        }
        if self.proof == Proof::ChainAndHost {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match public_key(cert).filter(|_| self.proof == Proof::Key) {
            // Where nothing but the key counts, a certificate of version 1 will do, such as `openssl x509` made for long;
            // webpki reads only version 3.
            Some(key) => {
                verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(key), dss, algorithms)
            }
            None => verify_tls13_signature(message, cert, dss, algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
