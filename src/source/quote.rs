//! Names and texts as SQL and the replication commands want them.

/// `"name"`, for any name: upper case, digits first, quotes and all.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`, as replication commands want it, and SQL with standard_conforming_strings.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(identifier("9 \"Lives\""), "\"9 \"\"Lives\"\"\"");
        assert_eq!(literal("it's"), "'it''s'");
    }
}
