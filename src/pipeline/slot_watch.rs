//! How much log the server keeps for the slot, and how much more it may: measured, and told when it runs short.

use metrics::gauge;
use tracing::{info, warn};

use crate::admin::metrics::{SLOT_RETAINED_BYTES, SLOT_SAFE_BYTES};
use crate::source::{Room, SlotState};

/// Outlives the connection: a source that cannot stream is the one whose log grows.
pub(super) struct SlotWatch {
    source_name: String,
    told: Room,
}

impl SlotWatch {
    pub(super) fn new(source_name: &str) -> Self {
        Self { source_name: source_name.to_owned(), told: Room::Ample }
    }

    /// Takes in what the server says. Each stage is told once, until there is enough room again.
    // Precision is lost from 2^53 on, 8 PiB of log.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn look(&mut self, slot: &SlotState) {
        let source = self.source_name.as_str();
        let retained = slot.retained_bytes.unwrap_or_default();
        gauge!(SLOT_RETAINED_BYTES, "source" => source.to_owned()).set(retained as f64);
        let safe = slot.safe_wal_size.map_or(f64::INFINITY, |bytes| bytes as f64);
        gauge!(SLOT_SAFE_BYTES, "source" => source.to_owned()).set(safe);
        let room = Room::of(slot);
        if room > self.told {
            let left = slot.safe_wal_size;
            warn!(source, slot = slot.slot, retained_bytes = retained, left_bytes = left, hint = room.hint(), "{room}");
            self.told = room;
        } else if room == Room::Ample && self.told != Room::Ample {
            info!(source, slot = slot.slot, retained_bytes = retained, "{room}");
            self.told = room;
        }
    }
}
