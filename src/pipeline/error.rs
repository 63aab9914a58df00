//! Why a source is not served, or the daemon cannot run.

use std::time::Duration;

use crate::admin::AdminError;
use crate::catalog::CatalogError;
use crate::checkpoint::{CheckpointError, ForeignHistory};
use crate::decode::DecodeError;
use crate::deliver::PosterError;
use crate::model::Lsn;
use crate::outbox::OutboxError;
use crate::postgres::PostgresError;
use crate::setup::{Discord, SetupError};
use crate::source::SourceError;

/// Why a source is not served, or the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The source's server, its slot or its publication.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The catalog's server.
    #[error("the catalog is not reached")]
    Catalog(#[source] PostgresError),
    /// The catalog's server does not answer.
    #[error("the catalog did not answer within {within:?}")]
    CatalogSilent {
        /// How long it was given.
        within: Duration,
    },
    /// The system gives the daemon no more threads.
    #[error("no threads can be started")]
    Threads(#[source] std::io::Error),
    /// What the catalog holds.
    #[error(transparent)]
    CatalogContent(#[from] CatalogError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The publication's upkeep.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The record and the server do not fit.
    #[error(transparent)]
    Discord(#[from] Discord),
    /// The log is another one than the checkpoint was made in.
    #[error(transparent)]
    Foreign(#[from] ForeignHistory),
    /// The server's log ends before the checkpoint.
    #[error(
        "the server's log ends at {server}, before the checkpoint at {checkpoint}: it was restored from an older copy, or failed over to a standby that lagged"
    )]
    ServerBehind {
        /// Where the server's log ends.
        server: Lsn,
        /// What was settled.
        checkpoint: Lsn,
    },
    /// The server's timeline does not descend from the checkpoint's.
    #[error("timeline {found} of the server does not descend from timeline {recorded} of the checkpoint")]
    ForeignTimeline {
        /// The checkpoint's.
        recorded: u32,
        /// The server's.
        found: u32,
    },
    /// The stream cannot be read.
    #[error("the stream cannot be read")]
    Decode(#[from] DecodeError),
    /// A change refers to something that the stream did not introduce.
    #[error("the stream is out of order: {0}")]
    OutOfOrder(&'static str),
    /// A published table that nobody knows.
    #[error("table {schema}.{table} (OID {oid}) is published but belongs to no integration")]
    UnknownRelation {
        /// Its schema.
        schema: String,
        /// Its name.
        table: String,
        /// Its OID.
        oid: u32,
    },
    /// Another daemon has taken over.
    #[error("another daemon has taken over")]
    Fenced,
    /// Endpoints cannot be reached at all.
    #[error(transparent)]
    Poster(#[from] PosterError),
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Metrics cannot be recorded.
    #[error("metrics cannot be recorded")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// A task has panicked: a bug.
    #[error("a task of the daemon has panicked")]
    Panic(#[from] tokio::task::JoinError),
}

impl From<tokio_postgres::Error> for PipelineError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Source(error.into())
    }
}

impl PipelineError {
    /// Whether it may pass by itself.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Source(error) => error.is_retryable(),
            Self::Catalog(error) => error.is_retryable(),
            Self::CatalogContent(error) => error.is_retryable(),
            Self::Checkpoint(error) => error.is_retryable(),
            Self::Setup(error) => error.is_retryable(),
            Self::Outbox(_) | Self::CatalogSilent { .. } | Self::Fenced | Self::OutOfOrder(_) => true,
            Self::Discord(_)
            | Self::Foreign(_)
            | Self::ServerBehind { .. }
            | Self::ForeignTimeline { .. }
            | Self::Decode(_)
            | Self::UnknownRelation { .. }
            | Self::Poster(_)
            | Self::Admin(_)
            | Self::Metrics(_)
            | Self::Threads(_)
            | Self::Panic(_) => false,
        }
    }

    /// Whether the server and the record do not belong together, or the slot that they had in common is lost.
    pub(super) const fn is_discord(&self) -> bool {
        matches!(self, Self::Discord(_) | Self::Source(SourceError::SlotInvalidated { .. })) || self.is_foreign()
    }

    /// As metrics name it.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Source(error) => error.label(),
            Self::Discord(error) => error.label(),
            Self::Foreign(_) => "foreign_history",
            Self::ServerBehind { .. } => "server_behind",
            Self::ForeignTimeline { .. } => "foreign_timeline",
            Self::CatalogContent(CatalogError::Sealed { .. }) => "sealed_secrets",
            Self::Catalog(_) | Self::CatalogSilent { .. } | Self::CatalogContent(_) => "catalog",
            Self::Checkpoint(_) => "checkpoint",
            Self::Outbox(_) => "outbox",
            Self::Setup(_) => "publication",
            Self::Decode(_) | Self::OutOfOrder(_) => "unreadable",
            Self::UnknownRelation { .. } => "unknown_table",
            Self::Fenced => "taken_over",
            Self::Poster(_) | Self::Admin(_) | Self::Metrics(_) | Self::Threads(_) | Self::Panic(_) => "daemon",
        }
    }

    /// Whether the server's history is another one than the record's, which only reading it shows.
    pub(super) const fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign(_) | Self::ServerBehind { .. } | Self::ForeignTimeline { .. })
    }

    /// The commit LSN of a transaction that the server cannot send; none within where it is not known.
    pub(super) const fn unsent(&self) -> Option<Option<Lsn>> {
        match self {
            Self::Source(SourceError::CannotSend { commit_lsn, .. }) => Some(*commit_lsn),
            _ => None,
        }
    }

    /// What the operator should do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        const ACCEPT_GAP: &str = "changes may be missing or come twice; if this server is meant, run `webhookdb setup --accept-gap`: \
                                  it begins anew at the present position and records the gap";
        match self {
            Self::Source(error) => error.hint(),
            Self::Catalog(error) => error.hint(),
            Self::CatalogContent(error) => error.hint(),
            Self::Checkpoint(error) => error.hint(),
            Self::Setup(error) => error.hint(),
            Self::Discord(error) => Some(error.hint()),
            Self::Foreign(_) | Self::ServerBehind { .. } | Self::ForeignTimeline { .. } => Some(ACCEPT_GAP.into()),
            Self::UnknownRelation { .. } => Some(
                "add its integration (`webhookdb integrations add`), or run `webhookdb setup`, which records it as unassigned \
                 so that its changes are passed over"
                    .into(),
            ),
            Self::Threads(_) => Some("raise the limit of its processes and threads (`TasksMax=` of its unit, `ulimit -u`)".into()),
            Self::Admin(_) => Some("choose another [http] listen, or port 0 for any free one".into()),
            _ => None,
        }
    }
}
