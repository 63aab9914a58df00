//! Whether what is recorded of a source and what its server shows still fit, so that nothing is lost silently.

use tokio_postgres::Client;

use super::error::{Discord, SetupError};
use crate::catalog::sources::{self, SourceState};
use crate::config::SourceSettings;
use crate::source::publication::{PublicationState, publication_state};
use crate::source::{ServerFacts, SlotState};

/// What the server shows.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) system_identifier: u64,
    pub(super) publication: Option<PublicationState>,
    pub(super) slot: Option<SlotState>,
}

/// What keeps a daemon from going on, as anybody may see it who reads both databases. `slot` was read before: a daemon
/// records first and then confirms, so that its slot is never ahead by itself.
///
/// # Errors
/// Where a database fails.
pub async fn what_does_not_fit(
    catalog: &Client,
    source: &Client,
    settings: &SourceSettings,
    slot: Option<SlotState>,
) -> Result<Option<Discord>, SetupError> {
    let Some(record) = sources::find(catalog, settings.name()).await? else { return Ok(None) };
    let publication = publication_state(source, settings.publication()).await?;
    // Not every role may ask the server which one it is; the daemon is told by its replication connection.
    let seen = ServerFacts::read(source).await?.system_identifier;
    let system_identifier = seen.unwrap_or(record.system_identifier);
    Ok(discord(settings, &record, &Found { system_identifier, publication, slot }))
}

/// How the record and the server do not fit; none where there is no record yet, or where they do.
pub(super) fn discord(settings: &SourceSettings, record: &SourceState, found: &Found) -> Option<Discord> {
    of_server(record, found)
        .or_else(|| of_names(settings, record))
        .or_else(|| of_publication(settings, record, found))
        .or_else(|| of_slot(settings, record, found))
        .or_else(|| record.refused.clone().map(Discord::Refused))
}

fn of_server(record: &SourceState, found: &Found) -> Option<Discord> {
    (record.system_identifier != found.system_identifier)
        .then_some(Discord::OtherServer { recorded: record.system_identifier, found: found.system_identifier })
}

fn of_names(settings: &SourceSettings, record: &SourceState) -> Option<Discord> {
    let names = [
        ("slot", settings.slot(), record.slot.as_str()),
        ("publication", settings.publication(), record.publication.as_str()),
    ];
    let (what, configured, recorded) = names.into_iter().find(|(_, configured, recorded)| configured != recorded)?;
    Some(Discord::OtherName { what, configured: configured.to_owned(), recorded: recorded.to_owned() })
}

fn of_publication(settings: &SourceSettings, record: &SourceState, found: &Found) -> Option<Discord> {
    let name = settings.publication().to_owned();
    match &found.publication {
        None => Some(Discord::PublicationGone(name)),
        Some(publication) if publication.oid != record.publication_oid => Some(Discord::PublicationReplaced(name)),
        Some(_) => None,
    }
}

fn of_slot(settings: &SourceSettings, record: &SourceState, found: &Found) -> Option<Discord> {
    let name = settings.slot().to_owned();
    let Some(slot) = &found.slot else { return Some(Discord::SlotGone(name)) };
    if let Some(reason) = slot.invalidation.clone() {
        return Some(Discord::SlotLost { slot: name, reason });
    }
    let confirmed = slot.confirmed_flush_lsn?;
    (confirmed > record.flush_lsn).then_some(Discord::SlotAhead { slot: confirmed, checkpoint: record.flush_lsn })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::model::Lsn;
    use crate::source::Invalidation;

    fn settings() -> Settings {
        let text = "[catalog]\nurl = \"postgres://whdb@localhost/webhookdb\"\n[[source]]\nname = \"main\"\n";
        Settings::parse(std::path::Path::new("config.toml"), text).unwrap()
    }

    fn record() -> SourceState {
        SourceState {
            slot: "webhookdb_notifications".to_owned(),
            publication: "webhookdb_notifications".to_owned(),
            publication_oid: 7,
            system_identifier: 1,
            commit_lsn: Lsn::new(100),
            flush_lsn: Lsn::new(100),
            next_index: 0,
            refused: None,
            stuck: None,
        }
    }

    fn slot(confirmed: u64, invalidation: Option<Invalidation>) -> SlotState {
        SlotState {
            slot: "webhookdb_notifications".to_owned(),
            plugin: Some("pgoutput".to_owned()),
            logical: true,
            database: Some("webhookdb".to_owned()),
            temporary: false,
            active_pid: None,
            holder: None,
            restart_lsn: None,
            confirmed_flush_lsn: Some(Lsn::new(confirmed)),
            wal_status: None,
            safe_wal_size: None,
            two_phase: false,
            invalidation,
            failover: false,
            inactive_since: None,
            current_lsn: None,
            retained_bytes: None,
        }
    }

    fn found(system_identifier: u64, publication_oid: Option<u32>, slot: Option<SlotState>) -> Found {
        let publication = publication_oid.map(|oid| PublicationState {
            oid,
            all_tables: false,
            via_partition_root: true,
            generated_columns: true,
            complete: true,
            owned: true,
            tables: Vec::new(),
        });
        Found { system_identifier, publication, slot }
    }

    #[test]
    fn a_slot_at_or_behind_the_checkpoint_fits() {
        for confirmed in [100, 40] {
            let found = found(1, Some(7), Some(slot(confirmed, None)));
            assert_eq!(discord(&settings().sources()[0], &record(), &found), None);
        }
    }

    #[test]
    fn whatever_would_lose_changes_silently_is_refused() {
        let name = || "webhookdb_notifications".to_owned();
        let cases = [
            (found(2, Some(7), Some(slot(40, None))), Discord::OtherServer { recorded: 1, found: 2 }),
            (found(1, None, Some(slot(40, None))), Discord::PublicationGone(name())),
            (found(1, Some(8), Some(slot(40, None))), Discord::PublicationReplaced(name())),
            (found(1, Some(7), None), Discord::SlotGone(name())),
            (
                found(1, Some(7), Some(slot(40, Some(Invalidation::IdleTimeout)))),
                Discord::SlotLost { slot: name(), reason: Invalidation::IdleTimeout },
            ),
            (
                found(1, Some(7), Some(slot(101, None))),
                Discord::SlotAhead { slot: Lsn::new(101), checkpoint: Lsn::new(100) },
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(discord(&settings().sources()[0], &record(), &found), Some(expected));
        }
    }

    #[test]
    fn what_the_daemon_refused_is_refused() {
        let refused = SourceState { refused: Some("why".to_owned()), ..record() };
        let found = found(1, Some(7), Some(slot(40, None)));
        let discord = discord(&settings().sources()[0], &refused, &found);
        assert_eq!(discord, Some(Discord::Refused("why".to_owned())));
    }

    #[test]
    fn another_name_in_the_config_is_refused() {
        let renamed = SourceState { slot: "old".to_owned(), ..record() };
        let found = found(1, Some(7), Some(slot(40, None)));
        assert!(matches!(
            discord(&settings().sources()[0], &renamed, &found),
            Some(Discord::OtherName { what: "slot", .. })
        ));
    }
}
