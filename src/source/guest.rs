//! Being a good guest: no application's commit may ever wait for us.

use tokio_postgres::{Client, SimpleQueryMessage};

use super::SourceError;
use super::login::APPLICATION_NAME;

/// Looks whether the server would make commits wait for our walsender. `pg_stat_replication` says so too, but only to roles
/// that may read it, and only once it has happened; the setting is there for everybody, and before.
///
/// # Errors
/// [`SourceError::SynchronousStandby`] where it would: there must be no replication connection then. And where the query
/// fails.
pub async fn check_not_synchronous(client: &Client) -> Result<(), SourceError> {
    let rows = client.simple_query("SHOW synchronous_standby_names").await?;
    let names = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    match names.filter(|names| names_us(names)) {
        Some(names) => Err(SourceError::SynchronousStandby { names: names.to_owned() }),
        None => Ok(()),
    }
}

/// Whether the setting (`a, b`, `FIRST 1 (a, b)`, `ANY 2 (a, b)`) names every standby, or us.
fn names_us(setting: &str) -> bool {
    let list = match (setting.find('('), setting.rfind(')')) {
        (Some(open), Some(close)) => setting.get(open + 1..close).unwrap_or_default(),
        _ => setting,
    };
    let mut names = list.split(',').map(|name| name.trim().trim_matches('"'));
    names.any(|name| name == "*" || name.eq_ignore_ascii_case(APPLICATION_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standby_or_this_one_by_name() {
        let ours = "\"WebhookDB-notifications\"";
        for setting in ["*", "a, *", "FIRST 1 (*)", "ANY 2 (a, *, b)", ours, &format!("first 1 (a,{ours})")] {
            assert!(names_us(setting), "{setting}");
        }
        for setting in ["", "a", "a, b", "FIRST 2 (a, \"b*\")", "1 (a)", ")("] {
            assert!(!names_us(setting), "{setting}");
        }
    }
}
