//! What `setup` tells while it works.

use super::identity::Hazard;
use super::note::UpkeepNote;

/// One line of what `setup` did or found.
#[derive(Debug)]
pub enum Note {
    /// Something that was done now.
    Done(String),
    /// Something that was so already.
    Found(String),
    /// Something dangerous, with its remedy.
    Hazard(Hazard),
}

/// Takes the notes as they come. Everything that `setup` does is told through it.
pub type Report<'a> = &'a mut (dyn FnMut(Note) + Send);

impl Note {
    pub(super) fn done(text: impl Into<String>) -> Self {
        Self::Done(text.into())
    }

    pub(super) fn found(text: impl Into<String>) -> Self {
        Self::Found(text.into())
    }

    pub(super) fn hazard(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Hazard(Hazard { what: what.into(), remedy: remedy.into() })
    }

    /// A thing that was made now, or was there.
    pub(super) fn made(made: bool, what: &str, found: &str) -> Self {
        if made { Self::Done(format!("made {what}")) } else { Self::Found(format!("{what} {found}")) }
    }
}

impl From<&UpkeepNote> for Note {
    fn from(note: &UpkeepNote) -> Self {
        match note {
            UpkeepNote::Missing { .. } => Self::found(format!("{note}; it is published when it appears")),
            UpkeepNote::Hazard(hazard) => Self::Hazard(hazard.clone()),
            UpkeepNote::PutBack { .. } => Self::hazard(note.to_string(), "alter the publication by `webhookdb` only"),
            UpkeepNote::Failed { error, .. } => {
                Self::hazard(format!("{note}: {error}"), error.hint().unwrap_or_default())
            }
            _ => Self::done(note.to_string()),
        }
    }
}
