//! `${NAME}` in a string value stands for a variable of the environment.

use std::env::VarError;

/// How a variable is looked up; tests bring an environment of their own.
pub(super) type Lookup<'e> = &'e dyn Fn(&str) -> Result<String, VarError>;

/// The text with every `${NAME}` replaced, or what is wrong with each that cannot be. What a variable holds is taken as it
/// is: a `${…}` in it stays.
pub(super) fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, Vec<String>> {
    let mut pieces = text.split("${");
    let mut expanded = pieces.next().unwrap_or_default().to_owned();
    let mut problems = Vec::new();
    for piece in pieces {
        match expand_piece(piece, lookup) {
            Ok((value, rest)) => {
                expanded.push_str(&value);
                expanded.push_str(rest);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(expanded) } else { Err(problems) }
}

/// Takes `NAME}rest` to the variable's value and the rest.
fn expand_piece<'t>(piece: &'t str, lookup: Lookup<'_>) -> Result<(String, &'t str), String> {
    let Some((name, rest)) = piece.split_once('}').filter(|(name, _)| is_name(name)) else {
        return Err("expected ${NAME} with the name of an environment variable: letters, digits and _".to_owned());
    };
    match lookup(name) {
        Ok(value) => Ok((value, rest)),
        Err(VarError::NotPresent) => Err(format!("the environment variable {name} is not set")),
        Err(VarError::NotUnicode(_)) => Err(format!("the environment variable {name} does not hold UTF-8 text")),
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Result<String, VarError> {
        match name {
            "USER" => Ok("ann".to_owned()),
            "NESTED" => Ok("${USER}".to_owned()),
            "BYTES" => Err(VarError::NotUnicode("x".into())),
            _ => Err(VarError::NotPresent),
        }
    }

    #[test]
    fn variables_are_replaced_and_all_else_stays() {
        for (text, expanded) in [
            ("", ""),
            ("plain $USER $ {USER} 100%", "plain $USER $ {USER} 100%"),
            ("${USER}", "ann"),
            ("a${USER}b${USER}}", "aannbann}"),
            ("${NESTED}", "${USER}"),
        ] {
            assert_eq!(expand(text, &lookup).as_deref(), Ok(expanded), "{text}");
        }
    }

    #[test]
    fn every_variable_that_cannot_be_replaced_is_a_problem() {
        for (text, problems) in [
            ("${NO}-${NEITHER}", vec!["variable NO is not set", "variable NEITHER is not set"]),
            ("${BYTES}", vec!["variable BYTES does not hold UTF-8"]),
            ("${", vec!["expected ${NAME}"]),
            ("${USER", vec!["expected ${NAME}"]),
            ("${}", vec!["expected ${NAME}"]),
            ("${1A}", vec!["expected ${NAME}"]),
            ("${A-B}", vec!["expected ${NAME}"]),
        ] {
            let found = expand(text, &lookup).expect_err(text);
            assert_eq!(found.len(), problems.len(), "{text}");
            assert!(found.iter().zip(problems).all(|(found, expected)| found.contains(expected)), "{found:?}");
        }
    }
}
