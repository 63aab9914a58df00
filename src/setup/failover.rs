//! Whether standbys get the slot too: brought in line with the config where a slot is there already.

use super::report::{Note, Report};
use crate::config::SourceSettings;
use crate::source::{ReplicationConnection, ServerFacts, SlotState, SourceError};

/// Whether a slot that is made now is to be one that standbys get too.
pub(super) const fn is_wanted(settings: &SourceSettings, facts: &ServerFacts) -> bool {
    settings.failover() && facts.has_failover_slots()
}

/// Alters the slot where it is not as the config says. One that is in use cannot be altered.
pub(super) async fn bring_in_line(
    settings: &SourceSettings,
    facts: &ServerFacts,
    slot: &SlotState,
    report: Report<'_>,
) -> Result<(), SourceError> {
    let wanted = settings.failover();
    if !facts.has_failover_slots() || slot.failover == wanted {
        return Ok(());
    }
    let name = settings.slot();
    let is = if wanted { "is not one that standbys get too" } else { "is one that standbys get too" };
    if let Err(SourceError::SlotActive { holder, .. }) = slot.check(&facts.database) {
        let remedy = format!("stop the daemon ({holder} has the slot), and run `webhookdb setup` again");
        report(Note::hazard(format!("slot {name} {is}, and is in use: it can't be altered"), remedy));
        return Ok(());
    }
    ReplicationConnection::connect(settings.url()).await?.set_failover(name, wanted).await?;
    report(Note::done(format!("altered slot {name}: failover = {wanted}")));
    Ok(())
}
