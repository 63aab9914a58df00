//! Signatures as the Standard Webhooks specification has them
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Signs with one key. The key's schedule is computed once.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// With the raw bytes of a key.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        // HMAC takes keys of every length, so this cannot fail; an empty key is refused where secrets are read.
        Self(Hmac::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&[0; 64].into())))
    }

    /// The value of `webhook-signature` for one attempt: `v1,` and the HMAC-SHA256 of `id.timestamp.body`.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        for part in [id.as_bytes(), b".", timestamp.to_string().as_bytes(), b".", body] {
            mac.update(part);
        }
        format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_verifier_accepts_it() {
        let key = [7u8; 32];
        let timestamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut headers = hyper::HeaderMap::new();
        let signature = Signer::new(&key).sign("msg_1", timestamp, b"{}");
        for (name, value) in [("id", "msg_1"), ("timestamp", &timestamp.to_string()), ("signature", &signature)] {
            headers.insert(
                hyper::header::HeaderName::try_from(format!("webhook-{name}")).unwrap(),
                value.parse().unwrap(),
            );
        }
        let verifier = standardwebhooks::Webhook::from_bytes(key.to_vec()).unwrap();
        assert!(verifier.verify(b"{}", &headers).is_ok());
        assert!(verifier.verify(b"{ }", &headers).is_err());
    }
}
