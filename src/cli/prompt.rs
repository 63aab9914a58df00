//! Questions on stderr, answers from stdin, a line each.

use std::io::{self, BufRead, Write};

use super::failure::Advice;

/// Asks, and returns the answer, trimmed. The question is printed even when input is piped; the answer is echoed only by
/// the terminal.
pub(super) fn ask(question: &str, instead: &str) -> anyhow::Result<String> {
    let mut stderr = anstream::stderr();
    write!(stderr, "{question}")?;
    stderr.flush()?;
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        writeln!(stderr)?;
        return Err(Advice::new("standard input ended where an answer was expected", instead).into());
    }
    Ok(line.trim().to_owned())
}

/// Asks for a yes before something that can't be undone.
pub(super) fn confirm(question: &str) -> anyhow::Result<bool> {
    let answer = ask(question, "give --yes where nobody can answer")?;
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}
