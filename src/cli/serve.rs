//! `webhookdb serve`: the daemon.

use crate::config::Settings;

/// (being built)
///
/// # Errors
/// Always.
pub async fn run(_settings: Settings) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
