//! Where the programs of a Postgres server are on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::throwaway_error::ThrowawayError;

/// The directory that holds `initdb` and `postgres`.
#[derive(Clone, Debug)]
pub(super) struct Binaries(PathBuf);

impl Binaries {
    /// Where `PG_BIN` says, and only there; else the first of: `PATH`, `pg_config`, the places of distributions.
    pub(super) fn find() -> Result<Self, ThrowawayError> {
        if let Some(named) = std::env::var_os("PG_BIN").filter(|value| !value.is_empty()) {
            let directory = PathBuf::from(named);
            return Self::at(&directory).ok_or(ThrowawayError::NotInPgBin { directory });
        }
        let places = on_path().into_iter().chain(told_by_pg_config()).chain(packaged());
        places.into_iter().find_map(|place| Self::at(&place)).ok_or(ThrowawayError::NoBinaries)
    }

    /// `initdb` and `postgres` are both needed, from one directory: a client-only installation has neither.
    fn at(directory: &Path) -> Option<Self> {
        let complete = directory.join("initdb").is_file() && directory.join("postgres").is_file();
        complete.then(|| Self(directory.to_path_buf()))
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.0.join("initdb")
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.0.join("postgres")
    }
}

/// The directory where each `postgres` of `PATH` really is: it finds its own libraries and `share` beside it, and a
/// link may stand where an unprivileged user can't follow.
fn on_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let real = |directory: PathBuf| Some(directory.join("postgres").canonicalize().ok()?.parent()?.to_path_buf());
    std::env::split_paths(&path).filter_map(real).collect()
}

fn told_by_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

/// Debian and Ubuntu, PGDG's RPMs, and Homebrew on either kind of Mac; in each place the newest version first.
fn packaged() -> Vec<PathBuf> {
    let mut places = Vec::new();
    places.extend(versions_in("/usr/lib/postgresql", ""));
    places.extend(versions_in("/usr", "pgsql-"));
    places.extend(versions_in("/opt/homebrew/opt", "postgresql"));
    places.extend(versions_in("/usr/local/opt", "postgresql"));
    places
}

/// `PARENT/PREFIX*/bin`, by descending version number.
fn versions_in(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<(u32, String)> =
        names.filter(|name| name.starts_with(prefix)).map(|name| (version(&name, prefix), name)).collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, name)| Path::new(parent).join(name).join("bin")).collect()
}

/// The number in `15`, `pgsql-17` or `postgresql@16`; an unversioned `postgresql` comes last.
fn version(name: &str, prefix: &str) -> u32 {
    let rest = name.strip_prefix(prefix).unwrap_or(name);
    rest.trim_start_matches(['@', '-']).split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_of_a_place_comes_first() {
        let place = tempfile::tempdir().expect("a directory");
        for name in ["postgresql@9.6", "postgresql", "postgresql@17", "postgresql@14", "other"] {
            std::fs::create_dir(place.path().join(name)).expect("a directory");
        }
        let found = versions_in(place.path().to_str().expect("UTF-8"), "postgresql");
        let names: Vec<_> = found.iter().map(|bin| bin.parent().expect("parent").file_name().expect("name")).collect();
        assert_eq!(names, ["postgresql@17", "postgresql@14", "postgresql@9.6", "postgresql"]);
    }

    #[test]
    fn a_directory_without_initdb_is_passed_over() {
        let place = tempfile::tempdir().expect("a directory");
        std::fs::write(place.path().join("postgres"), "").expect("a file");
        assert!(Binaries::at(place.path()).is_none());
    }
}
