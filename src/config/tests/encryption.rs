//! Tests of the keys that stored secrets are encrypted by.

use super::{Settings, assert_problems, load, parse};
use crate::model::Secret;
use crate::seal::KeyRing;

const A: &str = "Tc3X6zkxXgZfHE81MFz2EILStV++BuQY";
const B: &str = "another:key of 32 bytes, any tex";
const HEAD: &str = "[catalog]\nurl = 'postgres://u@h/d'\n";

fn keys(lines: &str) -> KeyRing {
    keys_of(&load(&format!("{HEAD}{lines}")).unwrap_or_else(|error| panic!("{lines}\n{error}")))
}

fn keys_of(settings: &Settings) -> KeyRing {
    settings.catalog().keys().clone()
}

/// Whether the second reads what the first stores.
fn reads(writer: &KeyRing, reader: &KeyRing) -> bool {
    let secret = Secret::new("webhook_secret123".to_owned());
    let stored = writer.store(&secret);
    stored.is_encrypted && reader.open(&stored) == Ok(secret)
}

#[test]
fn keys_have_numbers_by_which_they_are_found() {
    assert_eq!(keys("").current_id(), None);
    let first = keys(&format!("encryption_key = '{A}'\n"));
    assert_eq!(first.current_id(), Some(0));
    let rotated = keys(&format!("encryption_key = '{B}'\nencryption_key_id = 7\nold_encryption_keys = ['0:{A}']\n"));
    assert_eq!(rotated.current_id(), Some(7));
    assert!(reads(&first, &rotated) && reads(&rotated, &rotated) && !reads(&rotated, &first));
}

#[test]
fn keys_are_read_from_files_and_from_the_environment() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("key"), format!("{B}\r\n")).expect("a file");
    std::fs::write(directory.path().join("old"), format!("0:{A}\n\n255:{}\n", "c".repeat(32))).expect("a file");
    let text = format!(
        "{HEAD}encryption_key_file = 'key'\nencryption_key_id = 1\nold_encryption_keys_file = 'old'\n\
         old_encryption_keys = ['2:${{KEY}}']\n"
    );
    let lookup = |name: &str| if name == "KEY" { Ok("d".repeat(32)) } else { Err(std::env::VarError::NotPresent) };
    let settings = parse(&directory.path().join("any.toml"), &text, &lookup);
    let ring = keys_of(&settings.expect("settings"));
    for (id, key) in [(0, A.to_owned()), (1, B.to_owned()), (2, "d".repeat(32)), (255, "c".repeat(32))] {
        let writer = keys(&format!("encryption_key = '{key}'\nencryption_key_id = {id}\n"));
        assert!(reads(&writer, &ring), "{id}");
    }
}

#[test]
fn what_is_wrong_with_keys_is_told_without_showing_them() {
    let key = "[catalog] encryption_key";
    let problem = |lines: &str, expected: &[(usize, &str, &str)]| {
        assert_problems(&format!("{HEAD}{lines}"), expected);
        let Err(error) = load(&format!("{HEAD}{lines}")) else { panic!("{lines}") };
        assert!(!error.to_string().contains(&A[1..]), "{error}");
    };
    problem(&format!("encryption_key = '{A}x'\n"), &[(3, key, "exactly 32 bytes, found 33 bytes")]);
    problem("encryption_key = ''\n", &[(3, key, "found 0 bytes")]);
    let both = format!("encryption_key = '{A}'\nencryption_key_file = '/nowhere'\n");
    problem(&both, &[(4, "[catalog] encryption_key_file", "found both")]);
    problem("encryption_key_file = '/nowhere'\n", &[(3, "[catalog] encryption_key_file", "can be read")]);
    let old = "[catalog] old_encryption_keys";
    problem(&format!("old_encryption_keys = ['0:{A}']\n"), &[(3, old, "expected encryption_key")]);
    problem("encryption_key_id = 1\n", &[(3, "[catalog] encryption_key_id", "expected encryption_key")]);
    let id = format!("encryption_key = '{A}'\nencryption_key_id = 256\n");
    problem(&id, &[(4, "[catalog] encryption_key_id", "from 0 to 255, found 256")]);
    let with = |old: &str| format!("encryption_key = '{B}'\nold_encryption_keys = [{old}]\n");
    problem(
        &with(&format!("'{A}', '1:short', '-1:{A}'")),
        &[(4, old, "a colon"), (4, old, "found 5 bytes"), (4, old, "a colon")],
    );
    problem(
        &with(&format!("'0:{A}', '1:{A}', '1:{A}'")),
        &[(4, old, "the number 0 is already"), (4, old, "the number 1 is already")],
    );
}
