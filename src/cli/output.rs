//! What a command answers goes to stdout, prompts, warnings and errors to stderr.

use std::io::{self, Write};

/// Prints one line of the answer. Whoever stopped reading (`| head`) wants no more, and that is no error.
pub(super) fn answer(line: &str) -> anyhow::Result<()> {
    ignore_broken_pipe(writeln!(anstream::stdout().lock(), "{line}"))
}

/// Prints the answer as it is.
pub(super) fn answer_text(text: &str) -> anyhow::Result<()> {
    ignore_broken_pipe(write!(anstream::stdout().lock(), "{text}"))
}

/// Prints one line for the operator, beside the answer.
pub(super) fn complain(line: &str) {
    // Where stderr is gone there is nobody to tell.
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// Prints a warning.
pub(super) fn warn(text: &str) {
    complain(&format!("warning: {text}"));
}

fn ignore_broken_pipe(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
