//! Composites: `(1,,"say ""hi""")` becomes `{"a":1,"b":null,"c":"say \"hi\""}`.

use super::Casts;
use super::object::{Member, finish};
use super::value::{Unreadable, Written};

/// Appends a composite as its output function wrote it. One of another number of fields was altered since.
pub(super) fn write_composite(
    text: &[u8],
    members: &[Member],
    casts: &mut Casts,
    out: &mut Vec<u8>,
) -> Result<Written, Unreadable> {
    let mut fields = Fields { rest: text.strip_prefix(b"(").ok_or(Unreadable)?, unescaped: Vec::new() };
    let start = out.len();
    let mut written = Written::AsType;
    for (nth, member) in members.iter().enumerate() {
        if nth > 0 {
            fields.expect(b",")?;
        }
        written = written.and(member.write(fields.next()?, casts, out));
    }
    fields.expect(b")")?;
    finish(start, out);
    if fields.rest.is_empty() { Ok(written) } else { Err(Unreadable) }
}

struct Fields<'a> {
    rest: &'a [u8],
    /// The text of a quoted field; its memory is used again.
    unescaped: Vec<u8>,
}

impl Fields<'_> {
    /// The next field's text; none where it is null.
    fn next(&mut self) -> Result<Option<&[u8]>, Unreadable> {
        match self.rest.split_first().ok_or(Unreadable)? {
            (b',' | b')', _) => Ok(None),
            (b'"', rest) => {
                self.rest = rest;
                self.unescape()?;
                Ok(Some(&self.unescaped))
            }
            _ => self.bare().map(Some),
        }
    }

    /// A field without anything special in it.
    fn bare(&mut self) -> Result<&[u8], Unreadable> {
        let end = self.rest.iter().position(|byte| b",()\"\\".contains(byte)).ok_or(Unreadable)?;
        let (text, rest) = self.rest.split_at_checked(end).ok_or(Unreadable)?;
        self.rest = rest;
        Ok(text)
    }

    /// Takes the rest of a quoted field into `unescaped`: quotes and backslashes are doubled there.
    fn unescape(&mut self) -> Result<(), Unreadable> {
        self.unescaped.clear();
        loop {
            let end = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).ok_or(Unreadable)?;
            let (run, rest) = self.rest.split_at_checked(end).ok_or(Unreadable)?;
            self.unescaped.extend_from_slice(run);
            match rest {
                [b'"', b'"', rest @ ..] | [b'\\', b'"', rest @ ..] => {
                    self.unescaped.push(b'"');
                    self.rest = rest;
                }
                [b'\\', b'\\', rest @ ..] => {
                    self.unescaped.push(b'\\');
                    self.rest = rest;
                }
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Ok(());
                }
                _ => return Err(Unreadable),
            }
        }
    }

    fn expect(&mut self, text: &[u8]) -> Result<(), Unreadable> {
        self.rest = self.rest.strip_prefix(text).ok_or(Unreadable)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::kind::Kind;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn written(text: &str, fields: usize) -> Option<Value> {
        let members: Vec<Member> =
            ('a'..).take(fields).map(|name| Member::new(&name.to_string(), Kind::Text)).collect();
        let mut out = Vec::new();
        let _ = write_composite(text.as_bytes(), &members, &mut Casts::default(), &mut out).ok()?;
        Some(serde_json::from_slice(&out).unwrap())
    }

    #[test]
    fn composites_of_every_form_are_read() {
        let cases = [
            ("()", json!({})),
            ("()", json!({"a": null})),
            ("(x)", json!({"a": "x"})),
            ("(,,)", json!({"a": null, "b": null, "c": null})),
            (r#"("",NULL,"null")"#, json!({"a": "", "b": "NULL", "c": "null"})),
            (r#"("say ""hi""","back\\slash","(,)")"#, json!({"a": "say \"hi\"", "b": "back\\slash", "c": "(,)"})),
            (r#"("(""x y"",)",日本)"#, json!({"a": "(\"x y\",)", "b": "日本"})),
        ];
        for (text, json) in cases {
            assert_eq!(written(text, json.as_object().unwrap().len()), Some(json), "{text}");
        }
    }

    #[test]
    fn what_is_no_composite_of_so_many_fields_is_refused() {
        let texts =
            ["", "(", "a,b", "(a)", "(a,b", "(a,b,c)", "(a,b)c", "(\"a,b)", "(a,\"b\"c)", "(a(,b)", "(a,\"\\", "()"];
        for text in texts {
            assert_eq!(written(text, 2), None, "{text}");
        }
    }

    /// As `record_out` does.
    fn render(fields: &[Option<String>]) -> String {
        let special = |c: char| "\"\\(), \t\n\r\u{b}\u{c}".contains(c);
        let field = |field: &Option<String>| match field {
            None => String::new(),
            Some(text) if !text.is_empty() && !text.contains(special) => text.clone(),
            Some(text) => format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\"\"")),
        };
        format!("({})", fields.iter().map(field).collect::<Vec<_>>().join(","))
    }

    proptest! {
        #[test]
        fn what_postgres_writes_is_read_back(
            fields in prop::collection::vec(prop::option::of(r#"([(){}",;\\ \n]|\PC){0,6}"#), 1..5)
        ) {
            let json: serde_json::Map<_, _> =
                ('a'..).zip(&fields).map(|(name, text)| (name.to_string(), json!(text))).collect();
            prop_assert_eq!(written(&render(&fields), fields.len()), Some(Value::Object(json)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in r#"[(){}",\\a\PC]*"#, fields in 0usize..4) {
            let _ = written(&text, fields);
        }
    }
}
