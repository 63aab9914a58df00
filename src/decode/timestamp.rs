//! Timestamps: Postgres prints `2026-01-01 21:34:05.6+00` under DateStyle ISO, JSON gets `2026-01-01T21:34:05.6+00:00`.

use super::value::{Unreadable, Written};

/// How a year before the common era ends.
const BEFORE_COMMON_ERA: &[u8] = b" BC";

/// The length of an offset that has hours only; `to_jsonb` adds the minutes.
const OFFSET_OF_HOURS: usize = b"+00".len();

/// Appends a timestamp without time zone.
pub(super) fn write_timestamp(text: &[u8], out: &mut Vec<u8>) -> Result<Written, Unreadable> {
    write(text, false, out)
}

/// Appends a timestamp with time zone.
pub(super) fn write_timestamptz(text: &[u8], out: &mut Vec<u8>) -> Result<Written, Unreadable> {
    write(text, true, out)
}

fn write(text: &[u8], zoned: bool, out: &mut Vec<u8>) -> Result<Written, Unreadable> {
    if matches!(text, b"infinity" | b"-infinity") {
        write_parts(&[text], out);
        return Ok(Written::AsType);
    }
    let (text, era) = match text.strip_suffix(BEFORE_COMMON_ERA) {
        Some(text) => (text, BEFORE_COMMON_ERA),
        None => (text, &[][..]),
    };
    let (date, time) = split_before(text, |byte| byte == b' ').ok_or(Unreadable)?;
    let time = time.get(1..).ok_or(Unreadable)?;
    let (clock, offset) = if zoned { split_before(time, is_sign).ok_or(Unreadable)? } else { (time, &[][..]) };
    if !is_made_of(date, b"-") || !is_made_of(clock, b":.") || (zoned && !is_offset(offset)) {
        return Err(Unreadable);
    }
    let minutes: &[u8] = if offset.len() == OFFSET_OF_HOURS { b":00" } else { b"" };
    write_parts(&[date, b"T", clock, offset, minutes, era], out);
    Ok(Written::AsType)
}

fn write_parts(parts: &[&[u8]], out: &mut Vec<u8>) {
    out.push(b'"');
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.push(b'"');
}

fn split_before(text: &[u8], found: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    text.split_at_checked(text.iter().position(|&byte| found(byte))?)
}

const fn is_sign(byte: u8) -> bool {
    matches!(byte, b'+' | b'-')
}

fn is_offset(offset: &[u8]) -> bool {
    offset.len() >= OFFSET_OF_HOURS && offset.get(1..).is_some_and(|digits| is_made_of(digits, b":"))
}

/// Digits and separators, beginning and ending with a digit. That is enough: the text goes into a string as it is.
fn is_made_of(text: &[u8], separators: &[u8]) -> bool {
    let ends = [text.first(), text.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_digit))
        && text.iter().all(|byte| byte.is_ascii_digit() || separators.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, zoned: bool) -> Option<String> {
        let mut out = Vec::new();
        let _ = write(text.as_bytes(), zoned, &mut out).ok()?;
        Some(String::from_utf8(out).unwrap().trim_matches('"').to_owned())
    }

    #[test]
    fn date_and_time_are_joined_and_the_offset_gets_its_minutes() {
        let cases = [
            (false, "2026-01-02 03:04:05.6", "2026-01-02T03:04:05.6"),
            (false, "294276-12-31 23:59:59.999999", "294276-12-31T23:59:59.999999"),
            (false, "4713-01-01 00:00:00 BC", "4713-01-01T00:00:00 BC"),
            (false, "-infinity", "-infinity"),
            (true, "2026-01-01 21:34:05.600001+00", "2026-01-01T21:34:05.600001+00:00"),
            (true, "4713-01-01 00:00:00+00 BC", "4713-01-01T00:00:00+00:00 BC"),
            (true, "2026-01-01 00:00:00-03:30", "2026-01-01T00:00:00-03:30"),
            (true, "1890-01-01 00:00:00+00:53:28", "1890-01-01T00:00:00+00:53:28"),
            (true, "infinity", "infinity"),
        ];
        for (zoned, text, json) in cases {
            assert_eq!(written(text, zoned).as_deref(), Some(json));
        }
    }

    #[test]
    fn other_styles_are_refused() {
        for text in
            ["", "2026-01-01", "01.02.2026 00:00:00 UTC", "Thu Jan 01 00:00:00 2026", "2026-01-01 \"", "2026-01-01 "]
        {
            assert_eq!(written(text, false), None, "{text}");
            assert_eq!(written(text, true), None, "{text}");
        }
        for text in
            ["2026-01-01 00:00:00", "2026-01-01 00:00:00+", "2026-01-01 00:00:00+0\"", "2026-01-01 00:00:00 UTC"]
        {
            assert_eq!(written(text, true), None, "{text}");
        }
    }
}
