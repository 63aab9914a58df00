//! A master key, as an operator gives it.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What AES-256 takes; WebhookDB's keys are texts of so many bytes.
const KEY_BYTES: usize = 32;

/// A text that can't be a key; nothing of it is told but its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a key of exactly {KEY_BYTES} bytes, found {0} bytes")]
pub struct EncryptionKeyError(usize);

/// A master key: it can't be printed, and is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionKey(Zeroizing<[u8; KEY_BYTES]>);

impl EncryptionKey {
    /// The key that this text is: its bytes themselves, as WebhookDB takes them.
    ///
    /// # Errors
    /// Where it is longer or shorter than a key.
    pub fn parse(text: &str) -> Result<Self, EncryptionKeyError> {
        let bytes = text.as_bytes().try_into().map_err(|_| EncryptionKeyError(text.len()))?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// HMAC-SHA256 under this key.
    pub(super) fn hmac(&self, message: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
        Zeroizing::new(self.mac(message).finalize().into_bytes().into())
    }

    /// Whether this is the HMAC-SHA256 of the message, found out in constant time.
    pub(super) fn is_hmac_of(&self, tag: &[u8], message: &[u8]) -> bool {
        self.mac(message).verify_slice(tag).is_ok()
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        // A key that is shorter than SHA-256's block is filled up with zeros (RFC 2104).
        let mut block = Zeroizing::new([0; 64]);
        block[..KEY_BYTES].copy_from_slice(&*self.0);
        let mut mac = Hmac::new((&*block).into());
        mac.update(message);
        mac
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_text_of_32_bytes_and_never_printed() {
        let text = "Tc3X6zkxXgZfHE81MFz2EILStV++BuQY";
        assert_eq!(format!("{:?}", EncryptionKey::parse(text)), "Ok(EncryptionKey(…))");
        for (text, bytes) in [("", 0), (&text[1..], 31), (&format!("{text}\n"), 33), ("ü".repeat(32).as_str(), 64)] {
            assert_eq!(EncryptionKey::parse(text), Err(EncryptionKeyError(bytes)));
        }
        assert!(EncryptionKey::parse(&"ü".repeat(16)).is_ok());
    }
}
