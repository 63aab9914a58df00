//! Texts as the replication commands want them.

/// `'text'`. Replication commands know no escape strings, as `postgres_protocol::escape` would make of a backslash; SQL takes this
/// form too, with `standard_conforming_strings` as it is by default.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(literal("it's"), "'it''s'");
    }
}
