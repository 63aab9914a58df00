//! Identifiers that subscribers and scripts see.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

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
/// timeline that owns the change's LSN, its position, and its transaction, never of chance.
///
/// The transaction tells two changes apart that had the same position: a server that was restored from a copy of its data
/// directory writes its log anew under the same identifier and timeline, and a subscriber that knows the id would take the
/// second for a repetition of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    system_identifier: u64,
    timeline: u32,
    position: Position,
    transaction: u32,
}

impl EventId {
    /// The id of the change at `position` of the server with this identifier, where `timeline` owns its LSN, by the
    /// transaction `xid` that was committed at `committed_at` by the server's clock.
    #[must_use]
    pub fn new(system_identifier: u64, timeline: u32, position: Position, xid: u32, committed_at: SystemTime) -> Self {
        let micros = committed_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        let transaction = [&xid.to_be_bytes()[..], &micros.to_be_bytes()].concat();
        // Of 64 good bits any 32 are good, and there is room for no more.
        let [first, second, third, fourth, ..] = xxh3_64(&transaction).to_be_bytes();
        let transaction = u32::from_be_bytes([first, second, third, fourth]);
        Self { system_identifier, timeline, position, transaction }
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

    /// The `webhook-id` of a request that carries these changes, in this order, for one subscription: of one change, its own.
    #[must_use]
    pub fn batch_message<'a>(event_ids: impl IntoIterator<Item = &'a str>, subscription: SubscriptionId) -> String {
        let mut event_ids = event_ids.into_iter().peekable();
        let first = event_ids.next().unwrap_or_default();
        if event_ids.peek().is_none() {
            return Self::message(first, subscription);
        }
        let mut hash = Xxh3Default::new();
        for event_id in std::iter::once(first).chain(event_ids) {
            hash.update(event_id.as_bytes());
            hash.update(b"\n");
        }
        format!("msg_{subscription}_batch_{:032x}", hash.digest128())
    }

    /// The event that a `webhook-id` of this subscription is about; none where it is none of its.
    #[must_use]
    pub fn event_of_message(message_id: &str, subscription: SubscriptionId) -> Option<String> {
        let digits = message_id.strip_prefix("msg_")?.strip_prefix(&subscription.to_string())?.strip_prefix('_')?;
        Some(format!("evt_{digits}"))
    }

    /// 47 digits: 8 bytes of identifier, 4 of timeline, 8 of LSN, 5 of index, which allows a transaction 2^40 changes, and 4
    /// of the transaction.
    fn digits(&self) -> String {
        let mut bytes = [0u8; 29];
        bytes[..8].copy_from_slice(&self.system_identifier.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.timeline.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.position.commit_lsn.get().to_be_bytes());
        bytes[20..25].copy_from_slice(&self.position.index.to_be_bytes()[3..]);
        bytes[25..].copy_from_slice(&self.transaction.to_be_bytes());
        let mut digits = BASE32_NOPAD.encode(&bytes);
        digits.make_ascii_lowercase();
        digits
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Lsn;

    #[test]
    fn ids_have_the_promised_alphabet_and_length() {
        let id = id(u64::MAX, (1 << 40) - 1, 7, 0);
        let message = EventId::message(&id.event(), SubscriptionId([0xab; 6]));
        for text in [id.event(), message] {
            assert!(text.len() <= 64, "{text}");
            assert!(text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{text}");
        }
    }

    #[test]
    fn a_batch_is_named_by_what_it_carries_and_in_which_order() {
        let [one, two] = [id(10, 0, 7, 1).event(), id(10, 1, 7, 1).event()];
        let own = SubscriptionId([0xab; 6]);
        let name = |events: &[&String]| EventId::batch_message(events.iter().map(|event| event.as_str()), own);
        assert_eq!(name(&[&one]), EventId::message(&one, own), "one change has the name that it has by itself");
        assert_eq!(name(&[&one, &two]), name(&[&one, &two]));
        assert_ne!(name(&[&one, &two]), name(&[&two, &one]));
        assert!(name(&[&one, &two]).starts_with("msg_abababababab_batch_") && name(&[&one, &two]).len() <= 64);
    }

    #[test]
    fn a_message_tells_its_event_to_its_own_subscription_only() {
        let (event, own) = (id(10, 0, 7, 1).event(), SubscriptionId([0xab; 6]));
        let message = EventId::message(&event, own);
        assert_eq!(EventId::event_of_message(&message, own), Some(event.clone()));
        assert_eq!(EventId::event_of_message(&message, SubscriptionId([0xcd; 6])), None);
        assert_eq!(EventId::event_of_message(&event, own), None);
    }

    #[test]
    fn an_id_is_the_same_for_the_same_change_only() {
        let first = id(10, 0, 7, 1_000_001).event();
        assert_eq!(first, id(10, 0, 7, 1_000_001).event());
        for other in
            [id(11, 0, 7, 1_000_001), id(10, 1, 7, 1_000_001), id(10, 0, 8, 1_000_001), id(10, 0, 7, 1_000_002)]
        {
            assert_ne!(first, other.event(), "a log that was written anew is another log");
        }
    }

    fn id(lsn: u64, index: u64, xid: u32, micros: u64) -> EventId {
        let committed_at = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
        EventId::new(u64::MAX, u32::MAX, Position::new(Lsn::new(lsn), index), xid, committed_at)
    }

    #[test]
    fn subscription_ids_are_read_as_they_are_printed() {
        let id = SubscriptionId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("54CA14E3C55E".parse::<SubscriptionId>().is_err());
        assert!("54ca14e3c5".parse::<SubscriptionId>().is_err());
    }
}
