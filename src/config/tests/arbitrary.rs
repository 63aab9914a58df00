//! Tests with text that nobody would write.

use proptest::prelude::*;

use super::problems::WRONG_VALUES;
use super::{ConfigError, EXAMPLE, load};

fn any_config() -> impl Strategy<Value = String> {
    let lines: Vec<String> = EXAMPLE.lines().map(|line| line.trim_start_matches("# ").to_owned()).collect();
    let line = prop_oneof![proptest::sample::select(lines), "\\PC{0,40}", "[a-z_]{1,8} = ['\"\\[][^\n]{0,20}['\"\\]]"];
    proptest::collection::vec(line, 0..30).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn loading_arbitrary_text_never_panics_and_never_fails_without_a_problem(text in "(?s).{0,200}") {
        if let Err(ConfigError::Invalid { problems, .. }) = load(&text) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn loading_lines_of_a_config_in_any_order_never_panics(text in any_config()) {
        if let Err(ConfigError::Invalid { problems, .. }) = load(&text) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.is_sorted_by_key(|problem| problem.line));
            prop_assert!(problems.iter().all(|problem| problem.line >= 1 && problem.line <= text.lines().count().max(1) + 1));
        }
    }

    #[test]
    fn any_value_of_any_key_never_panics(key in 0..WRONG_VALUES.len(), value in "\\PC{0,30}") {
        let (section, _, key, _) = WRONG_VALUES[key];
        let value = toml::Value::String(value);
        let _ = load(&format!("{section}\n{key} = {value}\n{key} = [{value}]\n"));
    }
}
