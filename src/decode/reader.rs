//! Takes fields off the front of a message, each checked, counting the offset for errors.

use super::DecodeError;

/// A cursor over one message. Its offset never passes the end.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Reads what follows the message's tag.
    pub(super) fn after_tag(frame: &'a [u8]) -> Self {
        let rest = frame.get(1..).unwrap_or_default();
        Self { rest, offset: frame.len() - rest.len() }
    }

    /// Reads `bytes`, which begin at `offset` of their message.
    pub(super) const fn at(offset: usize, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset }
    }

    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    pub(super) const fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.truncated(count))?;
        self.rest = rest;
        self.offset += count;
        Ok(head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A length and as many bytes.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u32()?;
        // A length that usize cannot hold is longer than any message.
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The bytes before the next zero byte, which is taken too.
    pub(super) fn terminated(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.rest.iter().position(|&byte| byte == 0);
        let length = length.ok_or(DecodeError::Unterminated { offset: self.offset })?;
        let bytes = self.take(length)?;
        self.take(1)?;
        Ok(bytes)
    }

    /// A zero-terminated name.
    pub(super) fn name(&mut self) -> Result<&'a str, DecodeError> {
        let offset = self.offset;
        let bytes = self.terminated()?;
        std::str::from_utf8(bytes).map_err(|source| DecodeError::NameNotUtf8 { offset, source })
    }

    /// Nothing may follow.
    pub(super) const fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { offset: self.offset, count }),
        }
    }

    /// The error for the byte just taken.
    pub(super) const fn unknown(&self, what: &'static str, tag: u8) -> DecodeError {
        DecodeError::UnknownTag { what, tag, offset: self.offset.saturating_sub(1) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.truncated(N))?;
        self.rest = rest;
        self.offset += N;
        Ok(*head)
    }

    const fn truncated(&self, wanted: usize) -> DecodeError {
        DecodeError::Truncated { offset: self.offset, wanted, left: self.rest.len() }
    }
}
