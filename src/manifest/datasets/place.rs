//! Where in the list something is wrong, in words.

use std::fmt;

use super::Error;

/// Where in the list something is.
pub(super) struct Place<'a> {
    file: &'a str,
    /// Which entry, for people.
    pub(super) what: String,
}

impl<'a> Place<'a> {
    pub(super) fn new(file: &'a str, what: String) -> Self {
        Self { file, what }
    }

    pub(super) fn at(&self, what: String) -> Self {
        Self { file: self.file, what }
    }

    pub(super) fn error(&self, key: &str, found: impl fmt::Display, expected: impl fmt::Display) -> Error {
        Error::Value {
            file: self.file.to_owned(),
            place: self.what.clone(),
            key: key.to_owned(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    pub(super) fn require(
        &self,
        holds: bool,
        key: &str,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Result<(), Error> {
        if holds { Ok(()) } else { Err(self.error(key, found, expected)) }
    }

    pub(super) fn apply<T>(&self, key: &str, found: &str, outcome: Result<T, String>) -> Result<T, Error> {
        outcome.map_err(|expected| self.error(key, format!("`{}`", shown(found)), expected))
    }
}

/// The start of a text, safe to print.
pub(super) fn shown(text: &str) -> String {
    const LIMIT: usize = 80;
    let mut start: String = text.chars().take(LIMIT).flat_map(char::escape_debug).collect();
    if text.chars().nth(LIMIT).is_some() {
        start.push('…');
    }
    start
}
