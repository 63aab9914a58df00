//! Signing secrets at rest: encrypted in the form that WebhookDB's own columns have, so that either side can read them.
//! No I/O.

mod column;
mod key;
mod ring;

pub use key::{EncryptionKey, EncryptionKeyError};
pub use ring::{KeyRing, StoredSecret};

/// Why a stored secret can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is encrypted, and the config has no key at all.
    #[error("it is encrypted under key {key_id}, and the config has no encryption key")]
    NoKey {
        /// The key's number, as the stored value has it.
        key_id: u8,
    },
    /// It is encrypted under a key that the config does not have.
    #[error("it is encrypted under key {key_id}, which the config does not have")]
    UnknownKey {
        /// The key's number, as the stored value has it.
        key_id: u8,
    },
    /// The key of that number is another one, or the stored value was changed: both look the same.
    #[error("it is not encrypted by the config's key {key_id}, or the stored value was changed")]
    WrongKey {
        /// The key's number, as the stored value has it.
        key_id: u8,
    },
    /// What is stored is not of the form that it is said to have.
    #[error("the stored value is not an encrypted one: {0}")]
    Malformed(&'static str),
}

impl SealError {
    /// What the operator should do.
    #[must_use]
    pub fn hint(&self) -> String {
        const LOST: &str = "where it is lost, `webhookdb notification rotate ID --grace 0s` makes a new secret";
        match self {
            Self::NoKey { key_id } | Self::UnknownKey { key_id } => format!(
                "put the key back that had the number {key_id}, as [catalog] encryption_key or among \
                 old_encryption_keys; {LOST}"
            ),
            Self::WrongKey { key_id } => {
                format!("give the key that had the number {key_id} when the secrets were encrypted; {LOST}")
            }
            Self::Malformed(_) => "restore notifications.subscriptions from a backup, or make a new secret by \
                                   `webhookdb notification rotate ID --grace 0s`"
                .to_owned(),
        }
    }
}
