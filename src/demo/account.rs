//! Who the server runs as: never root.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{User, geteuid};
use tempfile::TempDir;

use super::throwaway_error::{ThrowawayError, io_error};

/// A Unix socket's path may be 103 bytes long on macOS; the directory's own name and the socket's take under 50.
const SOCKET_DIRECTORY_BYTES_MAX: usize = 50;

/// The unprivileged user that the server runs under where this process is root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// None is needed where this process is unprivileged itself.
    pub(super) fn for_server() -> Result<Option<Self>, ThrowawayError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let known = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
        let user = known.filter(|user| !user.uid.is_root()).ok_or(ThrowawayError::NoAccount)?;
        Ok(Some(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
    }

    pub(super) fn apply(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}

/// A directory that only the server's account may enter, in a place short enough for a socket.
pub(super) fn private_directory(account: Option<&Account>) -> Result<TempDir, ThrowawayError> {
    let usual = std::env::temp_dir();
    let parent = if usual.as_os_str().len() > SOCKET_DIRECTORY_BYTES_MAX { PathBuf::from("/tmp") } else { usual };
    let made = tempfile::Builder::new()
        .prefix("webhookdb-pg-")
        .permissions(PermissionsExt::from_mode(0o700))
        .tempdir_in(parent);
    let directory = made.map_err(io_error("make a temporary directory"))?;
    hand_over(directory.path(), account)?;
    Ok(directory)
}

/// Makes the account the owner of a file.
pub(super) fn hand_over(path: &Path, account: Option<&Account>) -> Result<(), ThrowawayError> {
    let Some(Account { uid, gid }) = account else { return Ok(()) };
    chown(path, Some(*uid), Some(*gid)).map_err(io_error("hand a file over to the account of Postgres"))
}
