//! The timelines that led to the present one: which of them owns a position.

use super::SourceError;
use crate::model::Lsn;

/// What TIMELINE_HISTORY says of a timeline: its ancestors, and where each was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineHistory {
    timeline: u32,
    /// Ancestors from the oldest on, each with the position at which the next one began.
    ancestors: Vec<(u32, Lsn)>,
}

impl TimelineHistory {
    /// The history of timeline 1, which has no ancestors, and no history file on the server.
    #[must_use]
    pub const fn first() -> Self {
        Self { timeline: 1, ancestors: Vec::new() }
    }

    /// Reads a history file: lines of timeline, switch point and reason, parted by tabs; `#` begins a comment.
    ///
    /// # Errors
    /// Where a line has another form, or the timelines or switch points do not grow.
    pub fn parse(timeline: u32, content: &str) -> Result<Self, SourceError> {
        let lines =
            content.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty() && !line.trim().starts_with('#'));
        let mut ancestors: Vec<(u32, Lsn)> = Vec::new();
        for (line, number) in lines {
            let wrong = SourceError::Malformed { what: "a line of the timeline history", value: number };
            let ancestor = ancestor(line).filter(|(id, switch)| {
                *id < timeline && ancestors.last().is_none_or(|(before, at)| before < id && at <= switch)
            });
            ancestors.push(ancestor.ok_or(wrong)?);
        }
        Ok(Self { timeline, ancestors })
    }

    /// The timeline whose history this is.
    #[must_use]
    pub const fn timeline(&self) -> u32 {
        self.timeline
    }

    /// The timeline on which the record at `lsn` was written.
    #[must_use]
    pub fn owner_of(&self, lsn: Lsn) -> u32 {
        self.ancestors.iter().find(|(_, switch)| lsn < *switch).map_or(self.timeline, |(id, _)| *id)
    }

    /// Where an ancestor was left for the next timeline; `None` for the present one, which was not, and for a stranger.
    #[must_use]
    pub fn switch_point_of(&self, timeline: u32) -> Option<Lsn> {
        self.ancestors.iter().find(|(id, _)| *id == timeline).map(|(_, switch)| *switch)
    }

    /// Whether this timeline is the present one or led to it.
    #[must_use]
    pub fn contains(&self, timeline: u32) -> bool {
        timeline == self.timeline || self.switch_point_of(timeline).is_some()
    }
}

fn ancestor(line: &str) -> Option<(u32, Lsn)> {
    let mut fields = line.split_whitespace();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const THIRD: &str = "1\t0/3000148\tno recovery target specified\n\n# a comment\n2\t0/5000060\tbefore 2026-01-01\n";

    #[test]
    fn a_switch_point_belongs_to_the_timeline_that_begins_there() {
        let history = TimelineHistory::parse(3, THIRD).unwrap();
        for (lsn, owner) in
            [("0/0", 1), ("0/3000147", 1), ("0/3000148", 2), ("0/500005F", 2), ("0/5000060", 3), ("9/0", 3)]
        {
            assert_eq!(history.owner_of(lsn.parse().unwrap()), owner, "{lsn}");
        }
        assert_eq!(history.switch_point_of(1), "0/3000148".parse().ok());
        assert_eq!(history.switch_point_of(2), "0/5000060".parse().ok());
        assert_eq!((history.switch_point_of(3), history.switch_point_of(7)), (None, None));
        assert!(history.contains(1) && history.contains(3) && !history.contains(7));
    }

    #[test]
    fn the_first_timeline_owns_everything() {
        assert_eq!(TimelineHistory::first().owner_of(Lsn::new(u64::MAX)), 1);
        assert_eq!(TimelineHistory::parse(1, "").unwrap(), TimelineHistory::first());
    }

    #[test]
    fn a_history_that_makes_no_sense_is_refused_with_its_line() {
        for (content, line) in
            [("1\n", 1), ("\n1\t0-7\tx\n", 2), ("1\t0/7\tx\n1\t0/8\tx\n", 2), ("1\t0/7\n2\t0/6\n", 2), ("3\t0/7\n", 1)]
        {
            let error = TimelineHistory::parse(3, content).unwrap_err();
            assert!(matches!(error, SourceError::Malformed { value, .. } if value == line), "{content:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(content: String, timeline: u32) {
            let _ = TimelineHistory::parse(timeline, &content);
        }
    }
}
