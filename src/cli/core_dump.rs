//! A crash leaves no copy of the memory behind, in which passwords and signing secrets are.

use nix::sys::resource::{Resource, setrlimit};

/// Forbids it to the kernel, for this process. The limit holds for programs that it starts too; that it is not dumpable
/// besides, for handlers of core dumps, which the limit does not stop, and for debuggers of the same account.
///
/// # Errors
/// Where the kernel refuses.
pub(super) fn forbid() -> nix::Result<()> {
    let limited = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?;
    limited
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::resource::getrlimit;

    #[test]
    fn the_process_is_neither_dumped_nor_dumpable() {
        forbid().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_CORE), Ok((0, 0)));
        #[cfg(target_os = "linux")]
        assert_eq!(nix::sys::prctl::get_dumpable(), Ok(false));
    }
}
