//! Signatures as the Standard Webhooks specification has them
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Signs with a key, and during a rotation with those that it replaced too. The keys' schedules are computed once.
#[derive(Clone)]
pub struct Signer {
    current: Hmac<Sha256>,
    /// Each with the second, since 1970, from which on it is good no more; the newest first.
    previous: Vec<(Hmac<Sha256>, u64)>,
}

impl Signer {
    /// With the raw bytes of a key.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self { current: schedule(key), previous: Vec::new() }
    }

    /// And, in attempts made before this second since 1970, with an older key too.
    #[must_use]
    pub fn and_until(mut self, key: &[u8], until: u64) -> Self {
        self.previous.push((schedule(key), until));
        self
    }

    /// The value of `webhook-signature` for one attempt, the body being given in pieces: `v1,` and the HMAC-SHA256 of
    /// `id.timestamp.body`, for each key that is good at the timestamp, the current one first.
    #[must_use]
    pub fn sign<'a>(&self, id: &str, timestamp: u64, body: impl Iterator<Item = &'a [u8]> + Clone) -> String {
        let good = self.previous.iter().filter(|(_, until)| timestamp < *until).map(|(key, _)| key);
        let timestamp = timestamp.to_string();
        let mut signature = String::with_capacity(TOKEN);
        for key in std::iter::once(&self.current).chain(good) {
            if !signature.is_empty() {
                signature.push(' ');
            }
            signature.push_str("v1,");
            BASE64.encode_append(&digest(key.clone(), id, &timestamp, body.clone()), &mut signature);
        }
        signature
    }
}

/// Of one key, in bytes: 32 in base64.
const TOKEN: usize = "v1,".len() + 44;

fn schedule(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of every length, so this cannot fail; an empty key is refused where secrets are read.
    Hmac::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&[0; 64].into()))
}

fn digest<'a>(mut mac: Hmac<Sha256>, id: &str, timestamp: &str, body: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
    for part in [id, ".", timestamp, "."] {
        mac.update(part.as_bytes());
    }
    body.for_each(|piece| mac.update(piece));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> u64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    }

    /// `{}`, in two pieces.
    fn pieces() -> impl Iterator<Item = &'static [u8]> + Clone {
        [&b"{"[..], b"}"].into_iter()
    }

    /// What the published verifier says.
    fn verifies(key: [u8; 32], signature: &str, timestamp: u64, body: &[u8]) -> bool {
        let mut headers = hyper::HeaderMap::new();
        for (name, value) in [("id", "msg_1"), ("timestamp", &timestamp.to_string()), ("signature", signature)] {
            headers.insert(
                hyper::header::HeaderName::try_from(format!("webhook-{name}")).unwrap(),
                value.parse().unwrap(),
            );
        }
        standardwebhooks::Webhook::from_bytes(key.to_vec()).unwrap().verify(body, &headers).is_ok()
    }

    #[test]
    fn the_published_verifier_accepts_it() {
        let (key, timestamp) = ([7u8; 32], now());
        let signature = Signer::new(&key).sign("msg_1", timestamp, pieces());
        assert!(verifies(key, &signature, timestamp, b"{}"));
        assert!(!verifies(key, &signature, timestamp, b"{ }"));
    }

    #[test]
    fn a_key_that_was_replaced_signs_too_until_its_end_and_after_the_current_one() {
        let (current, newer, older, at) = ([1u8; 32], [2u8; 32], [3u8; 32], now());
        let signer = Signer::new(&current).and_until(&newer, at + 2).and_until(&older, at + 1);
        for (timestamp, tokens, accepted) in
            [(at, 3, [true, true, true]), (at + 1, 2, [true, true, false]), (at + 2, 1, [true, false, false])]
        {
            let signature = signer.sign("msg_1", timestamp, pieces());
            assert_eq!(signature.split(' ').count(), tokens);
            assert!(signature.starts_with(&Signer::new(&current).sign("msg_1", timestamp, pieces())));
            assert_eq!([current, newer, older].map(|key| verifies(key, &signature, timestamp, b"{}")), accepted);
        }
    }
}
