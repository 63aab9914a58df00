//! `webhookdb demo`: the main job, whole, on a throwaway Postgres of its own.

use std::net::SocketAddr;

use clap::Args;

use crate::demo::{Demo, receive, run as run_demo};

/// Shows the main job on a throwaway Postgres: what arrives when rows change, and how fast.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Rows of the backfill
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rows: u32,
    /// Only receive, at this address, and show what arrives there
    #[arg(long, value_name = "ADDRESS:PORT", requires = "verify_with", conflicts_with = "rows")]
    receive: Option<SocketAddr>,
    /// The key of the notifications that are received
    #[arg(long, value_name = "WHSEC", env = "WEBHOOKDB_VERIFY_WITH", hide_env_values = true, requires = "receive")]
    verify_with: Option<String>,
}

/// Runs the demo.
///
/// # Errors
/// Where something can't be started, or a notification is missing or does not verify.
pub async fn run(args: DemoArgs) -> anyhow::Result<()> {
    if let (Some(address), Some(key)) = (args.receive, args.verify_with) {
        return Ok(receive(address, &key).await?);
    }
    let rows = usize::try_from(args.rows)?;
    Ok(Box::pin(run_demo(Demo { rows })).await?)
}
