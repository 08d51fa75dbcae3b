//! The only place that writes to standard output and standard error.
//!
//! Standard output is for results, standard error for people. A reader that hangs up early (`esr inspect … | head`) is not an error.

use std::io::{self, Write};

use serde::Serialize;

/// Writes result text to standard output, followed by a newline if it lacks one.
pub fn result(text: &str) -> io::Result<()> {
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    forgive_broken_pipe(write!(io::stdout().lock(), "{text}{newline}"))
}

/// Writes one JSON object to standard output.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    result(&text)
}

/// Writes a line for people to standard error; it is lost silently if nobody can read it.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn forgive_broken_pipe(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
