//! How much room a slot has left before the server gives it up, in stages that are worth a word each.

use std::fmt;

use super::SlotState;

/// From enough to next to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// More than half of `max_slot_wal_keep_size`, or no limit and no more log than usual.
    Ample,
    /// The slot keeps more log than `max_wal_size` (`wal_status` is `extended`).
    Extended,
    /// Less than half of what may be kept is left.
    Half,
    /// Less than a tenth of it.
    Tenth,
    /// Nothing: the server's next checkpoint may remove log that was not read (`wal_status` is `unreserved`).
    Unreserved,
}

impl Room {
    /// What a slot has.
    #[must_use]
    pub fn of(slot: &SlotState) -> Self {
        let left = slot.safe_wal_size.map(|bytes| u64::try_from(bytes).unwrap_or_default());
        let kept = slot.retained_bytes.unwrap_or_default();
        match (slot.wal_status.as_deref(), left) {
            (Some("unreserved"), _) => Self::Unreserved,
            (_, Some(left)) if left < (left.saturating_add(kept)) / 10 => Self::Tenth,
            (_, Some(left)) if left < (left.saturating_add(kept)) / 2 => Self::Half,
            (Some("extended"), _) => Self::Extended,
            _ => Self::Ample,
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(self) -> Option<&'static str> {
        match self {
            Self::Ample => None,
            Self::Extended => Some("`webhookdb status` shows what holds it back; watch the disk's free space"),
            Self::Half | Self::Tenth | Self::Unreserved => Some(
                "`webhookdb status` shows what holds it back; raise max_slot_wal_keep_size where the disk has room",
            ),
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ample => "the slot has room again",
            Self::Extended => "the slot keeps more log than max_wal_size",
            Self::Half => "the slot has used up half of max_slot_wal_keep_size",
            Self::Tenth => "the slot has used up nine tenths of max_slot_wal_keep_size",
            Self::Unreserved => {
                "the slot is beyond max_slot_wal_keep_size: the server's next checkpoint may remove log that was not read"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_is_told_apart() {
        let room = |status: &str, retained: u64, safe: Option<i64>| {
            let columns: Vec<Option<String>> = vec![None; 18];
            let state = SlotState::from_columns("s", &columns);
            let (wal_status, retained_bytes) = (Some(status.to_owned()), Some(retained));
            Room::of(&SlotState { wal_status, retained_bytes, safe_wal_size: safe, ..state })
        };
        assert_eq!(room("reserved", 1 << 40, None), Room::Ample);
        assert_eq!(room("reserved", 50, Some(50)), Room::Ample);
        assert_eq!(room("extended", 1 << 40, None), Room::Extended);
        assert_eq!(room("extended", 40, Some(60)), Room::Extended);
        assert_eq!(room("extended", 51, Some(49)), Room::Half);
        assert_eq!(room("reserved", 91, Some(9)), Room::Tenth);
        assert_eq!(room("unreserved", 100, Some(-7)), Room::Unreserved);
        assert!(Room::Ample < Room::Extended && Room::Tenth < Room::Unreserved);
    }
}
