//! Limits one wait after another.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// A timer that is put off for each wait: that costs next to nothing, where one of its own for each is set up and taken down.
#[derive(Debug, Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// What comes of `future`, unless it takes until then.
    pub async fn limit<F: Future>(&mut self, until: Instant, future: F) -> Option<F::Output> {
        let until = until.into();
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        sleep.as_mut().reset(until);
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn each_wait_has_its_own_limit_whatever_the_one_before_had() {
        let (mut timer, soon, late) = (Timer::default(), Duration::from_millis(5), Duration::from_secs(3600));
        for _ in 0..3 {
            assert_eq!(timer.limit(Instant::now() + late, ready(7)).await, Some(7));
            let begun = Instant::now();
            assert_eq!(timer.limit(begun + soon, pending::<()>()).await, None);
            assert!((soon..late).contains(&begun.elapsed()));
        }
        assert_eq!(timer.limit(Instant::now(), ready(7)).await, Some(7), "what is there is taken");
    }
}
