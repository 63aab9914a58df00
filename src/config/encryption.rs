//! The keys that stored secrets are encrypted by: in the config file, or in files that it names. Nothing of them is ever
//! shown.

use std::path::Path;

use zeroize::Zeroizing;

use super::files;
use super::problems::{Problems, Reported};
use super::tree::{Entry, Field, Place, Text, TextList};
use crate::seal::{EncryptionKey, KeyRing};

/// Of a key whose number is not given: WebhookDB's first one has it, too.
const FIRST_ID: u8 = 0;

/// How an older key is written, so that it is told from the others.
const OLD_KEY: &str = "the number of an older key (0 to 255), a colon, and the key of 32 bytes";

/// What `[catalog]` says of encryption.
pub(super) struct EncryptionFile {
    pub(super) key: Field<Text>,
    pub(super) key_file: Field<Text>,
    pub(super) key_id: Field<i64>,
    pub(super) old_keys: TextList,
    pub(super) old_keys_file: Field<Text>,
}

type Numbered = (u8, EncryptionKey);

/// All keys; none where the file names none.
pub(super) fn keys(file: EncryptionFile, directory: &Path, problems: &mut Problems) -> Result<KeyRing, Reported> {
    let key = current_key(file.key, file.key_file, directory, problems);
    let id = key_id(file.key_id, problems);
    let old = old_keys(file.old_keys, file.old_keys_file, directory, problems);
    let (key, id, old) = (key?, id?, old?);
    let Some(key) = key else {
        let unused = id.map(|id| id.place).or_else(|| old.into_iter().next().map(|old| old.place));
        let missing = "expected encryption_key, or encryption_key_file, beside it";
        return unused.map_or_else(|| Ok(KeyRing::default()), |place| Err(problems.add(&place, missing)));
    };
    let id = id.map_or(FIRST_ID, |id| id.value);
    refuse_same_numbers(id, &old, problems)?;
    Ok(KeyRing::new((id, key), old.into_iter().map(|old| old.value).collect()))
}

fn current_key(
    key: Field<Text>,
    file: Field<Text>,
    directory: &Path,
    problems: &mut Problems,
) -> Result<Option<EncryptionKey>, Reported> {
    match (key?, file?) {
        (None, None) => Ok(None),
        (Some(key), None) => parse(key.value.as_str(), &key.place, problems).map(Some),
        (None, Some(name)) => {
            let text = read(&name, directory, problems)?;
            parse(text.trim_end_matches(['\r', '\n']), &name.place, problems).map(Some)
        }
        (Some(_), Some(Entry { place, .. })) => {
            Err(problems.add(&place, "expected a key or a file that holds it, found both"))
        }
    }
}

fn key_id(field: Field<i64>, problems: &mut Problems) -> Result<Option<Entry<u8>>, Reported> {
    let Some(Entry { value, place }) = field? else { return Ok(None) };
    match u8::try_from(value) {
        Ok(value) => Ok(Some(Entry { value, place })),
        Err(_) => Err(problems.add(&place, format!("expected a number from 0 to 255, found {value}"))),
    }
}

/// Those of the list, and those of the file, a line each.
fn old_keys(
    list: TextList,
    file: Field<Text>,
    directory: &Path,
    problems: &mut Problems,
) -> Result<Vec<Entry<Numbered>>, Reported> {
    let mut keys = Vec::new();
    let mut outcome = Ok(());
    let listed = list?.into_iter().map(|element| {
        let element = element?;
        parse_numbered(element.value.as_str(), &element.place, problems)
    });
    let listed: Vec<_> = listed.collect();
    let filed = match file? {
        Some(name) => {
            let text = read(&name, directory, problems)?;
            let lines = text.lines().filter(|line| !line.is_empty());
            lines.map(|line| parse_numbered(line, &name.place, problems)).collect()
        }
        None => Vec::new(),
    };
    for key in listed.into_iter().chain(filed) {
        match key {
            Ok(key) => keys.push(key),
            Err(reported) => outcome = Err(reported),
        }
    }
    outcome.map(|()| keys)
}

fn parse_numbered(text: &str, place: &Place, problems: &mut Problems) -> Result<Entry<Numbered>, Reported> {
    let numbered = text.split_once(':').and_then(|(id, key)| Some((id.parse().ok()?, key)));
    let Some((id, key)) = numbered else { return Err(problems.add(place, format!("expected {OLD_KEY}"))) };
    Ok(Entry { value: (id, parse(key, place, problems)?), place: place.clone() })
}

fn parse(text: &str, place: &Place, problems: &mut Problems) -> Result<EncryptionKey, Reported> {
    EncryptionKey::parse(text).map_err(|error| problems.add(place, error.to_string()))
}

fn read(name: &Entry<Text>, directory: &Path, problems: &mut Problems) -> Result<Zeroizing<String>, Reported> {
    let text = files::read_text(&directory.join(name.value.as_str()));
    text.map(Zeroizing::new).map_err(|error| problems.add(&name.place, files::cannot_read(&error)))
}

/// The number says by which key a secret is to be read.
fn refuse_same_numbers(current: u8, old: &[Entry<Numbered>], problems: &mut Problems) -> Result<(), Reported> {
    let mut outcome = Ok(());
    let mut seen = vec![current];
    for Entry { value: (id, _), place } in old {
        if seen.contains(id) {
            let message =
                format!("the number {id} is already that of another key; a new key takes a new encryption_key_id");
            outcome = Err(problems.add(place, message));
        }
        seen.push(*id);
    }
    outcome
}
