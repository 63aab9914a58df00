//! `webhookdb demo`: the main job, whole, on a throwaway Postgres of its own.

use clap::Args;

/// (being built)
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {}

/// (being built)
///
/// # Errors
/// Always.
pub async fn run(_args: DemoArgs) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
