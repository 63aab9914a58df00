//! Finds the config file and turns its text into settings.

use std::io;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::environment::Lookup;
use super::file::ConfigFile;
use super::tree::Reader;
use super::validate::validate;
use super::{ConfigError, Settings, files};

/// Where a config file is looked for, in this order, when none is named: beside the operator, then where packages put it.
const PLACES: [&str; 2] = ["config.toml", "/etc/webhookdb/config.toml"];

impl Settings {
    /// The settings of the file named, else of the first that there is of `./config.toml` and
    /// `/etc/webhookdb/config.toml`.
    ///
    /// # Errors
    ///
    /// No file, one that can't be read, or everything that is wrong with what it says.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let path = path.map_or_else(|| find(&PLACES.map(PathBuf::from)), |path| Ok(path.to_owned()))?;
        match files::read_text(&path) {
            Ok(text) => Self::parse(&path, &text),
            Err(source) => Err(ConfigError::Unreadable { path, source }),
        }
    }

    /// The settings that a file's text describes; `path` names it in problems, and relative names of files in it start at
    /// its directory.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with what it says.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        parse(path, text, &|name| std::env::var(name))
    }
}

/// The first of these that is there, be it to be read or not.
fn find(places: &[PathBuf]) -> Result<PathBuf, ConfigError> {
    for place in places {
        match place.symlink_metadata() {
            Err(error) if is_absent(&error) => {}
            _ => return Ok(place.clone()),
        }
    }
    Err(ConfigError::NotFound { tried: places.to_vec() })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

pub(super) fn parse(path: &Path, text: &str, lookup: Lookup<'_>) -> Result<Settings, ConfigError> {
    let mut reader = Reader::new(text, lookup);
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = error.span().map_or(1, |span| reader.line(span.start));
        reader.problems.add_broken_line(line, error.message());
    }
    let file = ConfigFile::read(root.get_ref(), &mut reader);
    let directory = path.parent().unwrap_or(Path::new(""));
    match validate(file, directory, &mut reader.problems) {
        Ok(settings) if reader.problems.is_empty() => Ok(settings),
        _ => Err(ConfigError::Invalid { path: path.to_owned(), problems: reader.problems.into_list() }),
    }
}
