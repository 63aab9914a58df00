//! A failed attempt as the column `attempt_log` holds it: an array of objects.

use serde_json::json;

use crate::model::AttemptRecord;

/// An array of this attempt alone, to be appended; `by_hand` where an operator asked for it.
#[must_use]
pub fn entry(record: &AttemptRecord, by_hand: bool) -> String {
    format!("[{}]", object(record, by_hand))
}

/// Puts an earlier attempt before those of `log`.
pub(super) fn prepend(log: &mut String, record: &AttemptRecord) {
    log.replace_range(..1, &format!("[{},", object(record, false)));
}

fn object(record: &AttemptRecord, by_hand: bool) -> serde_json::Value {
    json!({
        "attempt": record.attempt,
        "at": humantime::format_rfc3339_micros(record.at).to_string(),
        "outcome": record.outcome,
        "status": record.status,
        "duration": record.took.as_secs_f64(),
        "reason": record.reason,
        "answer": record.answer,
        "by_hand": by_hand,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn attempts_stand_in_their_order() {
        let record = |attempt| AttemptRecord {
            attempt,
            at: SystemTime::UNIX_EPOCH,
            outcome: "refused",
            status: Some(500),
            took: Duration::from_millis(1500),
            reason: "the endpoint answered 500".into(),
            answer: Some("\"oh\"".into()),
        };
        let mut log = entry(&record(2), false);
        prepend(&mut log, &record(1));
        let log: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!((&log[0]["attempt"], &log[1]["attempt"], log[2].is_null()), (&json!(1), &json!(2), true));
        assert_eq!((&log[0]["at"], &log[0]["duration"]), (&json!("1970-01-01T00:00:00.000000Z"), &json!(1.5)));
    }
}
