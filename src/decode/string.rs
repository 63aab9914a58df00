//! JSON strings.

use super::value::Written;

/// Bytes looked at in one step for one that has to be escaped.
const STEP: usize = size_of::<u64>();

const EVERY: u64 = u64::MAX / 0xFF;
const HIGH_BITS: u64 = EVERY * 0x80;

/// Appends `text` as a JSON string.
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some((run, byte, tail)) = split_at_escape(rest) {
        out.extend_from_slice(run);
        write_escape(byte, out);
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends a value's text as a JSON string. What is not UTF-8 in it is replaced.
pub(super) fn write_text(text: &[u8], out: &mut Vec<u8>) -> Written {
    if let Ok(text) = std::str::from_utf8(text) {
        write_json_string(text, out);
        Written::AsType
    } else {
        write_json_string(&String::from_utf8_lossy(text), out);
        Written::AsText
    }
}

/// What stands before the first byte to be escaped, that byte, and what follows.
fn split_at_escape(bytes: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    // Most text has nothing to escape, so whole words are passed over first.
    let clean = bytes.chunks_exact(STEP).take_while(|chunk| !word_needs_escape(chunk)).count() * STEP;
    let tail = bytes.get(clean..)?;
    let position = clean + tail.iter().position(|&byte| needs_escape(byte))?;
    let (run, rest) = bytes.split_at_checked(position)?;
    let (&byte, rest) = rest.split_first()?;
    Some((run, byte, rest))
}

const fn needs_escape(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// Whether any of eight bytes has to be escaped: a subtraction per byte, all eight in one, sets the high bit of those
/// below the limit. A borrow may mark a neighbour too, so which byte it is takes a second look.
fn word_needs_escape(chunk: &[u8]) -> bool {
    let Ok(bytes) = chunk.try_into() else { return true };
    let word = u64::from_ne_bytes(bytes);
    let below = |word: u64, limit: u8| word.wrapping_sub(EVERY * u64::from(limit)) & !word & HIGH_BITS;
    let equal = |byte: u8| below(word ^ (EVERY * u64::from(byte)), 1);
    below(word, b' ') | equal(b'"') | equal(b'\\') != 0
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0C => b'f',
        _ => return out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_json_string(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_what_json_wants_escaped_and_nothing_else() {
        let cases = [
            ("", r#""""#),
            ("plain text of more than eight bytes", r#""plain text of more than eight bytes""#),
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            ("\n\r\t\u{8}\u{c}\u{1}\u{1f} \u{7f}", "\"\\n\\r\\t\\b\\f\\u0001\\u001f \u{7f}\""),
            ("naïve 日本語 🦀\u{2028}", "\"naïve 日本語 🦀\u{2028}\""),
            ("12345678\"", r#""12345678\"""#),
        ];
        for (text, json) in cases {
            assert_eq!(written(text), json);
        }
    }

    #[test]
    fn every_byte_is_found_at_every_place_of_a_word() {
        for place in 0..24 {
            for byte in 0..128u8 {
                let mut bytes = [b'x'; 24];
                bytes[place] = byte;
                let text = std::str::from_utf8(&bytes).unwrap();
                assert_eq!(serde_json::from_str::<String>(&written(text)).unwrap(), text);
            }
        }
    }

    #[test]
    fn invalid_utf8_is_replaced_and_reported() {
        let mut out = Vec::new();
        assert_eq!(write_text(b"a\xFFb", &mut out), Written::AsText);
        assert_eq!(out, "\"a\u{FFFD}b\"".as_bytes());
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_by_another_json_parser(text: String) {
            prop_assert_eq!(serde_json::from_str::<String>(&written(&text)).unwrap(), text);
        }
    }
}
