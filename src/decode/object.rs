//! JSON objects, member by member: a row's, and a composite's.

use super::Casts;
use super::kind::Kind;
use super::string::write_json_string;
use super::value::{Written, write_value};

/// A column of a table, or a field of a composite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// `,"name":`, the comma to be replaced by the object's brace in the first that is written.
    prefix: Box<[u8]>,
    pub(super) kind: Kind,
}

impl Member {
    pub(super) fn new(name: &str, kind: Kind) -> Self {
        let mut prefix = vec![b','];
        write_json_string(name, &mut prefix);
        prefix.push(b':');
        Self { prefix: prefix.into(), kind }
    }

    /// How many bytes it takes beside its value's text: the name, and quotes, and a timestamp's minutes.
    pub(super) const fn overhead(&self) -> usize {
        self.prefix.len() + "\"\":00".len()
    }

    pub(super) fn write(&self, value: Option<&[u8]>, casts: &mut Casts, out: &mut Vec<u8>) -> Written {
        out.extend_from_slice(&self.prefix);
        write_or_null(&self.kind, value, casts, out)
    }
}

/// Appends a value, or null.
pub(super) fn write_or_null(kind: &Kind, value: Option<&[u8]>, casts: &mut Casts, out: &mut Vec<u8>) -> Written {
    if let Some(text) = value {
        return write_value(kind, text, casts, out);
    }
    out.extend_from_slice(b"null");
    Written::AsType
}

/// Makes an object of the members that were written from `start` on: the first one's comma becomes the brace.
pub(super) fn finish(start: usize, out: &mut Vec<u8>) {
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}
