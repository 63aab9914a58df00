//! A database's URL, written in the config file or in a file that it names. Nothing of it is ever shown.

use std::path::Path;

use super::PostgresUrl;
use super::file::UrlFile;
use super::files;
use super::problems::{Problems, Reported};
use super::tree::{Entry, Place};

/// The URL that a section gives; `None` where it gives none.
pub(super) fn database(
    file: UrlFile,
    directory: &Path,
    problems: &mut Problems,
) -> Result<Option<PostgresUrl>, Reported> {
    match (file.url?, file.url_file?) {
        (None, None) => Ok(None),
        (Some(url), None) => parse(url.value.as_str(), &url.place, problems).map(Some),
        (None, Some(name)) => read_and_parse(&directory.join(name.value.as_str()), &name.place, problems).map(Some),
        (Some(_), Some(Entry { place, .. })) => {
            Err(problems.add(&place, "expected a URL or a file that holds it, found both"))
        }
    }
}

fn read_and_parse(path: &Path, place: &Place, problems: &mut Problems) -> Result<PostgresUrl, Reported> {
    match files::read_text(path) {
        Ok(text) => parse(text.trim_end_matches(['\r', '\n']), place, problems),
        Err(error) => Err(problems.add(place, files::cannot_read(&error))),
    }
}

fn parse(text: &str, place: &Place, problems: &mut Problems) -> Result<PostgresUrl, Reported> {
    let url: PostgresUrl = match text.parse() {
        Ok(url) => url,
        Err(error) => return Err(problems.add(place, format!("not a Postgres URL that can be used: {error}"))),
    };
    check_files(&url, place, problems).map(|()| url)
}

fn check_files(url: &PostgresUrl, place: &Place, problems: &mut Problems) -> Result<(), Reported> {
    let mut outcome = Ok(());
    if let Some(Err(error)) = url.ssl_root_cert.as_deref().map(files::check_certificates) {
        outcome = Err(problems.add(place, format!("sslrootcert: {error}")));
    }
    for (parameter, path) in [("sslcert", &url.ssl_cert), ("sslkey", &url.ssl_key)] {
        if let Some(Err(error)) = path.as_deref().map(files::read) {
            outcome = Err(problems.add(place, format!("{parameter}: {}", files::cannot_read(&error))));
        }
    }
    outcome
}
