//! What WebhookDB wrote is read, what is written is read back, and what was touched is refused.

use proptest::prelude::*;

use super::*;

const KEY: &str = "Tc3X6zkxXgZfHE81MFz2EILStV++BuQY";

/// Made by WebhookDB's own column encryption under [`KEY`]: not searchable, and searchable.
const VECTORS: [(&str, &str); 2] = [
    (
        "AAAAAGuMYMcmhZAXtTDb75P4HNM9NPob1H2uCGnTEKzxoPGGsuLkvjMnQDn2DGedLslu64qZJuQHDy7u-PRd0gEiD2eD3zPrjlvhrI1g9YGQ",
        "wh_secret",
    ),
    (
        "AQAAAPYyzodF7DnGQxDVQTXKh8xgx1j53jxRpcvKshEck1CxKOTcIMERf0Wu315IqbSliMhJU0UvSEyhfxXYXvyBpVOt6mpFtwD2T2U-RLbD7XQU\
         bW4NUNUd3xnndh-z5CcEhJYzW93BlBzTn4SSeFY=",
        "sk/svi_abc/xyz",
    ),
];

fn key(text: &str) -> EncryptionKey {
    EncryptionKey::parse(text).expect("a key")
}

fn open(text: &str) -> Result<String, SealError> {
    Column::parse(text)?.open(&key(KEY)).map(|plaintext| plaintext.to_string())
}

/// The value with one bit flipped.
fn touched(text: &str, bit: usize) -> String {
    let mut bytes = BASE64URL.decode(text.as_bytes()).expect("base64");
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    BASE64URL.encode(&bytes)
}

#[test]
fn what_webhookdb_wrote_is_read() {
    for (text, plaintext) in VECTORS {
        assert_eq!(open(text).as_deref(), Ok(plaintext));
    }
}

#[test]
fn no_bit_of_what_webhookdb_wrote_can_be_changed() {
    for (text, _) in VECTORS {
        let bits = BASE64URL.decode(text.as_bytes()).expect("base64").len() * 8;
        // The key's number is not authenticated: under the number of another key, it is that key that does not fit.
        for bit in (0..bits).filter(|bit| bit / 8 != 2) {
            assert!(open(&touched(text, bit)).is_err(), "bit {bit} of {text}");
        }
    }
}

#[test]
fn a_value_searchable_in_lower_case_is_read_by_the_hmac_of_that() {
    let (key, plaintext) = (key(KEY), "MiXed");
    let mut bytes = BASE64URL.decode(seal(&key, 0, plaintext).as_bytes()).expect("base64");
    bytes[0] = SEARCHABLE_LOWERCASE;
    bytes.splice(4..4, key.hmac(b"mixed").iter().copied());
    assert_eq!(open(&BASE64URL.encode(&bytes)).as_deref(), Ok(plaintext));
    bytes[0] = SEARCHABLE;
    assert_eq!(open(&BASE64URL.encode(&bytes)), Err(SealError::WrongKey { key_id: 0 }));
}

#[test]
fn what_is_no_encrypted_value_is_told_so() {
    for text in ["", "webhook_secret123", "whsec_d2ViaG9va19zZWNyZXQxMjM=", "AAAA", "AAAAAA==", "AwAAAA==", "AAEAAA=="]
    {
        assert!(matches!(open(text), Err(SealError::Malformed(_))), "{text}");
    }
}

proptest! {
    #[test]
    fn every_text_is_read_back(plaintext in any::<String>(), key_id in any::<u8>()) {
        let sealed = seal(&key(KEY), key_id, &plaintext);
        let column = Column::parse(&sealed).expect("a column");
        prop_assert_eq!(column.key_id, key_id);
        let opened = column.open(&key(KEY)).expect("the plaintext");
        prop_assert_eq!(opened.as_str(), plaintext.as_str());
    }

    #[test]
    fn nothing_is_encrypted_the_same_way_twice_nor_tells_its_exact_length(plaintext in "[a-z]{0,40}") {
        let sealed = seal(&key(KEY), 0, &plaintext);
        prop_assert_ne!(&sealed, &seal(&key(KEY), 0, &plaintext));
        prop_assert!(plaintext.len() < 4 || !sealed.contains(&plaintext));
        let ciphertext = Column::parse(&sealed).expect("a column").ciphertext.len();
        prop_assert_eq!(ciphertext % PADDED_TO, 1);
        prop_assert!((1..=PADDED_TO).contains(&(ciphertext - 1 - plaintext.len())));
    }

    #[test]
    fn under_another_key_nothing_is_read(plaintext in any::<String>(), other in "[ -~]{32}") {
        prop_assume!(other != KEY);
        let opened = Column::parse(&seal(&key(KEY), 7, &plaintext)).expect("a column").open(&key(&other));
        prop_assert_eq!(opened, Err(SealError::WrongKey { key_id: 7 }));
    }

    #[test]
    fn what_was_touched_is_refused(plaintext in any::<String>(), bit in any::<usize>()) {
        let sealed = seal(&key(KEY), 0, &plaintext);
        let touched = touched(&sealed, bit);
        prop_assume!(Column::parse(&touched).is_ok_and(|column| column.key_id == 0));
        prop_assert!(open(&touched).is_err());
    }

    #[test]
    fn no_text_makes_reading_panic(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        let _ = (open(&text), open(&BASE64URL.encode(&bytes)));
    }
}
