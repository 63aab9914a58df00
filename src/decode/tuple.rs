//! A row version as it stands in a message, read only when somebody wants it.

use std::fmt;

use bytes::Bytes;

use super::DecodeError;
use super::reader::Reader;

/// One column's value, a slice of the message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Datum<'a> {
    /// SQL NULL; in a [`OldKind::Key`] tuple also: not logged.
    Null,
    /// A large value that the UPDATE left alone, so that it was not logged.
    Unchanged,
    /// The value as its type's output function writes it.
    Text(&'a [u8]),
}

/// The length only: values are never logged.
impl fmt::Debug for Datum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Unchanged => f.write_str("Unchanged"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

impl<'a> Datum<'a> {
    /// The value's text, where it has one.
    #[must_use]
    pub const fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Unchanged => None,
        }
    }
}

/// A row version, not yet cut into columns: a change that nobody wants costs nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Tuple {
    bytes: Bytes,
    /// Where the tuple begins in its message, for errors.
    offset: usize,
}

/// The length only: values are never logged.
impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tuple({} bytes)", self.bytes.len())
    }
}

impl Tuple {
    pub(super) const fn new(bytes: Bytes, offset: usize) -> Self {
        Self { bytes, offset }
    }

    /// The values, in the order of the relation's columns.
    pub fn columns(&self) -> Result<Vec<Datum<'_>>, DecodeError> {
        let mut reader = Reader::at(self.offset, &self.bytes);
        let count = usize::from(reader.u16()?);
        // Each column takes a byte at least: a count that lies does not reserve memory.
        let mut columns = Vec::with_capacity(count.min(reader.left()));
        for _ in 0..count {
            columns.push(datum(&mut reader)?);
        }
        reader.finish()?;
        Ok(columns)
    }

    /// How many bytes of its message it is.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// Passes over a tuple whose end only its columns tell.
pub(super) fn skip(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    let count = reader.u16()?;
    (0..count).try_for_each(|_| datum(reader).map(drop))
}

fn datum<'a>(reader: &mut Reader<'a>) -> Result<Datum<'a>, DecodeError> {
    match reader.u8()? {
        b't' => reader.sized().map(Datum::Text),
        b'n' => Ok(Datum::Null),
        b'u' => Ok(Datum::Unchanged),
        b'b' => Err(DecodeError::BinaryValue { offset: reader.offset().saturating_sub(1) }),
        tag => Err(reader.unknown("column format", tag)),
    }
}

/// How much of the old row the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldKind {
    /// The replica identity's columns; all others are NULL in the tuple, whatever they were.
    Key,
    /// Every column.
    Full,
}

/// A row before its change, as far as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldTuple {
    /// How much it holds.
    pub kind: OldKind,
    /// The values.
    pub tuple: Tuple,
}
