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
        reader.syntax_error(error.span().map_or(0, |span| span.start), error.message());
    }
    let file = ConfigFile::read(root.get_ref(), &mut reader);
    let directory = path.parent().unwrap_or(Path::new(""));
    match validate(file, directory, &mut reader.problems) {
        Ok(settings) if reader.problems.is_empty() => Ok(settings),
        _ => Err(ConfigError::Invalid { path: path.to_owned(), problems: reader.problems.into_list() }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_place_that_has_a_file_wins() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let places = ["first.toml", "second.toml"].map(|name| directory.path().join(name));
        let [first, second] = &places;
        let error = find(&places).expect_err("no file").to_string();
        let expected = format!("no config file: there is neither {} nor {}", first.display(), second.display());
        assert_eq!(error, expected);
        fs::write(second, "").expect("a file");
        assert_eq!(&find(&places).expect("a file"), second);
        fs::write(first, "").expect("a file");
        assert_eq!(&find(&places).expect("a file"), first);
    }

    #[test]
    fn a_named_file_is_the_only_one_tried() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("mine.toml");
        assert!(
            matches!(Settings::load(Some(&path)), Err(ConfigError::Unreadable { path: named, .. }) if named == path)
        );
        assert!(matches!(Settings::load(Some(directory.path())), Err(ConfigError::Unreadable { .. })));
        fs::write(&path, "[catalog]\nurl = 'postgres://u@h/d'\n").expect("a file");
        assert_eq!(Settings::load(Some(&path)).expect("settings").catalog().url().host, "h");
        fs::write(&path, b"\xff").expect("a file");
        assert!(matches!(Settings::load(Some(&path)), Err(ConfigError::Unreadable { .. })));
    }
}
