//! What the server says of a slot, and what to do where it runs short.

use bytesize::ByteSize;

use crate::source::{Room, SlotState};

/// Everything about the slot, a line each.
pub(super) fn slot_lines(slot: &SlotState) -> Vec<String> {
    [vec![slot_line(slot)], room_lines(slot)].concat()
}

/// What the server says of the slot: who reads from it, what has become of its log, what room it has left.
fn slot_line(slot: &SlotState) -> String {
    let reader = slot.reader().map_or_else(|| "not in use".to_owned(), |reader| format!("in use by {reader}"));
    let mut words = vec![reader];
    words.extend(slot.wal_status.as_ref().map(|status| format!("its log is {status}")));
    words.extend(slot.safe_wal_size.map(|left| {
        let left = ByteSize(u64::try_from(left).unwrap_or_default());
        format!("{left} left before max_slot_wal_keep_size")
    }));
    words.extend(slot.failover.then(|| "standbys get it too".to_owned()));
    format!("  slot {}", words.join(", "))
}

/// A slot that has little room left is told so, with the remedy.
fn room_lines(slot: &SlotState) -> Vec<String> {
    let room = Room::of(slot);
    room.hint().map_or_else(Vec::new, |hint| vec![format!("  {room}"), format!("  hint: {hint}")])
}
