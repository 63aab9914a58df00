//! Certificates of a test's own: an authority, and what it issues.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    /// What stands between a root and what is issued; none for a root.
    chain: String,
}

/// Who a certificate is for, and when it is good.
pub(crate) struct Subject {
    params: CertificateParams,
}

/// A certificate and its key.
pub(crate) struct Issued {
    /// The certificate, and behind it those between it and the root.
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    /// A root of its own.
    pub(crate) fn new(name: &str) -> Self {
        let (params, key) = (authority(name), key());
        let pem = params.self_signed(&key).expect("a root").pem();
        Self { issuer: Issuer::new(params, key), pem, chain: String::new() }
    }

    /// A root that signs by Ed25519, which has no hash function of its own.
    pub(crate) fn by_ed25519(name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate_for(&PKCS_ED25519).expect("a key"));
        let pem = params.self_signed(&key).expect("a root").pem();
        Self { issuer: Issuer::new(params, key), pem, chain: String::new() }
    }

    /// An authority that this one vouches for.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let (params, key) = (authority(name), key());
        let pem = params.signed_by(&key, &self.issuer).expect("an authority").pem();
        Self { issuer: Issuer::new(params, key), chain: format!("{pem}{}", self.chain), pem }
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate by it.
    pub(crate) fn issue(&self, subject: Subject) -> Issued {
        let key = key();
        let certificate = subject.params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Issued { chain: format!("{certificate}{}", self.chain), key: key.serialize_pem() }
    }
}

impl Subject {
    /// A server of this name or address.
    pub(crate) fn server(name: &str) -> Self {
        Self { params: CertificateParams::new(vec![name.to_owned()]).expect("a host name") }
    }

    /// A client of this name.
    pub(crate) fn client(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no host name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Self { params }
    }

    /// No longer good.
    pub(crate) fn expired(mut self) -> Self {
        (self.params.not_before, self.params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self
    }

    /// Not good yet.
    pub(crate) fn of_the_future(mut self) -> Self {
        (self.params.not_before, self.params.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1));
        self
    }
}

impl Issued {
    /// The same for rustls.
    pub(crate) fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect::<Result<_, _>>();
        (chain.expect("certificates"), PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key"))
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("no host name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}
