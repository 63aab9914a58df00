//! Taking over a slot: from what is in memory, else from the record, where the server's history is that of the record.

use tracing::info;

use super::{Backlog, SourceTask};
use crate::checkpoint::{ResumePoint, SourceRecord};
use crate::model::Lsn;
use crate::pipeline::PipelineError;
use crate::pipeline::session::Session;
use crate::setup::Discord;
use crate::source::{ReplicationConnection, SlotState, SourceError, SystemIdentity, TimelineHistory};

/// The server as it is found.
pub(super) struct Server<'a> {
    pub(super) identity: &'a SystemIdentity,
    pub(super) history: &'a TimelineHistory,
    pub(super) is_standby: bool,
}

impl SourceTask {
    /// The slot is ours: only now does its confirmed position, which this returns, stand still.
    pub(super) async fn take_slot(
        &mut self,
        client: &tokio_postgres::Client,
        server: &Server<'_>,
    ) -> Result<Lsn, PipelineError> {
        let slot = SlotState::read(client, self.context.settings.slot()).await?;
        let confirmed_flush_lsn = slot.confirmed_flush_lsn.unwrap_or_default();
        self.take_over(server, confirmed_flush_lsn).await?;
        Ok(confirmed_flush_lsn)
    }

    /// A slot that is missing although there is a checkpoint was dropped, or this is another server.
    pub(super) async fn explain(&self, error: PipelineError) -> PipelineError {
        if !matches!(error, PipelineError::Source(SourceError::SlotMissing { .. })) {
            return error;
        }
        let settings = &self.context.settings;
        let discord = async {
            let catalog = self.context.catalog.link.client().await.map_err(PipelineError::Catalog)?;
            let recorded = SourceRecord::read(&catalog, settings.name()).await?.system_identifier;
            let found = ReplicationConnection::connect(settings.url()).await?.identify_system().await?;
            Ok::<Discord, PipelineError>(match found.system_identifier {
                same if same == recorded => Discord::SlotGone(settings.slot().to_owned()),
                found => Discord::OtherServer { recorded, found },
            })
        };
        discord.await.map_or(error, Into::into)
    }

    /// Goes on with the session where nobody else had the source in the meantime, else begins another.
    async fn take_over(&mut self, server: &Server<'_>, confirmed_flush_lsn: Lsn) -> Result<(), PipelineError> {
        let identity = server.identity;
        if let Some(session) = &self.session {
            server.check_replayed(session.progress.read_point().flush_lsn)?;
            let client = self.context.catalog.link.client().await.map_err(PipelineError::Catalog)?;
            let record = SourceRecord::read(&client, self.context.name()).await?;
            self.from_record = !session.fits(&record, identity, confirmed_flush_lsn);
            if !self.from_record {
                return Ok(());
            }
            info!(source = self.context.name(), "what is in memory does not fit: begins anew from the record");
        }
        self.from_record = true;
        self.session = None;
        self.backlog = Backlog::default();
        let client = self.context.catalog.link.client().await.map_err(PipelineError::Catalog)?;
        let record = SourceRecord::take(&client, self.context.name()).await?;
        let point = self.resume_point(&record, server, confirmed_flush_lsn)?;
        self.session = Some(Session::begin(&self.context, &record, identity.timeline, point).await?);
        Ok(())
    }

    fn resume_point(
        &self,
        record: &SourceRecord,
        server: &Server<'_>,
        confirmed_flush_lsn: Lsn,
    ) -> Result<ResumePoint, PipelineError> {
        let Server { identity, history, .. } = *server;
        let (recorded, found) = (record.system_identifier, identity.system_identifier);
        if recorded != found {
            return Err(Discord::OtherServer { recorded, found }.into());
        }
        for (what, configured, recorded) in [
            ("slot", self.context.settings.slot(), &record.slot),
            ("publication", self.context.settings.publication(), &record.publication),
        ] {
            if configured != recorded {
                let (configured, recorded) = (configured.to_owned(), recorded.clone());
                return Err(Discord::OtherName { what, configured, recorded }.into());
            }
        }
        let point = if record.timeline == identity.timeline {
            record.point.clone()
        } else {
            let foreign = PipelineError::ForeignTimeline { recorded: record.timeline, found: identity.timeline };
            let switch = history.switch_point_of(record.timeline).ok_or(foreign)?;
            info!(source = self.context.name(), timeline = identity.timeline, %switch, "the server is on a new timeline");
            record.point.clone().lowered_to(switch)
        };
        // Against the lowered point: a slot beyond the switch would pass over what the new timeline wrote below it.
        server.check_replayed(point.flush_lsn)?;
        check_slot(confirmed_flush_lsn, point.flush_lsn)?;
        check_server(identity, point.flush_lsn)?;
        Ok(point)
    }
}

impl Server<'_> {
    /// A standby that was restarted replays again what it had before, and is soon there.
    fn check_replayed(&self, needed: Lsn) -> Result<(), SourceError> {
        if self.is_standby && self.identity.flush_lsn < needed {
            return Err(SourceError::StandbyBehind { needed });
        }
        Ok(())
    }
}

fn check_slot(confirmed_flush_lsn: Lsn, persisted: Lsn) -> Result<(), PipelineError> {
    if confirmed_flush_lsn > persisted {
        return Err(Discord::SlotAhead { slot: confirmed_flush_lsn, checkpoint: persisted }.into());
    }
    Ok(())
}

fn check_server(identity: &SystemIdentity, checkpoint: Lsn) -> Result<(), PipelineError> {
    if identity.flush_lsn < checkpoint {
        return Err(PipelineError::ServerBehind { server: identity.flush_lsn, checkpoint });
    }
    Ok(())
}
