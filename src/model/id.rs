//! Identifiers that subscribers and scripts see.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};

use super::Position;

/// A subscription's opaque id: 12 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId([u8; 6]);

impl SubscriptionId {
    /// An id that was not used before, as far as chance can tell.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 12 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a notification id (12 lower-case hexadecimal digits, as `webhookdb notification list` shows)")]
pub struct ParseSubscriptionIdError;

impl FromStr for SubscriptionId {
    type Err = ParseSubscriptionIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| ParseSubscriptionIdError)?;
        bytes.try_into().map(Self).map_err(|_| ParseSubscriptionIdError)
    }
}

/// Names one change for ever, the same on every re-read of the log: made of the server's system identifier, the
/// timeline that owns the change's LSN, and its position, never of chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    system_identifier: u64,
    timeline: u32,
    position: Position,
}

impl EventId {
    /// The id of the change at `position` of the server with this identifier, where `timeline` owns its LSN.
    #[must_use]
    pub const fn new(system_identifier: u64, timeline: u32, position: Position) -> Self {
        Self { system_identifier, timeline, position }
    }

    /// `evt_…`, the body's `id`.
    #[must_use]
    pub fn event(&self) -> String {
        format!("evt_{}", self.digits())
    }

    /// `msg_…`, the `webhook-id` of this change for one subscription.
    #[must_use]
    pub fn message(event_id: &str, subscription: SubscriptionId) -> String {
        let digits = event_id.strip_prefix("evt_").unwrap_or(event_id);
        format!("msg_{subscription}_{digits}")
    }

    /// 40 digits: 8 bytes of identifier, 4 of timeline, 8 of LSN, and 5 of index, which allows a transaction 2^40 changes.
    fn digits(&self) -> String {
        let mut bytes = [0u8; 25];
        bytes[..8].copy_from_slice(&self.system_identifier.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.timeline.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.position.commit_lsn.get().to_be_bytes());
        bytes[20..].copy_from_slice(&self.position.index.to_be_bytes()[3..]);
        let mut digits = BASE32_NOPAD.encode(&bytes);
        digits.make_ascii_lowercase();
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Lsn;

    #[test]
    fn ids_have_the_promised_alphabet_and_length() {
        let id = EventId::new(u64::MAX, u32::MAX, Position::new(Lsn::new(u64::MAX), (1 << 40) - 1));
        let message = EventId::message(&id.event(), SubscriptionId([0xab; 6]));
        for text in [id.event(), message] {
            assert!(text.len() <= 64, "{text}");
            assert!(text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{text}");
        }
    }

    #[test]
    fn subscription_ids_are_read_as_they_are_printed() {
        let id = SubscriptionId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("54CA14E3C55E".parse::<SubscriptionId>().is_err());
        assert!("54ca14e3c5".parse::<SubscriptionId>().is_err());
    }
}
