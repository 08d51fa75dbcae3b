//! Whether a model complies with the rules of a challenge year.
//!
//! This module judges artefacts that others made ([`Inspection`](crate::graph::inspection::Inspection),
//! [`Evaluation`](crate::metrics::evaluation::Evaluation), [`Measurement`](crate::measure::Measurement)) by rules that are
//! data ([`crate::manifest::Challenge`]). It measures nothing itself. Its one important invariant: a rule whose number is
//! missing, is of other images, or cannot be trusted is `not measured`, and then the verdict is never `compliant`.

mod artefacts;
mod document;
mod error;
mod judge;
mod table;
mod verdict;

#[cfg(test)]
mod fixtures;

pub use artefacts::Artefacts;
pub use document::document;
pub use error::Error;
pub use judge::{check_run, judge};
pub use table::table;
pub use verdict::{Bound, Outcome, RuleResult, Status, Value, Verdict};
