//! The keys that the config gives: one that encrypts, and older ones that are still read.

use super::column::{self, Column};
use super::{EncryptionKey, SealError};
use crate::model::Secret;

/// A secret as the catalog has it. The text of one that is not encrypted is the secret itself, so it is handled like one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSecret {
    /// What the column holds.
    pub text: Secret,
    /// Whether that is the form of an encrypted column; any text may be a secret, so it can't be told by looking at it.
    pub is_encrypted: bool,
}

/// Every key by its number. Without any, secrets are stored as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRing {
    /// Encrypts.
    current: Option<(u8, EncryptionKey)>,
    old: Vec<(u8, EncryptionKey)>,
}

impl KeyRing {
    /// Encrypts by `current`, and reads what it or one of `old` has encrypted; the numbers differ.
    #[must_use]
    pub const fn new(current: (u8, EncryptionKey), old: Vec<(u8, EncryptionKey)>) -> Self {
        Self { current: Some(current), old }
    }

    /// The number of the key that encrypts.
    #[must_use]
    pub fn current_id(&self) -> Option<u8> {
        self.current.as_ref().map(|(id, _)| *id)
    }

    /// A secret as it is to be stored.
    #[must_use]
    pub fn store(&self, secret: &Secret) -> StoredSecret {
        match &self.current {
            Some((id, key)) => {
                let text = Secret::new(column::seal(key, *id, secret.expose()));
                StoredSecret { text, is_encrypted: true }
            }
            None => StoredSecret { text: secret.clone(), is_encrypted: false },
        }
    }

    /// A secret that was stored.
    ///
    /// # Errors
    /// Where its key is missing or another one, or what is stored was changed.
    pub fn open(&self, stored: &StoredSecret) -> Result<Secret, SealError> {
        if !stored.is_encrypted {
            return Ok(stored.text.clone());
        }
        let column = Column::parse(stored.text.expose())?;
        Ok(Secret::new(column.open(self.key(column.key_id)?)?.to_string()))
    }

    /// Whether it is stored as a secret would be that is stored now.
    #[must_use]
    pub fn is_current(&self, stored: &StoredSecret) -> bool {
        let under = stored.is_encrypted.then(|| Column::parse(stored.text.expose()).ok().map(|column| column.key_id));
        under == self.current_id().map(Some)
    }

    fn key(&self, key_id: u8) -> Result<&EncryptionKey, SealError> {
        if self.current.is_none() {
            return Err(SealError::NoKey { key_id });
        }
        let found = self.current.iter().chain(&self.old).find(|(id, _)| *id == key_id);
        found.map(|(_, key)| key).ok_or(SealError::UnknownKey { key_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(letter: &str) -> EncryptionKey {
        EncryptionKey::parse(&letter.repeat(32)).expect("a key")
    }

    fn secret() -> Secret {
        Secret::new("webhook_secret123".to_owned())
    }

    #[test]
    fn without_a_key_secrets_are_stored_as_they_are() {
        let ring = KeyRing::default();
        let stored = ring.store(&secret());
        assert_eq!(stored, StoredSecret { text: secret(), is_encrypted: false });
        assert!(ring.is_current(&stored));
        assert_eq!(ring.open(&stored), Ok(secret()));
    }

    #[test]
    fn what_was_stored_before_there_was_a_key_is_read_on_and_is_to_be_encrypted() {
        let ring = KeyRing::new((0, key("a")), Vec::new());
        let plain = KeyRing::default().store(&secret());
        assert_eq!(ring.open(&plain), Ok(secret()));
        assert!(!ring.is_current(&plain));
        let sealed = ring.store(&secret());
        assert!(sealed.is_encrypted && ring.is_current(&sealed));
        assert_eq!(ring.open(&sealed), Ok(secret()));
        assert_eq!(KeyRing::default().open(&sealed), Err(SealError::NoKey { key_id: 0 }));
        assert!(!KeyRing::default().is_current(&sealed));
    }

    #[test]
    fn a_secret_that_looks_like_an_encrypted_one_is_not_taken_for_one() {
        let look_alike = Secret::new(KeyRing::new((0, key("a")), Vec::new()).store(&secret()).text.expose().to_owned());
        let plain = KeyRing::default().store(&look_alike);
        assert_eq!(KeyRing::new((0, key("a")), Vec::new()).open(&plain), Ok(look_alike));
    }

    #[test]
    fn old_keys_are_read_by_their_numbers_and_no_longer_written() {
        let before = KeyRing::new((0, key("a")), Vec::new()).store(&secret());
        let ring = KeyRing::new((1, key("b")), vec![(0, key("a"))]);
        assert_eq!(ring.open(&before), Ok(secret()));
        assert!(!ring.is_current(&before) && ring.is_current(&ring.store(&secret())));
        let forgotten = KeyRing::new((1, key("b")), Vec::new());
        assert_eq!(forgotten.open(&before), Err(SealError::UnknownKey { key_id: 0 }));
        let mistaken = KeyRing::new((0, key("b")), Vec::new());
        assert_eq!(mistaken.open(&before), Err(SealError::WrongKey { key_id: 0 }));
    }

    #[test]
    fn every_error_names_its_remedy() {
        let errors = [
            SealError::NoKey { key_id: 3 },
            SealError::UnknownKey { key_id: 3 },
            SealError::WrongKey { key_id: 3 },
            SealError::Malformed("x"),
        ];
        assert!(errors.iter().all(|error| error.hint().contains("notification rotate ID --grace 0s")));
    }
}
