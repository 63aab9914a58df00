//! Numbers as Postgres prints them, and whether JSON can say them.

use super::value::{Unreadable, Written};

/// Appends a number with all its digits. NaN and the infinities, which JSON does not know, become strings.
pub(super) fn write_number(text: &[u8], out: &mut Vec<u8>) -> Result<Written, Unreadable> {
    if is_json_number(text) {
        out.extend_from_slice(text);
        return Ok(Written::AsType);
    }
    match text {
        b"NaN" | b"Infinity" | b"-Infinity" => {
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
            Ok(Written::AsType)
        }
        _ => Err(Unreadable),
    }
}

/// Appends the numbers of an int2vector, or the OIDs of an oidvector, which `to_jsonb` has as strings.
pub(super) fn write_vector(text: &[u8], quoted: bool, out: &mut Vec<u8>) -> Result<Written, Unreadable> {
    let quote: &[u8] = if quoted { b"\"" } else { b"" };
    let mut separator: &[u8] = b"[";
    for number in text.split(|&byte| byte == b' ').filter(|number| !number.is_empty()) {
        if !is_json_number(number) {
            return Err(Unreadable);
        }
        for part in [separator, quote, number, quote] {
            out.extend_from_slice(part);
        }
        separator = b",";
    }
    out.extend_from_slice(if separator == b"[" { b"[]" } else { b"]" });
    Ok(Written::AsType)
}

fn is_json_number(text: &[u8]) -> bool {
    split_number(text).is_some_and(|(_, rest)| rest.is_empty())
}

/// A number's parts, as JSON spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number<'a> {
    pub(super) whole: &'a [u8],
    pub(super) fraction: &'a [u8],
    /// Without its sign.
    pub(super) exponent: &'a [u8],
    pub(super) exponent_is_negative: bool,
}

/// Takes a JSON number off the front of `text`.
pub(super) fn split_number(text: &[u8]) -> Option<(Number<'_>, &[u8])> {
    let (whole, rest) = split_digits(text.strip_prefix(b"-").unwrap_or(text));
    if whole.is_empty() || (whole.len() > 1 && whole.first() == Some(&b'0')) {
        return None;
    }
    let (fraction, rest) = match rest.strip_prefix(b".") {
        Some(rest) => some_digits(rest)?,
        None => (rest.get(..0)?, rest),
    };
    let (exponent_is_negative, exponent, rest) = match rest {
        [b'e' | b'E', b'-', rest @ ..] => with_sign(true, some_digits(rest)?),
        [b'e' | b'E', b'+', rest @ ..] | [b'e' | b'E', rest @ ..] => with_sign(false, some_digits(rest)?),
        _ => (false, rest.get(..0)?, rest),
    };
    Some((Number { whole, fraction, exponent, exponent_is_negative }, rest))
}

const fn with_sign<'a>(negative: bool, (digits, rest): (&'a [u8], &'a [u8])) -> (bool, &'a [u8], &'a [u8]) {
    (negative, digits, rest)
}

fn some_digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    Some(split_digits(text)).filter(|(digits, _)| !digits.is_empty())
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<String> {
        let mut out = Vec::new();
        let _ = write_number(text.as_bytes(), &mut out).ok()?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn numbers_keep_all_their_digits() {
        let long = format!("-{}.{}", "9".repeat(200), "0123456789".repeat(20));
        for text in ["0", "-0", "7", "-9223372036854775808", "0.10", "-1.50", "1e+308", "1e-07", "3.4028235e+38", &long]
        {
            assert_eq!(number(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_json_has_no_number_for_is_a_string() {
        for text in ["NaN", "Infinity", "-Infinity"] {
            assert_eq!(number(text), Some(format!("\"{text}\"")));
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x1", "1 ", " 1", "1,2", "nan", "1e5x", "\u{661}"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn vectors_are_arrays() {
        let vector = |text: &str, quoted| {
            let mut out = Vec::new();
            write_vector(text.as_bytes(), quoted, &mut out).map(|_| String::from_utf8(out).unwrap())
        };
        assert_eq!(vector("1 -2 3", false).unwrap(), "[1,-2,3]");
        assert_eq!(vector("1 2", true).unwrap(), r#"["1","2"]"#);
        assert_eq!(vector("", false).unwrap(), "[]");
        assert!(vector("1 x", false).is_err());
    }
}
