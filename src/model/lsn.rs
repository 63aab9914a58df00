//! A position in the write-ahead log.

use std::fmt;
use std::str::FromStr;

/// A log sequence number: a byte offset in the write-ahead log, printed as Postgres prints it (`0/16B3748`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// The invalid LSN, which Postgres uses for "none".
    pub const ZERO: Self = Self(0);

    /// The LSN at this byte offset.
    #[must_use]
    pub const fn new(offset: u64) -> Self {
        Self(offset)
    }

    /// The byte offset.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// How many bytes of log lie between `earlier` and this one; zero where it is not earlier.
    #[must_use]
    pub const fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl From<u64> for Lsn {
    fn from(offset: u64) -> Self {
        Self(offset)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// The text is not of the form `hex/hex`, each of 32 bits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an LSN (expected the form 0/16B3748)")]
pub struct ParseLsnError;

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (high, low) = text.split_once('/').ok_or(ParseLsnError)?;
        let half = |digits: &str| u32::from_str_radix(digits, 16).map_err(|_| ParseLsnError);
        Ok(Self(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(offset: u64) {
            prop_assert_eq!(Lsn::new(offset).to_string().parse(), Ok(Lsn::new(offset)));
        }
    }

    #[test]
    fn prints_as_postgres_does() {
        assert_eq!(Lsn::new(0x16B_3748).to_string(), "0/16B3748");
        assert_eq!("0/".parse::<Lsn>(), Err(ParseLsnError));
        assert_eq!("1/100000000".parse::<Lsn>(), Err(ParseLsnError));
    }
}
