//! JSON for people: members in their own order, short values on one line.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object as long as this stays on one line.
const INLINE_BYTES_MAX: usize = 110;

/// The members of an object in the order in which they stand.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Lines of JSON, `key` applied to each member's name; what is no object comes back as it is.
pub(super) fn pretty(json: &str, key: &dyn Fn(&str) -> String) -> String {
    indented(json, key, 0)
}

fn indented(json: &str, key: &dyn Fn(&str) -> String, depth: usize) -> String {
    let inline = json.len() <= INLINE_BYTES_MAX && depth > 0;
    match serde_json::from_str::<Members<'_>>(json) {
        Ok(Members(members)) if !inline && !members.is_empty() => {
            let indent = "  ".repeat(depth + 1);
            let line = |(name, value): &(String, &RawValue)| {
                format!("{indent}{}: {}", key(&format!("\"{name}\"")), indented(value.get(), key, depth + 1))
            };
            let lines: Vec<String> = members.iter().map(line).collect();
            format!("{{\n{}\n{}}}", lines.join(",\n"), "  ".repeat(depth))
        }
        _ => json.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_short_values_their_line() {
        let long = "x".repeat(INLINE_BYTES_MAX);
        let json = format!(r#"{{"b":1,"a":{{"z":[1, 2]}},"row":{{"y":"{long}","x":null}}}}"#);
        let lines = pretty(&json, &str::to_owned);
        let expected = format!(
            "{{\n  \"b\": 1,\n  \"a\": {{\"z\":[1, 2]}},\n  \"row\": {{\n    \"y\": \"{long}\",\n    \"x\": null\n  }}\n}}"
        );
        assert_eq!(lines, expected);
    }
}
