//! The secret that notifications are signed with, read by the rules that its users know.

use std::fmt;

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::Secret;

/// What the Standard Webhooks specification puts before a secret in base64.
const PREFIX: &str = "whsec_";
/// The specification's bounds for the key in a `whsec_` secret.
const WHSEC_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// A generated key is as long as the digest of HMAC-SHA256: more would add nothing.
const GENERATED_BYTES: usize = 32;

/// A signing secret and the key that it stands for.
///
/// What starts with `whsec_` is base64 of the key; any other text's key is its own bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret {
    text: Secret,
    key: Zeroizing<Vec<u8>>,
}

/// A text that begins as a Standard Webhooks secret and is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningSecretError {
    /// There is no text at all.
    #[error("the secret is empty")]
    Empty,
    /// What follows `whsec_` can't be decoded.
    #[error("the secret starts with whsec_, but what follows is not padded base64")]
    NotBase64,
    /// What follows `whsec_` is too short or too long.
    #[error("the secret starts with whsec_, but holds {0} bytes, not 24 to 64")]
    Length(usize),
}

impl SigningSecretError {
    /// What the operator should do.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Empty => None,
            Self::NotBase64 | Self::Length(_) => {
                Some("leave the secret empty to have one generated, or give one that does not start with whsec_")
            }
        }
    }
}

impl SigningSecret {
    /// Reads a secret as it was typed.
    ///
    /// # Errors
    /// Where the text is empty, or starts with `whsec_` and is not padded base64 of 24 to 64 bytes.
    pub fn parse(text: &str) -> Result<Self, SigningSecretError> {
        if text.is_empty() {
            return Err(SigningSecretError::Empty);
        }
        let key = match text.strip_prefix(PREFIX) {
            Some(encoded) => decode_key(encoded)?,
            None => text.as_bytes().to_vec(),
        };
        Ok(Self { text: Secret::new(text.to_owned()), key: Zeroizing::new(key) })
    }

    /// A new secret in the form of the Standard Webhooks specification.
    #[must_use]
    pub fn generate() -> Self {
        let key = Zeroizing::new(rand::random::<[u8; GENERATED_BYTES]>().to_vec());
        Self { text: Secret::new(encode_key(&key)), key }
    }

    /// The secret as it was typed or generated, as the catalog stores it.
    #[must_use]
    pub const fn text(&self) -> &Secret {
        &self.text
    }

    /// The key of the signature.
    #[must_use]
    pub fn key_bytes(&self) -> &[u8] {
        &self.key
    }

    /// The key in the form that every Standard Webhooks library takes.
    #[must_use]
    pub fn whsec(&self) -> Secret {
        Secret::new(encode_key(&self.key))
    }

    /// Whether the key is shorter than the specification asks for.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.key.len() < *WHSEC_BYTES.start()
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

fn decode_key(encoded: &str) -> Result<Vec<u8>, SigningSecretError> {
    let key = BASE64.decode(encoded.as_bytes()).map_err(|_| SigningSecretError::NotBase64)?;
    if WHSEC_BYTES.contains(&key.len()) { Ok(key) } else { Err(SigningSecretError::Length(key.len())) }
}

fn encode_key(key: &[u8]) -> String {
    let mut text = PREFIX.to_owned();
    BASE64.encode_append(key, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whsec(bytes: usize) -> String {
        encode_key(&vec![7; bytes])
    }

    #[test]
    fn a_plain_secret_is_its_own_key() {
        let secret = SigningSecret::parse("webhook_secret123").unwrap();
        assert_eq!(secret.key_bytes(), b"webhook_secret123");
        assert_eq!(secret.whsec().expose(), "whsec_d2ViaG9va19zZWNyZXQxMjM=");
        assert!(secret.is_short());
        assert!(!SigningSecret::parse("0123456789abcdef01234567").unwrap().is_short());
    }

    #[test]
    fn a_whsec_secret_holds_24_to_64_bytes() {
        for bytes in [24, 32, 64] {
            let secret = SigningSecret::parse(&whsec(bytes)).unwrap();
            assert_eq!(secret.key_bytes(), vec![7; bytes]);
            assert_eq!(secret.whsec().expose(), whsec(bytes));
        }
        assert_eq!(SigningSecret::parse(&whsec(23)), Err(SigningSecretError::Length(23)));
        assert_eq!(SigningSecret::parse(&whsec(65)), Err(SigningSecretError::Length(65)));
    }

    #[test]
    fn a_whsec_secret_is_padded_standard_base64() {
        let unpadded = whsec(32).trim_end_matches('=').to_owned();
        for text in [
            unpadded.as_str(),
            "whsec_",
            "whsec_not base64 at all!",
            "whsec_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_8=",
        ] {
            assert!(SigningSecret::parse(text).is_err(), "{text}");
        }
        assert_eq!(SigningSecret::parse(""), Err(SigningSecretError::Empty));
    }

    #[test]
    fn a_generated_secret_is_read_back_and_never_printed() {
        let secret = SigningSecret::generate();
        assert_eq!(SigningSecret::parse(secret.text().expose()).as_ref(), Ok(&secret));
        assert_eq!(secret.key_bytes().len(), GENERATED_BYTES);
        assert_eq!(format!("{secret:?}"), "SigningSecret(…)");
    }
}
