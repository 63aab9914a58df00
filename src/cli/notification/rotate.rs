//! `notification rotate`: another secret, and time for the receiver to learn it.

use std::time::Duration;

use clap::Args;

use super::super::context::Context;
use super::super::failure::Advice;
use super::super::integrations::rfc3339;
use super::super::output::{answer, complain};
use super::{changed_meanwhile, confirm, find};
use crate::catalog::secrets;
use crate::model::SigningSecret;

/// A receiver that was not told within a quarter of a year will not be.
const GRACE_MAX: Duration = Duration::from_secs(90 * 86_400);

/// Each token is 47 bytes of a header, and an HMAC over the body.
const PREVIOUS_MAX: i64 = 8;

/// Which one, and how much time its receiver gets.
#[derive(Args, Debug)]
pub(in super::super) struct RotateArgs {
    /// Its id, as `webhookdb notification list` shows it
    id: String,
    /// For how long notifications are signed with the secrets before it too, such as 24h or 7d. 0s: from now on they are good
    /// no more
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = grace)]
    grace: Duration,
}

fn grace(text: &str) -> Result<Duration, String> {
    let grace = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if grace > GRACE_MAX { Err("expected 90 days at most".to_owned()) } else { Ok(grace) }
}

pub(super) async fn run(context: &Context<'_>, args: RotateArgs) -> anyhow::Result<()> {
    let subscription = find(context, &args.id).await?;
    let id = subscription.opaque_id;
    if subscription.previous_secrets >= PREVIOUS_MAX && !args.grace.is_zero() {
        let what = format!("notification {id} is signed for by {PREVIOUS_MAX} secrets before its present one already");
        return Err(Advice::new(what, "wait until one of them has ended, or end them all by --grace 0s").into());
    }
    let keys = context.settings.catalog().keys();
    if !args.grace.is_zero() {
        // What can't be read can't be signed with; without a grace it is not needed.
        let snapshot = context.snapshot().await?;
        snapshot.check_secrets_of(id)?;
        snapshot.check_current_key(keys)?;
    }
    let secret = SigningSecret::generate();
    let rotated = secrets::rotate(&context.catalog, id, &keys.store(secret.text()), args.grace).await?;
    let rotated = rotated.ok_or_else(|| changed_meanwhile(id))?;
    // Shown before anything else can fail: it is stored, and nobody else can tell it.
    complain("A secret was generated. It is shown below, this once.");
    answer(&format!("Events to {} are signed with a new secret from now on.", subscription.url))?;
    if !args.grace.is_zero() {
        answer(&format!("Until {} they are signed with the one before it too.", rfc3339(rotated.until)))?;
    }
    answer(&format!("Verify with: {}", secret.whsec().expose()))?;
    let hint = "the secret above holds all the same; `webhookdb status` shows the daemon";
    confirm::wait_or(context, rotated.revision, "the new secret", hint).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_is_a_duration_of_at_most_90_days() {
        assert_eq!(grace("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(grace("0s"), Ok(Duration::ZERO));
        assert_eq!(grace("90d"), Ok(GRACE_MAX));
        for text in ["", "soon", "-1h", "91d"] {
            assert!(grace(text).is_err(), "{text}");
        }
    }
}
