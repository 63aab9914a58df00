//! The TOML tree, read key by key with the line of each, so that a problem never hides the next.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::{Lookup, expand};
use super::problems::{Problems, Reported};
use super::suggest::suggest;

/// What is shown of a text that does not fit is cut after so many characters: enough to find it by.
const SHOWN_LENGTH_MAX: usize = 60;

/// Where something stands in the file.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) key: String,
}

/// A value and where it stands.
pub(super) struct Entry<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A key's value: absent, there, or of a wrong type, which is already reported.
pub(super) type Field<T> = Result<Option<Entry<T>>, Reported>;

/// An array's strings, each by itself.
pub(super) type TextList = Result<Vec<Result<Entry<Text>, Reported>>, Reported>;

/// A string value. It has no `Debug` on purpose: the environment's part of it may be secret.
pub(super) struct Text {
    written: String,
    expanded: String,
}

impl Text {
    /// What it means, the environment's variables filled in.
    pub(super) fn as_str(&self) -> &str {
        &self.expanded
    }

    /// What a problem may show of it: as it is written, never what a variable holds, and nothing that may be a URL with a
    /// password in it.
    pub(super) fn shown(&self) -> String {
        let quoted = show(&self.written);
        if self.written == self.expanded { quoted } else { format!("the value of {quoted}") }
    }
}

/// Quotes a text of the file for a problem, unless it looks like a URL that got into the wrong place.
fn show(text: &str) -> String {
    if text.contains("://") || text.contains('@') {
        return "what looks like a URL".to_owned();
    }
    let mut cut: String = text.chars().take(SHOWN_LENGTH_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}

/// A key of one section that the program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownKey {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
}

/// What reading the tree needs throughout, and gathers.
pub(super) struct Reader<'r> {
    text: &'r str,
    line_starts: Vec<usize>,
    lookup: Lookup<'r>,
    pub(super) problems: Problems,
    /// Every key that any section was asked for: the list of known keys is the code that reads them.
    pub(super) known: Vec<KnownKey>,
}

impl<'r> Reader<'r> {
    pub(super) fn new(text: &'r str, lookup: Lookup<'r>) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_newlines).collect();
        Self { text, line_starts, lookup, problems: Problems::default(), known: Vec::new() }
    }

    /// The line, from 1, that holds this byte of the file.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// A line that is not TOML. Where it was to be a section's head, nobody knows whose the keys below it are, so that
    /// nothing is held against them.
    pub(super) fn syntax_error(&mut self, offset: usize, message: &str) {
        let line = self.line(offset);
        self.problems.add_broken_line(line, message);
        let mut below = self.line_starts.iter().enumerate().skip(line - 1);
        if below.next().is_some_and(|(_, start)| is_head(self.text, *start)) {
            let headless = below.take_while(|(_, start)| !is_head(self.text, **start));
            self.problems.ignore_lines(headless.map(|(index, _)| index + 1));
        }
    }

    fn text(&mut self, value: &DeValue<'_>, expected: &str, place: Place) -> Result<Entry<Text>, Reported> {
        let DeValue::String(written) = value else { return Err(self.wrong_type(&place, expected, value)) };
        match expand(written, self.lookup) {
            Ok(expanded) => Ok(Entry { value: Text { written: written.as_ref().to_owned(), expanded }, place }),
            Err(problems) => {
                for problem in problems {
                    self.problems.add(&place, problem);
                }
                Err(Reported)
            }
        }
    }

    fn wrong_type(&mut self, place: &Place, expected: &str, found: &DeValue<'_>) -> Reported {
        let article = if matches!(found, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
        self.problems.add(place, format!("expected {expected}, found {article} {}", found.type_str()))
    }
}

/// Whether a section's head begins at this start of a line.
fn is_head(text: &str, line_start: usize) -> bool {
    text.get(line_start..).is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with('['))
}

/// One table of the file; one that is absent reads as empty.
pub(super) struct Section<'t> {
    name: &'static str,
    table: Option<&'t DeTable<'t>>,
    line: usize,
    asked: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// `name` is how the operator writes it, `[delivery]` or `[[source]]`.
    pub(super) const fn new(name: &'static str, table: Option<&'t DeTable<'t>>, line: usize) -> Self {
        Self { name, table, line, asked: Vec::new() }
    }

    /// Where a missing key is missing, or the section itself stands where no key is given.
    pub(super) fn place(&self, key: &str) -> Place {
        Place { line: self.line, key: self.key(key) }
    }

    fn key(&self, key: &str) -> String {
        if key.is_empty() { self.name.to_owned() } else { format!("{} {key}", self.name) }
    }

    fn take(&mut self, key: &'static str, reader: &Reader<'_>) -> Option<(&'t DeValue<'t>, Place)> {
        self.asked.push(key);
        let (name, value) = self.table?.get_key_value(key)?;
        let place = Place { line: reader.line(name.span().start), key: self.key(key) };
        Some((value.get_ref(), place))
    }

    pub(super) fn text(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Field<Text> {
        let Some((value, place)) = self.take(key, reader) else { return Ok(None) };
        reader.text(value, "a string", place).map(Some)
    }

    pub(super) fn integer(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Field<i64> {
        let Some((value, place)) = self.take(key, reader) else { return Ok(None) };
        let DeValue::Integer(integer) = value else { return Err(reader.wrong_type(&place, "an integer", value)) };
        match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) => Ok(Some(Entry { value, place })),
            Err(_) => Err(reader.problems.add(&place, "expected an integer of at most 64 bits")),
        }
    }

    pub(super) fn boolean(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Field<bool> {
        let Some((value, place)) = self.take(key, reader) else { return Ok(None) };
        match *value {
            DeValue::Boolean(value) => Ok(Some(Entry { value, place })),
            _ => Err(reader.wrong_type(&place, "true or false", value)),
        }
    }

    /// The strings of an array, each at its own line.
    pub(super) fn texts(&mut self, key: &'static str, reader: &mut Reader<'_>) -> TextList {
        const EXPECTED: &str = "an array of strings";
        let Some((value, place)) = self.take(key, reader) else { return Ok(Vec::new()) };
        let DeValue::Array(elements) = value else { return Err(reader.wrong_type(&place, EXPECTED, value)) };
        let mut read = |element: &Spanned<DeValue<'_>>| {
            let place = Place { line: reader.line(element.span().start), key: place.key.clone() };
            reader.text(element.get_ref(), EXPECTED, place)
        };
        Ok(elements.iter().map(&mut read).collect())
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self, reader: &mut Reader<'_>) {
        for (name, _) in self.table.into_iter().flatten() {
            if !self.asked.iter().any(|asked| asked == name.get_ref()) {
                let place = Place { line: reader.line(name.span().start), key: self.key(&show_key(name.get_ref())) };
                reader.problems.add(&place, unknown_key(name.get_ref(), &self.asked));
            }
        }
        let section = self.name;
        let known = self.asked.into_iter().map(|key| KnownKey { section, key });
        reader.known.extend(known);
    }
}

fn unknown_key(name: &str, known: &[&'static str]) -> String {
    match suggest(name, known.iter().copied()) {
        Some(nearest) => format!("unknown key; did you mean {nearest}?"),
        None => format!("unknown key; expected one of {}", known.join(", ")),
    }
}

/// A key as a problem may show it: bare where TOML allows it bare.
pub(super) fn show_key(name: &str) -> String {
    let bare = name.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-'));
    if bare && !name.is_empty() && name.len() <= SHOWN_LENGTH_MAX { name.to_owned() } else { show(name) }
}
