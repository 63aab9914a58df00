//! The two things that have to be read out of a server's certificate, whatever its version: its signature's hash function,
//! and its key.

use sha2::{Digest, Sha256, Sha384, Sha512};

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const INTEGER: u8 = 0x02;
/// `[0]`, which holds the version; there is none in version 1.
const VERSION: u8 = 0xa0;

/// 1.2.840.113549.1.1: the RSA signatures of PKCS #1.
const RSA: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
/// 1.2.840.10045.4: the ECDSA signatures.
const ECDSA: [u8; 6] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4];

/// `tls-server-end-point` (RFC 5929): the hash of the certificate by the hash function of its own signature; `None` where its signature algorithm has no hash of its own (Ed25519) or is unknown.
pub(super) fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let algorithm = signature_algorithm(certificate)?;
    // MD5 and SHA-1 (RSA 4 and 5, ECDSA 1) are raised to SHA-256 by the RFC.
    match (algorithm.strip_prefix(&RSA), algorithm.strip_prefix(&ECDSA)) {
        (Some([4 | 5 | 11]), _) | (_, Some([1] | [3, 2])) => Some(Sha256::digest(certificate).to_vec()),
        (Some([12]), _) | (_, Some([3, 3])) => Some(Sha384::digest(certificate).to_vec()),
        (Some([13]), _) | (_, Some([3, 4])) => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

/// The object identifier of `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID, … }, … }`.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (fields, _) = element(certificate, SEQUENCE)?;
    let (_, after_tbs) = element(fields, SEQUENCE)?;
    let (algorithm, _) = element(after_tbs, SEQUENCE)?;
    Some(element(algorithm, OBJECT_IDENTIFIER)?.0)
}

/// The SubjectPublicKeyInfo, whole: the seventh field of the certificate's first, and the sixth in version 1.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (fields, _) = element(certificate, SEQUENCE)?;
    let (fields, _) = element(fields, SEQUENCE)?;
    let fields = element(fields, VERSION).map_or(fields, |(_, rest)| rest);
    let (_serial, mut rest) = element(fields, INTEGER)?;
    for _signature_issuer_validity_subject in 0..4 {
        (_, rest) = element(rest, SEQUENCE)?;
    }
    let (_, after) = element(rest, SEQUENCE)?;
    rest.get(..rest.len() - after.len())
}

/// The contents of the DER element of this tag that `input` begins with, and what follows it.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(first), rest),
        _ => long_length(usize::from(first & 0x7f), rest)?,
    };
    (found == tag).then_some(())?;
    rest.split_at_checked(length)
}

fn long_length(octets: usize, rest: &[u8]) -> Option<(usize, &[u8])> {
    // A certificate's length fits into four octets.
    let (octets, rest) = rest.split_at_checked((1..=4).contains(&octets).then_some(octets)?)?;
    Some((octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn certificate(key: &rcgen::KeyPair) -> Vec<u8> {
        let params = rcgen::CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
        params.self_signed(key).unwrap().der().to_vec()
    }

    fn signed_by(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        certificate(&rcgen::KeyPair::generate_for(algorithm).unwrap())
    }

    #[test]
    fn hashes_with_the_hash_of_the_signature() {
        let sha256 = signed_by(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(tls_server_end_point(&sha256), Some(Sha256::digest(&sha256).to_vec()));
        let sha384 = signed_by(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(tls_server_end_point(&sha384), Some(Sha384::digest(&sha384).to_vec()));
        assert_eq!(tls_server_end_point(&signed_by(&rcgen::PKCS_ED25519)), None);
    }

    #[test]
    fn finds_the_key_in_every_version() {
        use rcgen::PublicKeyData;
        let key = rcgen::KeyPair::generate().unwrap();
        let third = certificate(&key);
        let public = key.subject_public_key_info();
        assert_eq!(public_key(&third), Some(public.as_slice()));

        let sequence = |contents: &[u8]| [&[SEQUENCE, u8::try_from(contents.len()).unwrap()], contents].concat();
        let empty = sequence(&[]);
        let first = [&[INTEGER, 1, 7], empty.repeat(4).as_slice(), &public].concat();
        let first = sequence(&[sequence(&first), empty.clone(), empty].concat());
        assert_eq!(public_key(&first), Some(public.as_slice()));
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = tls_server_end_point(&bytes);
            let _ = public_key(&bytes);
        }
    }
}
