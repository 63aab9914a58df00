//! What is written has to be JSON, by another parser than ours.

use serde::de::IgnoredAny;
use webhookdb_notifications::decode::Casts;

/// Whether it is one JSON value. It may be nested as deep as it likes, and its numbers may be of any size.
#[must_use]
pub fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// What `write` appends, by the daemon's procedure: once to learn which casts it takes, and once more with their answers.
///
/// A cast's answer is the value itself where that is JSON; anything else is a value that the server could not cast.
pub fn written<T>(mut write: impl FnMut(&mut Casts, &mut Vec<u8>) -> T) -> (T, Vec<u8>) {
    let mut casts = Casts::default();
    let (first, out) = append(&mut write, &mut casts);
    let wanted = casts.take_wanted();
    if wanted.is_empty() {
        return (first, out);
    }
    for cast in wanted {
        let json = is_json(cast.text.as_bytes()).then(|| cast.text.to_string());
        casts.answer(cast, json);
    }
    let second = append(&mut write, &mut casts);
    assert!(casts.take_wanted().is_empty(), "a cast was asked for again");
    second
}

/// Only what is appended, which leaves what stood there before as it was.
fn append<T>(write: &mut impl FnMut(&mut Casts, &mut Vec<u8>) -> T, casts: &mut Casts) -> (T, Vec<u8>) {
    const BEFORE: &[u8] = br#"{"row":"#;
    let mut out = BEFORE.to_vec();
    let result = write(casts, &mut out);
    let appended = out.strip_prefix(BEFORE).expect("what stood there before is left alone").to_vec();
    (result, appended)
}
