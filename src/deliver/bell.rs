//! How the parts of one future call each other: those that are polled together by one task need not wake it for one another.
//! It would be put in line once more, and another thread woken to take it over, where a second look does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Nobody is there, or whoever waits has been called already.
const RUNG: u8 = 0;
/// They are being polled.
const POLLED: u8 = 1;
/// A task waits for them.
const AWAITED: u8 = 2;

/// Parts that go on calling one another let other tasks have their turn after so many looks.
const LOOKS: usize = 8;

/// What wakes the parts, the same for as long as they live.
pub(super) struct Bell {
    line: Arc<Line>,
    waker: Waker,
}

struct Line {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Bell {
    pub(super) fn new() -> Self {
        let line = Arc::new(Line { state: AtomicU8::new(RUNG), task: AtomicWaker::new() });
        Self { waker: Waker::from(line.clone()), line }
    }

    /// For a look at them while nobody waits.
    pub(super) const fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Polls until there is a result, or none of the parts has called another.
    pub(super) fn answer<T>(&self, task: &Context<'_>, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.line.task.register(task.waker());
        let mut context = Context::from_waker(&self.waker);
        for _ in 0..LOOKS {
            self.line.state.store(POLLED, Ordering::SeqCst);
            if let Poll::Ready(result) = poll(&mut context) {
                self.line.state.store(RUNG, Ordering::SeqCst);
                self.line.task.take();
                return Poll::Ready(result);
            }
            let quiet = self.line.state.compare_exchange(POLLED, AWAITED, Ordering::SeqCst, Ordering::SeqCst);
            if quiet.is_ok() {
                return Poll::Pending;
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Line {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, Ordering::SeqCst) == AWAITED {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn parts_that_call_one_another_are_looked_at_again_and_wake_no_task() {
        let (bell, woken) = (Bell::new(), Arc::new(Woken::default()));
        let waker = Waker::from(woken.clone());
        let (sender, mut receiver) = oneshot::channel();
        let mut sender = Some(sender);
        let mut looks = 0;
        let answered = bell.answer(&Context::from_waker(&waker), |context| {
            looks += 1;
            let received = receiver.poll_unpin(context);
            sender.take().map(|sender| sender.send(7));
            received
        });
        assert_eq!((answered, looks), (Poll::Ready(Ok(7)), 2));
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_waits_is_woken_from_outside_whenever_that_is() {
        let bell = Bell::new();
        for n in 0..10_000 {
            let (sender, mut receiver) = oneshot::channel();
            let rings = tokio::spawn(async move { sender.send(n) });
            let heard = poll_fn(|task| bell.answer(task, |context| receiver.poll_unpin(context))).await;
            assert_eq!(heard, Ok(n));
            assert_eq!(rings.await.expect("it rings"), Ok(()));
        }
    }

    #[test]
    fn parts_that_never_come_to_rest_let_others_have_their_turn() {
        let (bell, woken) = (Bell::new(), Arc::new(Woken::default()));
        let waker = Waker::from(woken.clone());
        let restless = bell.answer(&Context::from_waker(&waker), |context| {
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(restless.is_pending());
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn nobody_is_woken_who_does_not_wait() {
        let (bell, woken) = (Bell::new(), Arc::new(Woken::default()));
        let waker = Waker::from(woken.clone());
        assert!(bell.answer(&Context::from_waker(&waker), |_| Poll::<()>::Pending).is_pending());
        assert!(bell.answer(&Context::from_waker(&waker), |_| Poll::Ready(())).is_ready());
        bell.waker().wake_by_ref();
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        assert_eq!(Arc::strong_count(&woken), 2, "nothing is kept of a task that has got what it waited for");
    }
}
