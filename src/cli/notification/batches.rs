//! The options that put several notifications into one request.

use std::time::Duration;

use clap::Args;

use super::super::failure::Advice;
use crate::model::Batching;

/// For how long a request that is not full waits, where nothing else is said: hardly noticed, and long enough under load.
const LINGER: Duration = Duration::from_millis(50);

/// How notifications are put together.
#[derive(Args, Debug)]
pub(super) struct BatchArgs {
    /// Send up to this many notifications in one request, from 1 to 1000, as {"type": "batch", "notifications": […]}
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=Batching::SIZE_MAX as u64))]
    batch: Option<u64>,
    /// For how long a request that is not full waits for more, such as 50ms, at most 2s; 50ms where --batch is given alone
    #[arg(long, value_name = "DURATION", value_parser = linger)]
    linger: Option<Duration>,
}

impl BatchArgs {
    /// What is asked for, beside what there is; none where nothing is.
    ///
    /// # Errors
    /// Where a linger is given for requests that have no room for more.
    pub(super) fn over(&self, present: Option<Batching>) -> Result<Option<Batching>, Advice> {
        let size = self.batch.map(|size| usize::try_from(size).unwrap_or(Batching::SIZE_MAX));
        match (size.or(present.map(|batching| batching.size)), self.linger) {
            (_, None) if size.is_none() => Ok(None),
            (Some(size), linger) => {
                let linger = linger.or(present.map(|batching| batching.linger)).unwrap_or(LINGER);
                Ok(Batching::new(size, linger))
            }
            (None, _) => {
                let what = "--linger says for how long a batch waits for more, and there are to be no batches";
                Err(Advice::new(what, "give --batch COUNT too"))
            }
        }
    }
}

fn linger(text: &str) -> Result<Duration, String> {
    let linger = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if linger > Batching::LINGER_MAX {
        return Err(format!("expected {} at most", humantime::format_duration(Batching::LINGER_MAX)));
    }
    if linger.subsec_nanos() % 1_000_000 != 0 {
        return Err("expected whole milliseconds".to_owned());
    }
    Ok(linger)
}

/// For people: `up to 100, waiting 50ms for more`.
pub(super) fn describe(batching: Batching) -> String {
    let Batching { size, linger } = batching;
    format!("up to {size}, waiting {} for more", humantime::format_duration(linger))
}
