//! One value's text becomes JSON, by its type's kind.

use super::kind::Kind;
use super::{Casts, array, composite, json, number, string, timestamp};

/// How a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// As `to_jsonb` has it.
    AsType,
    /// As a JSON string of its text, because it could not be read as its type; to be counted.
    AsText,
}

impl Written {
    /// What holds for two values together.
    pub(super) fn and(self, other: Self) -> Self {
        if self == Self::AsText { self } else { other }
    }
}

/// The text is not what the type's output function writes. What was appended up to then is to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Appends a value. Whatever the text is, what is appended is one JSON value; json and jsonb are, since the server has
/// checked them.
pub(super) fn write_value(kind: &Kind, text: &[u8], casts: &mut Casts, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    write_as(kind, text, casts, out).unwrap_or_else(|Unreadable| {
        out.truncate(start);
        let _ = string::write_text(text, out);
        Written::AsText
    })
}

fn write_as(kind: &Kind, text: &[u8], casts: &mut Casts, out: &mut Vec<u8>) -> Result<Written, Unreadable> {
    match kind {
        Kind::Text => Ok(string::write_text(text, out)),
        Kind::Number => number::write_number(text, out),
        Kind::Bool => write_bool(text, out),
        Kind::Jsonb => json::embed_jsonb(text, out),
        Kind::Json => json::embed_json(text, out),
        Kind::Timestamp => timestamp::write_timestamp(text, out),
        Kind::TimestampTz => timestamp::write_timestamptz(text, out),
        Kind::Array { element, delimiter } => array::write_array(text, element, *delimiter, casts, out),
        Kind::Composite(members) => composite::write_composite(text, members, casts, out),
        Kind::Cast(type_name) => json::embed_json(casts.json(type_name, text).ok_or(Unreadable)?.as_bytes(), out),
        Kind::NumberVector => number::write_vector(text, false, out),
        Kind::OidVector => number::write_vector(text, true, out),
        Kind::Unknown => Err(Unreadable),
    }
}

fn write_bool(text: &[u8], out: &mut Vec<u8>) -> Result<Written, Unreadable> {
    let word: &[u8] = match text {
        b"t" => b"true",
        b"f" => b"false",
        _ => return Err(Unreadable),
    };
    out.extend_from_slice(word);
    Ok(Written::AsType)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::types::{TypeRow, Types};
    use proptest::prelude::*;

    const MOOD: u32 = 20_000;
    const MOODS: u32 = 20_001;
    const POSITIVE: u32 = 20_002;
    const VERY_POSITIVE: u32 = 20_003;
    const POSITIVES: u32 = 20_004;
    const PAIR: u32 = 20_005;
    const PAIRS: u32 = 20_006;
    const DOCUMENT: u32 = 20_007;
    const DOCUMENTS: u32 = 20_008;
    const MOMENTS: u32 = 20_009;
    const MOMENT: u32 = 20_010;
    const PAYMENT: u32 = 20_011;
    const PAYMENTS: u32 = 20_012;

    fn row(oid: u32, name: &str, base: Option<u32>, element: Option<u32>) -> TypeRow {
        TypeRow { oid, name: name.to_owned(), base, element, delimiter: ",".to_owned(), ..TypeRow::default() }
    }

    fn payment() -> TypeRow {
        let fields = [("amount", 1700), ("moods", MOODS), ("at", MOMENT)];
        let fields = fields.map(|(name, type_oid)| (name.to_owned(), type_oid)).to_vec();
        TypeRow { fields: Some(fields), ..row(PAYMENT, "payment", None, None) }
    }

    fn types() -> Types {
        let mut types = Types::new();
        let rows = vec![
            row(MOOD, "mood", None, None),
            row(MOODS, "_mood", None, Some(MOOD)),
            row(VERY_POSITIVE, "very_positive", Some(POSITIVE), None),
            row(POSITIVE, "positive", Some(23), None),
            row(POSITIVES, "_positive", None, Some(POSITIVE)),
            row(PAIR, "pair", Some(1007), None),
            row(PAIRS, "_pair", None, Some(PAIR)),
            row(DOCUMENT, "document", Some(3802), None),
            row(DOCUMENTS, "_document", None, Some(DOCUMENT)),
            row(MOMENT, "moment", Some(1184), None),
            row(MOMENTS, "_moment", None, Some(MOMENT)),
            payment(),
            row(PAYMENTS, "_payment", None, Some(PAYMENT)),
        ];
        types.learn(&[], rows);
        types
    }

    fn write(oid: u32, text: &[u8]) -> (String, Written) {
        let mut out = b"before".to_vec();
        let written = write_value(&types().kind(oid), text, &mut Casts::default(), &mut out);
        let json = String::from_utf8(out).unwrap();
        (json.strip_prefix("before").unwrap().to_owned(), written)
    }

    #[test]
    fn each_type_is_written_as_to_jsonb_has_it() {
        let cases: &[(u32, &str, &str)] = &[
            (16, "t", "true"),
            (16, "f", "false"),
            (21, "-32768", "-32768"),
            (23, "2147483647", "2147483647"),
            (20, "-9223372036854775808", "-9223372036854775808"),
            (1700, "12345678901234567890.0123456789000", "12345678901234567890.0123456789000"),
            (1700, "NaN", r#""NaN""#),
            (1700, "-Infinity", r#""-Infinity""#),
            (700, "1.5e-45", "1.5e-45"),
            (701, "1e+308", "1e+308"),
            (701, "Infinity", r#""Infinity""#),
            (25, "say \"hi\"\n", r#""say \"hi\"\n""#),
            (1042, "ab   ", r#""ab   ""#),
            (1043, "", r#""""#),
            (26, "4294967295", r#""4294967295""#),
            (5069, "18446744073709551615", r#""18446744073709551615""#),
            (17, r"\x00ff", r#""\\x00ff""#),
            (1082, "0044-03-15 BC", r#""0044-03-15 BC""#),
            (1082, "infinity", r#""infinity""#),
            (1083, "24:00:00", r#""24:00:00""#),
            (1266, "12:00:00+05:30", r#""12:00:00+05:30""#),
            (1186, "-1 years +2 mons -3 days +04:05:06.7", r#""-1 years +2 mons -3 days +04:05:06.7""#),
            (1114, "2026-01-02 03:04:05.6", r#""2026-01-02T03:04:05.6""#),
            (1184, "2026-01-01 21:34:05.600001+00", r#""2026-01-01T21:34:05.600001+00:00""#),
            (2950, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#),
            (114, "{\"b\" : 1,\n \"a\": [ ]}", "{\"b\" : 1,\n \"a\": [ ]}"),
            (3802, r#"{"a": "é", "n": 1e400}"#, r#"{"a": "é", "n": 1e400}"#),
            (3802, "null", "null"),
            (22, "1 2", "[1,2]"),
            (30, "1 2", r#"["1","2"]"#),
            (1006, r#"{"1 2",3}"#, "[[1,2],[3]]"),
            (1016, "{1,NULL,-3}", "[1,null,-3]"),
            (1009, r#"{a,"b c","","NULL",NULL,"\"\\"}"#, r#"["a","b c","","NULL",null,"\"\\"]"#),
            (1020, "{(3,4),(1,2);(7,8),(5,6)}", r#"["(3,4),(1,2)","(7,8),(5,6)"]"#),
            (1185, r#"{"2026-01-01 00:00:00+00",infinity}"#, r#"["2026-01-01T00:00:00+00:00","infinity"]"#),
            (3807, r#"{"{\"a\": \"\\\"\"}",null}"#, r#"[{"a": "\""},null]"#),
            (1028, "{1}", r#"["1"]"#),
            (MOOD, "so so", r#""so so""#),
            (MOODS, r#"{"so so",ok}"#, r#"["so so","ok"]"#),
            (VERY_POSITIVE, "7", "7"),
            (POSITIVES, "{7}", "[7]"),
            (PAIR, "{1,2}", "[1,2]"),
            (PAIRS, r#"{"{1,2}",NULL,"{}"}"#, "[[1,2],null,[]]"),
            (DOCUMENT, "[1]", "[1]"),
            (DOCUMENTS, r#"{"{\"a\": 1}"}"#, r#"[{"a": 1}]"#),
            (MOMENTS, r#"{"0044-03-15 00:00:00+00 BC"}"#, r#"["0044-03-15T00:00:00+00:00 BC"]"#),
            (PAYMENT, "(,,)", r#"{"amount":null,"moods":null,"at":null}"#),
            (
                PAYMENT,
                r#"(1.50,"{sad,""so so""}",infinity)"#,
                r#"{"amount":1.50,"moods":["sad","so so"],"at":"infinity"}"#,
            ),
            (PAYMENTS, r#"{"(1,{},)",NULL}"#, r#"[{"amount":1,"moods":[],"at":null},null]"#),
            (3910, r#"["2026-01-01 00:00:00+00",infinity)"#, r#""[\"2026-01-01 00:00:00+00\",infinity)""#),
        ];
        for &(oid, text, json) in cases {
            assert_eq!(write(oid, text.as_bytes()), (json.to_owned(), Written::AsType), "type {oid}: {text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_sent_as_its_text_and_reported() {
        let cases: &[(u32, &str)] = &[
            (16, "true"),
            (23, "one"),
            (1700, "1,5"),
            (114, ""),
            (114, r#""\u0000""#),
            (3802, ""),
            (1184, "yesterday"),
            (1114, "01.02.2026 00:00"),
            (1007, "{1,2"),
            (1007, "[0:1]=1"),
            (PAYMENT, "(1,2)"),
            (99_999, "of a type that is gone"),
        ];
        for &(oid, text) in cases {
            assert_eq!(write(oid, text.as_bytes()), (serde_json::to_string(text).unwrap(), Written::AsText));
        }
    }

    #[test]
    fn an_element_that_cannot_be_read_leaves_the_others_as_they_are() {
        assert_eq!(write(199, r#"{1,"\"\\u0000\""}"#.as_bytes()), (r#"[1,"\"\\u0000\""]"#.to_owned(), Written::AsText));
    }

    #[test]
    fn invalid_utf8_is_replaced_and_reported() {
        for oid in [25, 114, 3802, 1009, 23] {
            let (json, written) = write(oid, b"{\"\xFF\"}");
            assert_eq!(written, Written::AsText);
            assert!(json.contains('\u{FFFD}'), "{json}");
        }
    }

    proptest! {
        /// jsonb is not parsed again, so what the server wrote is trusted; everything else is not.
        #[test]
        fn whatever_the_text_one_json_value_is_written(
            oid in prop::sample::select(vec![16, 23, 25, 701, 1114, 1184, 22, 30, 1007, 1009, 1185, 1006, MOODS, PAIRS, PAYMENT, PAYMENTS]),
            text in r#"([-+0-9.eE:(){}\[\]",;\\ ]|NULL|=|BC|NaN|infinity|\PC)*"#,
        ) {
            let (json, _) = write(oid, text.as_bytes());
            prop_assert!(serde_json::from_str::<Box<serde_json::value::RawValue>>(&json).is_ok(), "{}", json);
        }
    }
}
