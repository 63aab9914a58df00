//! Gathers what is wrong, so that the operator hears of all of it at once.

use std::collections::BTreeSet;

use super::Problem;
use super::tree::Place;

/// Bears witness that the problem which keeps a value from being built is already in the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported;

/// Every problem found so far.
#[derive(Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    /// Lines that are not TOML: what their remains seem to say is not held against them too.
    broken_lines: BTreeSet<usize>,
    /// Lines of which nobody can tell what they belong to.
    ignored_lines: BTreeSet<usize>,
}

impl Problems {
    pub(super) fn add(&mut self, place: &Place, message: impl Into<String>) -> Reported {
        if !self.broken_lines.contains(&place.line) && !self.ignored_lines.contains(&place.line) {
            self.list.push(Problem { line: place.line, key: place.key.clone(), message: message.into() });
        }
        Reported
    }

    /// A value that has to be there and is not. Where some line is broken, the value may be what broke, so nothing is said.
    pub(super) fn add_missing(&mut self, place: &Place, message: impl Into<String>) -> Reported {
        if self.broken_lines.is_empty() { self.add(place, message) } else { Reported }
    }

    /// A line that is not TOML.
    pub(super) fn add_broken_line(&mut self, line: usize, message: &str) {
        if self.broken_lines.insert(line) {
            self.list.push(Problem { line, key: String::new(), message: message.to_owned() });
        }
    }

    /// Says nothing about what these lines seem to say.
    pub(super) fn ignore_lines(&mut self, lines: impl Iterator<Item = usize>) {
        self.ignored_lines.extend(lines);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// In the order of the lines.
    pub(super) fn into_list(mut self) -> Vec<Problem> {
        self.list.sort_by_key(|problem| problem.line);
        self.list
    }
}
