//! json and jsonb, which go into the body as they stand.

use super::number::{Number, split_number};
use super::value::{Unreadable, Written};

/// The digits that a numeric can have before and after its point. A json number beyond them cannot be read as jsonb.
const NUMERIC_WHOLE_DIGITS_MAX: i64 = 131_072;
const NUMERIC_FRACTION_DIGITS_MAX: i64 = 16_383;

/// Appends a jsonb value as the server wrote it, without parsing it again.
pub(super) fn embed_jsonb(text: &[u8], out: &mut Vec<u8>) -> Result<Written, Unreadable> {
    if text.is_empty() || std::str::from_utf8(text).is_err() {
        return Err(Unreadable);
    }
    out.extend_from_slice(text);
    Ok(Written::AsType)
}

/// Appends a json value with its own spacing and order. The server has checked its grammar, but takes escapes and
/// numbers that `to_jsonb` and most parsers refuse.
pub(super) fn embed_json(text: &[u8], out: &mut Vec<u8>) -> Result<Written, Unreadable> {
    if !can_be_read(text) {
        return Err(Unreadable);
    }
    embed_jsonb(text, out)
}

/// Whether jsonb takes every escape and number of this json.
fn can_be_read(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let next = match byte {
            b'"' => after_string(tail),
            b'-' | b'0'..=b'9' => after_number(rest),
            _ => Some(tail),
        };
        let Some(next) = next else { return false };
        rest = next;
    }
    true
}

/// What follows a string whose opening quote is already passed; none where it has an escape that stands for no
/// character, or for the one that Postgres cannot hold, or no end.
fn after_string(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let special = rest.iter().position(|&byte| matches!(byte, b'"' | b'\\'))?;
        rest = match rest.get(special..)? {
            [b'\\', b'u', tail @ ..] => after_unicode_escape(tail)?,
            [b'\\', _, tail @ ..] => tail,
            [_, tail @ ..] => return Some(tail),
            [] => return None,
        };
    }
}

/// What follows the digits of `\u`, and those of the second half of a pair.
fn after_unicode_escape(text: &[u8]) -> Option<&[u8]> {
    let (unit, rest) = split_unit(text)?;
    match unit {
        0 | 0xDC00..=0xDFFF => None,
        0xD800..=0xDBFF => {
            let (low, rest) = split_unit(rest.strip_prefix(b"\\u")?)?;
            (0xDC00..=0xDFFF).contains(&low).then_some(rest)
        }
        _ => Some(rest),
    }
}

fn split_unit(text: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<4>()?;
    let digits = std::str::from_utf8(digits).ok()?;
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}

/// What follows a number that a numeric can hold.
fn after_number(text: &[u8]) -> Option<&[u8]> {
    let (number, rest) = split_number(text)?;
    fits_numeric(&number)?.then_some(rest)
}

fn fits_numeric(number: &Number<'_>) -> Option<bool> {
    let size: i64 =
        if number.exponent.is_empty() { 0 } else { std::str::from_utf8(number.exponent).ok()?.parse().ok()? };
    let exponent = if number.exponent_is_negative { -size } else { size };
    let whole = i64::try_from(number.whole.len()).ok()?.checked_add(exponent)?;
    let fraction = i64::try_from(number.fraction.len()).ok()?.checked_sub(exponent)?;
    Some(whole <= NUMERIC_WHOLE_DIGITS_MAX && fraction <= NUMERIC_FRACTION_DIGITS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_embedded_as_it_stands() {
        let texts = [
            "{}",
            " [ 1 , 2.50 ] ",
            "{\"a\":1,\"a\":2}",
            r#""\\u0000""#,
            r#""\ud83e\udd80 \u00e9 \" \\""#,
            r#"{"u0000": "0000", "n": -1.5e+300}"#,
            "null",
            "1e131000",
        ];
        for text in texts {
            let mut out = Vec::new();
            assert_eq!(embed_json(text.as_bytes(), &mut out), Ok(Written::AsType), "{text}");
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn json_that_jsonb_refuses_is_not_embedded() {
        let texts = [
            r#""\u0000""#,
            r#"{"\\\u0000": 1}"#,
            r#""\ud800""#,
            r#""\ud800\u0041""#,
            r#""\udc00""#,
            "1e131073",
            "[1e-16384]",
            "1e99999999999999999999",
            r#"""#,
            r#""\u00"#,
        ];
        for text in texts {
            assert_eq!(embed_json(text.as_bytes(), &mut Vec::new()), Err(Unreadable), "{text}");
        }
    }
}
