//! What an audit found.

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The archive would be refused, or scored wrongly.
    Error,
    /// It would probably be accepted, but somebody should look.
    Warning,
    /// Worth knowing.
    Note,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The member it is about, or `archive`.
    #[serde(rename = "where")]
    pub location: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// How much was there and looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Members of the archive, of any kind.
    pub members: usize,
    /// Images that should be there; `null` when that is not known.
    pub images_expected: Option<usize>,
    /// Members that are named like an image.
    pub images_found: usize,
    /// Images that decode completely and have the right form and size.
    pub images_sound: usize,
}

/// The verdict on an archive. Its JSON form is a promise of `esr validate --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The version of this form: 1.
    pub schema: u64,
    /// Whether no finding is an error.
    pub accepted: bool,
    /// The size of the archive in bytes.
    pub archive_bytes: u64,
    /// How much was there.
    pub counts: Counts,
    /// What was found: errors first, then by place.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The version of the JSON form.
    pub const SCHEMA: u64 = 1;
}

/// A finding whose place is known to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) severity: Severity,
    pub(super) what: String,
    pub(super) fix: String,
}

impl Problem {
    pub(super) fn error(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Error, what: what.into(), fix: fix.into() }
    }

    pub(super) fn warning(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, what: what.into(), fix: fix.into() }
    }

    pub(super) fn note(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Note, what: what.into(), fix: fix.into() }
    }

    pub(super) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The finding at a member, or at the archive itself.
    pub(super) fn at(self, location: impl Into<String>) -> Finding {
        Finding { severity: self.severity, location: location.into(), what: self.what, fix: self.fix }
    }
}
