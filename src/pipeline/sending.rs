//! Threads of their own for the requests: an endpoint's answers are taken in as they come, many at a time, while others read the
//! log. On shared threads each half wakes threads for the other, and both wait for them.

use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle, Runtime};

use super::heart::Heart;

/// Half of the cores: a request takes about as long as reading, matching and ordering its change, and the kernel's part of it.
fn threads() -> usize {
    (cores() / 2).max(1)
}

/// So many threads are for all else: more of them would take the cores from those that send.
#[must_use]
pub fn other_threads() -> usize {
    cores().saturating_sub(threads()).max(1)
}

/// Those that this process may use.
pub(super) fn cores() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

/// The threads, until it is dropped.
pub(super) struct Sending {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Sending {
    /// Starts them.
    ///
    /// # Errors
    /// Where the system gives no more threads.
    pub(super) fn start(heart: &Heart) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(threads()).thread_name("sending").enable_all().build()?;
        let (handle, heart) = (runtime.handle().clone(), heart.clone());
        handle.spawn(async move { heart.watch("sending", std::future::pending::<()>()).await });
        Ok(Self { handle, runtime: Some(runtime) })
    }

    /// Where requests are to be spawned; none of them runs once the threads are gone.
    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // What hangs there (a name being resolved) must not hold up the end.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ServiceManager;

    #[tokio::test]
    async fn requests_run_on_threads_of_their_own_which_end_with_it() {
        let sending = Sending::start(&Heart::new(ServiceManager::default())).expect("there are threads");
        let handle = sending.handle();
        let name = handle.spawn(async { std::thread::current().name().map(str::to_owned) }).await;
        assert_eq!(name.expect("it runs").as_deref(), Some("sending"));
        let hangs = handle.spawn(std::future::pending::<()>());
        drop(sending);
        assert!(hangs.await.is_err_and(|error| error.is_cancelled()));
    }

    #[test]
    fn the_cores_are_shared_out_and_each_half_has_one() {
        assert!(threads() >= 1 && other_threads() >= 1);
        assert!(threads() + other_threads() <= cores().max(2));
    }
}
