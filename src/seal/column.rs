//! The form of an encrypted column, byte by byte, in URL-safe padded base64:
//!
//! `flags(1) 00 key_id(1) 00 [HMAC-SHA256 of the plaintext(32)] key_data(32) iv(12) tag(16) ciphertext`
//!
//! The HMAC, under the master key, is there where the flags say that the column can be searched. The cipher is AES-256-GCM
//! without further authenticated data, under HMAC-SHA256(master key, key_data); what is encrypted is
//! `pad_len(1) pad plaintext`. (It is the form of Sequel's `column_encryption`, by which WebhookDB keeps its secrets.)

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use data_encoding::BASE64URL;
use zeroize::Zeroizing;

use super::{EncryptionKey, SealError};

const NOT_SEARCHABLE: u8 = 0;
/// By the HMAC of the plaintext.
const SEARCHABLE: u8 = 1;
/// By the HMAC of the plaintext in lower case.
const SEARCHABLE_LOWERCASE: u8 = 2;

const HMAC_BYTES: usize = 32;
const KEY_DATA_BYTES: usize = 32;
const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Plaintexts are padded to a multiple of it, by at least one byte, as WebhookDB does it: lengths are told less exactly.
const PADDED_TO: usize = 8;

/// A stored value, taken apart.
pub(super) struct Column {
    pub(super) key_id: u8,
    flags: u8,
    plaintext_hmac: Option<[u8; HMAC_BYTES]>,
    key_data: [u8; KEY_DATA_BYTES],
    iv: [u8; IV_BYTES],
    tag: [u8; TAG_BYTES],
    ciphertext: Vec<u8>,
}

/// Encrypts; the column can't be searched.
pub(super) fn seal(key: &EncryptionKey, key_id: u8, plaintext: &str) -> String {
    let (key_data, iv) = (rand::random::<[u8; KEY_DATA_BYTES]>(), rand::random::<[u8; IV_BYTES]>());
    let padding = PADDED_TO - plaintext.len() % PADDED_TO;
    let mut padded = Zeroizing::new(Vec::with_capacity(1 + padding + plaintext.len()));
    padded.push(u8::try_from(padding).unwrap_or_default());
    padded.extend_from_slice(&rand::random::<[u8; PADDED_TO]>()[..padding]);
    padded.extend_from_slice(plaintext.as_bytes());
    // AES-GCM refuses nothing but 64 GiB and more.
    let sealed = cipher(key, &key_data).encrypt(&Nonce::from(iv), padded.as_slice()).unwrap_or_default();
    let (ciphertext, tag) = sealed.split_at(sealed.len().saturating_sub(TAG_BYTES));
    BASE64URL.encode(&[&[NOT_SEARCHABLE, 0, key_id, 0][..], &key_data, &iv, tag, ciphertext].concat())
}

impl Column {
    /// Takes a stored value apart.
    pub(super) fn parse(text: &str) -> Result<Self, SealError> {
        let bytes = BASE64URL.decode(text.as_bytes()).map_err(|_| SealError::Malformed("it is no URL-safe base64"))?;
        let mut rest = bytes.as_slice();
        let [flags, zero, key_id, other_zero] = take(&mut rest)?;
        if zero != 0 || other_zero != 0 {
            return Err(SealError::Malformed("its head is another one"));
        }
        let plaintext_hmac = match flags {
            NOT_SEARCHABLE => None,
            SEARCHABLE | SEARCHABLE_LOWERCASE => Some(take(&mut rest)?),
            _ => return Err(SealError::Malformed("its flags are not known")),
        };
        let (key_data, iv, tag) = (take(&mut rest)?, take(&mut rest)?, take(&mut rest)?);
        Ok(Self { key_id, flags, plaintext_hmac, key_data, iv, tag, ciphertext: rest.to_vec() })
    }

    /// The plaintext.
    pub(super) fn open(&self, key: &EncryptionKey) -> Result<Zeroizing<String>, SealError> {
        let wrong = || SealError::WrongKey { key_id: self.key_id };
        let sealed = [self.ciphertext.as_slice(), &self.tag].concat();
        let padded = cipher(key, &self.key_data).decrypt(&Nonce::from(self.iv), sealed.as_slice());
        let padded = Zeroizing::new(padded.map_err(|_| wrong())?);
        let plaintext = unpad(&padded).ok_or(SealError::Malformed("its padding is longer than it is"))?;
        let text = std::str::from_utf8(plaintext).map_err(|_| SealError::Malformed("it holds no UTF-8 text"))?;
        let text = Zeroizing::new(text.to_owned());
        // What can be searched by a wrong HMAC was put together of two values.
        if self.plaintext_hmac.is_some_and(|hmac| !key.is_hmac_of(&hmac, self.searched(&text).as_bytes())) {
            return Err(wrong());
        }
        Ok(text)
    }

    fn searched(&self, text: &str) -> Zeroizing<String> {
        Zeroizing::new(if self.flags == SEARCHABLE_LOWERCASE { text.to_lowercase() } else { text.to_owned() })
    }
}

fn cipher(key: &EncryptionKey, key_data: &[u8]) -> Aes256Gcm {
    Aes256Gcm::new((&*key.hmac(key_data)).into())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], SealError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(SealError::Malformed("it is too short"))?;
    *rest = tail;
    Ok(*head)
}

fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let (padding, rest) = padded.split_first()?;
    rest.get(usize::from(*padding)..)
}

#[cfg(test)]
mod tests;
