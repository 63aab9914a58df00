//! Tests that problems do not tell what must not be told.

use super::{MINIMAL, PASSWORD, assert_problems, load};

#[test]
fn no_problem_shows_a_secret() {
    for line in [
        "url = 'postgres://ann:hunter2@h:port/d'",
        "url = 'postgres://ann:hunter2@h/d?sslmode=hunter2'",
        "url = 'postgres://ann:hunter2@h/d?password=hunter2&colour=hunter2'",
        "url = 'postgres://ann:p/hunter2@h/d'",
        "url = 'postgres://ann:5/?hunter2@h/d'",
        "url = 'postgres://ann:hunter2%@h/d'",
        "url = 'ann:hunter2@h/d'",
        "url = postgres://ann:hunter2@h/d",
        "url = ['postgres://ann:hunter2@h/d']",
        "url_file = 'postgres://ann:hunter2@h/d'",
        "schema = 'postgres://ann:hunter2@h/d'",
        "schema = '${PASSWORD}\n'",
        "encryption_key = 'hunter2'",
        "encryption_key_file = 'hunter2'",
        "old_encryption_keys = ['0:hunter2', 'hunter2', 'hunter2:hunter2hunter2hunter2hunter2hunt']",
        "'postgres://ann:hunter2@h/d' = 1",
    ] {
        for text in [format!("[catalog]\n{line}\n"), format!("{line}\n[log]\nlevel = '${{PASSWORD}}'\n")] {
            let Err(error) = load(&text) else { panic!("{text}") };
            assert!(!format!("{error} {error:?}").contains(PASSWORD), "{text}\n{error}");
        }
    }
}

#[test]
fn a_value_of_the_environment_is_shown_as_it_is_written() {
    let text = format!("{MINIMAL}[delivery]\nmemory = '${{PASSWORD}}'\n");
    assert_problems(&text, &[(4, "[delivery] memory", "found the value of \"${PASSWORD}\"")]);
}
