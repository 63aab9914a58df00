//! Whether the server can serve as a source, and what about it is dangerous.

use postgres_protocol::escape::escape_identifier;

use super::SetupError;
use super::identity::Hazard;
use crate::config::SourceSettings;
use crate::source::{ServerFacts, SlotState, known_bug, standby};

/// The oldest major version that is supported: 13 has no `messages` option of pgoutput.
const OLDEST_VERSION: i32 = 14;
/// Under this name a synchronous standby would be listed. The replication connection bears it.
const APPLICATION_NAME: &str = "webhookdb-notifications";

/// Checks what does not pass by itself; every problem in one go.
///
/// # Errors
/// Where the server can't serve as a source.
pub(super) fn check(
    settings: &SourceSettings,
    facts: &ServerFacts,
    slot: Option<&SlotState>,
) -> Result<Vec<Hazard>, SetupError> {
    let mut problems = problems(facts, slot);
    if let Err(error) = standby::check(facts.in_recovery, facts.version_num, settings) {
        problems.push(Hazard { what: error.to_string(), remedy: error.hint().unwrap_or_default() });
    }
    if problems.is_empty() {
        return Ok([hazards(facts), standby_hazards(settings, facts)].concat());
    }
    let joined = |texts: Vec<String>| texts.join("; ");
    let (whats, remedies) = problems.into_iter().map(|problem| (problem.what, problem.remedy)).unzip();
    Err(SetupError::Server { problem: joined(whats), remedy: joined(remedies) })
}

fn problems(facts: &ServerFacts, slot: Option<&SlotState>) -> Vec<Hazard> {
    let to_be_made = slot.is_none();
    let reading = slot.is_some_and(|slot| slot.active_pid.is_some());
    let checks = [
        (
            facts.major_version() < OLDEST_VERSION,
            format!(
                "the server's version is {}, and {OLDEST_VERSION} is the oldest that is supported",
                facts.major_version()
            ),
            "upgrade Postgres".to_owned(),
        ),
        (
            facts.wal_level != "logical",
            format!("wal_level is {}, and logical replication needs logical", facts.wal_level),
            "ALTER SYSTEM SET wal_level = logical, then restart Postgres".to_owned(),
        ),
        (
            !facts.role_can_replicate(),
            format!("the role {:?} may not replicate", facts.role),
            format!(
                "run as a superuser: ALTER ROLE {} REPLICATION (on Amazon RDS: GRANT rds_replication TO it)",
                escape_identifier(&facts.role)
            ),
        ),
        (
            facts.server_encoding != "UTF8",
            format!("the database {:?} is encoded as {}, not UTF8", facts.database, facts.server_encoding),
            "move the data to a database with ENCODING 'UTF8'".to_owned(),
        ),
        (
            to_be_made && facts.used_replication_slots >= i64::from(facts.max_replication_slots),
            format!("all {} replication slots are in use", facts.max_replication_slots),
            "raise max_replication_slots (restart needed), or drop slots that nobody uses: see pg_replication_slots"
                .to_owned(),
        ),
        (
            !reading && facts.used_wal_senders >= i64::from(facts.max_wal_senders),
            format!("all {} walsenders are in use", facts.max_wal_senders),
            "raise max_wal_senders (restart needed), or end replication connections that are not needed".to_owned(),
        ),
    ];
    checks.into_iter().filter(|(is_so, _, _)| *is_so).map(|(_, what, remedy)| Hazard { what, remedy }).collect()
}

fn hazards(facts: &ServerFacts) -> Vec<Hazard> {
    let mut hazards = Vec::new();
    let names = &facts.synchronous_standby_names;
    if names.contains('*') || names.contains(APPLICATION_NAME) {
        hazards.push(Hazard {
            what: format!(
                "synchronous_standby_names is '{names}': it makes the daemon a synchronous standby, for which \
                 applications' commits would wait, so the daemon will refuse to read"
            ),
            remedy: "name the real standbys in synchronous_standby_names, and reload".to_owned(),
        });
    }
    if facts.max_slot_wal_keep_size.is_none() {
        hazards.push(Hazard {
            what: "max_slot_wal_keep_size is -1: while the daemon is down, the server keeps its log without bound"
                .to_owned(),
            remedy:
                "watch the slot's lag; or set max_slot_wal_keep_size to what the disk can spare, and accept that a \
                     longer stop loses changes"
                    .to_owned(),
        });
    }
    if let Some((what, remedy)) = known_bug(facts.version_num) {
        hazards.push(Hazard { what, remedy });
    }
    hazards
}

/// What makes a standby give up its logical slots, and a config that speaks of a standby that is none.
fn standby_hazards(settings: &SourceSettings, facts: &ServerFacts) -> Vec<Hazard> {
    let hazard = |what: &str, remedy: &str| Hazard { what: what.to_owned(), remedy: remedy.to_owned() };
    let mut hazards = Vec::new();
    if !facts.in_recovery {
        if settings.primary_url().is_some() {
            hazards.push(hazard(
                "the server of url is no standby (any more), so primary_url is not used",
                "take primary_url out of the config",
            ));
        }
        return hazards;
    }
    if !facts.hot_standby_feedback {
        hazards.push(hazard(
            "hot_standby_feedback is off on the standby: the primary may remove catalog rows that the slot needs, which \
             invalidates it",
            "set hot_standby_feedback = on on the standby, and reload",
        ));
    }
    if facts.primary_slot_name.is_empty() {
        hazards.push(hazard(
            "the standby has no primary_slot_name: while it is disconnected the primary removes catalog rows that the \
             slot needs",
            "make a physical slot on the primary, and name it in primary_slot_name on the standby",
        ));
    }
    hazards
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn facts() -> ServerFacts {
        ServerFacts {
            version_num: 150_018,
            wal_level: "logical".to_owned(),
            max_replication_slots: 10,
            used_replication_slots: 0,
            max_wal_senders: 10,
            used_wal_senders: 0,
            server_encoding: "UTF8".to_owned(),
            synchronous_standby_names: String::new(),
            max_slot_wal_keep_size: Some(1 << 30),
            wal_sender_timeout: None,
            in_recovery: false,
            hot_standby_feedback: true,
            primary_slot_name: "one".to_owned(),
            synchronized_standby_slots: String::new(),
            database: "app".to_owned(),
            role: "whdb".to_owned(),
            may_replicate: true,
            superuser: false,
            system_identifier: Some(1),
        }
    }

    fn settings(more: &str) -> Settings {
        let text = format!("[catalog]\nurl = \"postgres://whdb@localhost/webhookdb\"\n[[source]]\n{more}\n");
        Settings::parse(std::path::Path::new("config.toml"), &text).unwrap()
    }

    fn check_with(more: &str, change: impl FnOnce(&mut ServerFacts)) -> Result<Vec<Hazard>, SetupError> {
        let mut facts = facts();
        change(&mut facts);
        check(&settings(more).sources()[0], &facts, None)
    }

    fn problem(change: impl FnOnce(&mut ServerFacts)) -> String {
        check_with("", change).unwrap_err().to_string()
    }

    #[test]
    fn a_healthy_server_passes() {
        assert_eq!(check_with("", |_| {}).unwrap(), []);
    }

    #[test]
    fn what_does_not_pass_by_itself_is_refused() {
        assert!(problem(|facts| facts.wal_level = "replica".to_owned()).contains("wal_level is replica"));
        assert!(problem(|facts| facts.may_replicate = false).contains("may not replicate"));
        assert!(problem(|facts| facts.server_encoding = "LATIN1".to_owned()).contains("LATIN1"));
        assert!(problem(|facts| facts.in_recovery = true).contains("standby"));
        assert!(problem(|facts| facts.used_replication_slots = 10).contains("all 10 replication slots"));
        assert!(problem(|facts| facts.used_wal_senders = 10).contains("all 10 walsenders"));
        assert!(problem(|facts| facts.version_num = 130_012).contains("version is 13"));
    }

    #[test]
    fn every_problem_is_told_in_one_go() {
        let both = problem(|facts| {
            facts.wal_level = "replica".to_owned();
            facts.may_replicate = false;
        });
        assert!(both.contains("wal_level") && both.contains("may not replicate"), "{both}");
    }

    #[test]
    fn dangers_are_told_with_a_remedy() {
        let hazards = check_with("", |facts| {
            facts.synchronous_standby_names = "*".to_owned();
            facts.max_slot_wal_keep_size = None;
            facts.version_num = 150_004;
        });
        assert_eq!(hazards.unwrap().len(), 3);
    }

    #[test]
    fn a_standby_is_read_from_16_on_and_with_a_primary_only() {
        const PRIMARY: &str = "primary_url = \"postgres://whdb@first/webhookdb\"";
        let standby = |more: &str, version_num: i32| {
            check_with(more, |facts| (facts.in_recovery, facts.version_num) = (true, version_num))
        };
        assert!(standby("", 160_014).unwrap_err().to_string().contains("primary_url"));
        assert!(standby(PRIMARY, 150_018).unwrap_err().to_string().contains("from 16 on"));
        assert_eq!(standby(PRIMARY, 160_014).unwrap(), []);
        let dangerous = check_with(PRIMARY, |facts| {
            (facts.in_recovery, facts.version_num) = (true, 160_014);
            (facts.hot_standby_feedback, facts.primary_slot_name) = (false, String::new());
        });
        assert_eq!(dangerous.unwrap().len(), 2);
        assert_eq!(check_with(PRIMARY, |_| {}).unwrap().len(), 1, "promoted");
    }
}
