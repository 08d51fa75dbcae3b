//! What a run showed, beside what was published: `report.json`, `report.md` and the training curve.
//!
//! [`claims`] judges every published number against typed evidence, [`inputs`] is what a pipeline hands in, [`document`] makes one
//! [`Report`] of it, [`markdown`] and [`curve`] show it to people. Nothing here measures. The invariant: a number is either there
//! with what it was obtained from, or absent with a reason; and numbers are rounded for people only in [`markdown`] and [`curve`].

pub mod claims;
pub mod curve;
pub mod document;
pub mod files;
#[cfg(test)]
mod fixtures;
mod format;
pub mod inputs;
pub mod markdown;

pub use claims::{ClaimResult, ClaimStatus, Evidence, judge};
pub use curve::render_svg_curve;
pub use document::Report;
pub use inputs::{Absent, ReportInputs};
pub use markdown::render_markdown;
