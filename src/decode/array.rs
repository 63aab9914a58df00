//! Arrays: `[0:1]={1,NULL,"a\"b"}` becomes `[1,null,"a\"b"]`, nested for each dimension.

use super::Casts;
use super::kind::Kind;
use super::value::{Unreadable, Written, write_value};

/// Postgres' own limit of dimensions.
const DIMENSIONS_MAX: u8 = 6;

/// Appends an array as its output function wrote it.
pub(super) fn write_array(
    text: &[u8],
    element: &Kind,
    delimiter: u8,
    casts: &mut Casts,
    out: &mut Vec<u8>,
) -> Result<Written, Unreadable> {
    let rest = without_bounds(text)?;
    let mut array = Array { rest, element, delimiter, unescaped: Vec::new(), written: Written::AsType, casts, out };
    array.list(DIMENSIONS_MAX)?;
    if array.rest.is_empty() { Ok(array.written) } else { Err(Unreadable) }
}

/// Other lower bounds than 1 stand before the values; `to_jsonb` drops them.
fn without_bounds(text: &[u8]) -> Result<&[u8], Unreadable> {
    if text.first() != Some(&b'[') {
        return Ok(text);
    }
    let end = text.iter().position(|&byte| byte == b'=').ok_or(Unreadable)?;
    let (bounds, values) = text.split_at_checked(end).ok_or(Unreadable)?;
    let is_bounds = bounds.iter().all(|byte| byte.is_ascii_digit() || b"[]:-+".contains(byte));
    if is_bounds { values.get(1..).ok_or(Unreadable) } else { Err(Unreadable) }
}

struct Array<'a, 'o> {
    rest: &'a [u8],
    element: &'a Kind,
    delimiter: u8,
    /// The text of the element at hand, where it is not a slice of the array's; its memory is used again.
    unescaped: Vec<u8>,
    written: Written,
    casts: &'o mut Casts,
    out: &'o mut Vec<u8>,
}

impl Array<'_, '_> {
    /// `{`, elements or lists, `}`.
    fn list(&mut self, dimensions_left: u8) -> Result<(), Unreadable> {
        let dimensions_left = dimensions_left.checked_sub(1).ok_or(Unreadable)?;
        self.expect(b'{')?;
        self.out.push(b'[');
        if self.rest.first() != Some(&b'}') {
            self.item(dimensions_left)?;
            while self.rest.first() == Some(&self.delimiter) {
                self.expect(self.delimiter)?;
                self.out.push(b',');
                self.item(dimensions_left)?;
            }
        }
        self.expect(b'}')?;
        self.out.push(b']');
        Ok(())
    }

    fn item(&mut self, dimensions_left: u8) -> Result<(), Unreadable> {
        match self.rest.first() {
            Some(b'{') => self.list(dimensions_left),
            Some(b'"') => self.quoted(),
            _ => self.bare(),
        }
    }

    /// An element without anything special in it, or NULL.
    fn bare(&mut self) -> Result<(), Unreadable> {
        let ends = |&byte: &u8| byte == self.delimiter || matches!(byte, b'}' | b'{' | b'"' | b'\\');
        let end = self.rest.iter().position(ends).ok_or(Unreadable)?;
        let (text, rest) = self.rest.split_at_checked(end).ok_or(Unreadable)?;
        self.rest = rest;
        match text {
            b"" => return Err(Unreadable),
            b"NULL" => self.out.extend_from_slice(b"null"),
            _ => self.written = self.written.and(write_value(self.element, text, self.casts, self.out)),
        }
        Ok(())
    }

    /// An element in quotes, with backslashes before quotes and backslashes.
    fn quoted(&mut self) -> Result<(), Unreadable> {
        self.expect(b'"')?;
        let (run, rest) = self.split_run()?;
        if let Some(rest) = rest.strip_prefix(b"\"") {
            self.rest = rest;
            self.written = self.written.and(write_value(self.element, run, self.casts, self.out));
            return Ok(());
        }
        self.unescape()?;
        self.written = self.written.and(write_value(self.element, &self.unescaped, self.casts, self.out));
        Ok(())
    }

    /// Takes the rest of a quoted element into `unescaped`.
    fn unescape(&mut self) -> Result<(), Unreadable> {
        self.unescaped.clear();
        loop {
            let (run, rest) = self.split_run()?;
            self.unescaped.extend_from_slice(run);
            match rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Ok(());
                }
                [b'\\', byte, rest @ ..] => {
                    self.unescaped.push(*byte);
                    self.rest = rest;
                }
                _ => return Err(Unreadable),
            }
        }
    }
}

impl<'a> Array<'a, '_> {
    /// What stands before the next quote or backslash, and the rest from there on.
    fn split_run(&self) -> Result<(&'a [u8], &'a [u8]), Unreadable> {
        let end = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).ok_or(Unreadable)?;
        self.rest.split_at_checked(end).ok_or(Unreadable)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Unreadable> {
        match self.rest.split_first() {
            Some((&first, rest)) if first == byte => {
                self.rest = rest;
                Ok(())
            }
            _ => Err(Unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn written(text: &str, delimiter: u8) -> Option<Value> {
        let mut out = Vec::new();
        let _ = write_array(text.as_bytes(), &Kind::Text, delimiter, &mut Casts::default(), &mut out).ok()?;
        Some(serde_json::from_slice(&out).unwrap())
    }

    #[test]
    fn arrays_of_every_form_are_read() {
        let cases = [
            ("{}", json!([])),
            ("{a}", json!(["a"])),
            ("{a,b}", json!(["a", "b"])),
            ("[0:1]={a,b}", json!(["a", "b"])),
            ("[-2:-1][1:1]={{a},{b}}", json!([["a"], ["b"]])),
            ("{{{a},{b}},{{NULL},{d}}}", json!([[["a"], ["b"]], [[null], ["d"]]])),
            (r#"{NULL,"NULL","null"}"#, json!([null, "NULL", "null"])),
            (r#"{"","{}","a,b","\"","\\","\\\""}"#, json!(["", "{}", "a,b", "\"", "\\", "\\\""])),
            (r#"{(a;b)}"#, json!(["(a;b)"])),
            ("{日本,語}", json!(["日本", "語"])),
        ];
        for (text, json) in cases {
            assert_eq!(written(text, b','), Some(json), "{text}");
        }
    }

    #[test]
    fn what_is_no_array_is_refused() {
        let texts = [
            "",
            "a",
            "{",
            "}",
            "{a",
            "{a}}",
            "{a,}",
            "{,a}",
            "{a}b",
            "{\"a}",
            "{\"a\"b}",
            "{a\"b\"}",
            "{a{b}}",
            "[0:1]",
            "[0:1]={a",
            "[x]={a}",
            "{\"\\",
            "{{{{{{{a}}}}}}}",
        ];
        for text in texts {
            assert_eq!(written(text, b','), None, "{text}");
        }
    }

    /// Arrays as `array_out` accepts them: every list of one level has the same depth below.
    fn nested() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<String>().prop_map(|text| Value::String(text.replace('\0', ""))),
            r#"[{}",;\\ \n=NULul]{0,6}"#.prop_map(Value::String),
        ];
        let lists = |depth: u8| {
            let mut value = leaf.clone().boxed();
            for _ in 0..depth {
                value = prop::collection::vec(value, 1..4).prop_map(Value::Array).boxed();
            }
            value
        };
        prop_oneof![Just(json!([])), lists(1), lists(2), lists(3)]
    }

    /// Writes an array as Postgres' `array_out` does.
    fn render(value: &Value, delimiter: char, out: &mut String) {
        match value {
            Value::Array(items) => {
                out.push('{');
                for (index, item) in items.iter().enumerate() {
                    out.extend((index > 0).then_some(delimiter));
                    render(item, delimiter, out);
                }
                out.push('}');
            }
            Value::String(text) => render_text(text, delimiter, out),
            _ => out.push_str("NULL"),
        }
    }

    fn render_text(text: &str, delimiter: char, out: &mut String) {
        let special = |c: char| c == delimiter || "{}\"\\ \t\n\r\u{b}\u{c}".contains(c);
        if !text.is_empty() && !text.eq_ignore_ascii_case("null") && !text.contains(special) {
            return out.push_str(text);
        }
        out.push('"');
        for c in text.chars() {
            out.extend(matches!(c, '"' | '\\').then_some('\\'));
            out.push(c);
        }
        out.push('"');
    }

    proptest! {
        #[test]
        fn what_postgres_writes_is_read_back(
            value in nested(),
            delimiter in prop::sample::select(vec![',', ';']),
            bounds in prop::sample::select(vec!["", "[0:1]=", "[-3:5][2:2]="]),
        ) {
            let mut text = bounds.to_owned();
            render(&value, delimiter, &mut text);
            prop_assert_eq!(written(&text, u8::try_from(delimiter).unwrap()), Some(value));
        }

        #[test]
        fn any_text_is_read_or_refused(text in r#"[\[\]{}",\\0:=a\PC]*"#) {
            let _ = written(&text, b',');
        }
    }
}
