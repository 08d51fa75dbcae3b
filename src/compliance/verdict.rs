//! The artefact `verdict.json`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fsio::Artefact;
use crate::models::ModelIdentity;

/// What became of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// The rule is met.
    #[serde(rename = "pass")]
    Pass,
    /// The rule is not met.
    #[serde(rename = "fail")]
    Fail,
    /// There is no number that this rule accepts; the reason says why.
    #[serde(rename = "not measured")]
    NotMeasured,
    /// The rule is not binding: its number is shown, and it neither passes nor fails.
    #[serde(rename = "information")]
    Information,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::NotMeasured => "not measured",
            Self::Information => "information",
        })
    }
}

/// The verdict in one word or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Every binding rule passes.
    #[serde(rename = "compliant")]
    Compliant,
    /// At least one binding rule fails.
    #[serde(rename = "not compliant")]
    NotCompliant,
    /// No binding rule fails, but at least one is not measured.
    #[serde(rename = "incomplete")]
    Incomplete,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Compliant => "compliant",
            Self::NotCompliant => "not compliant",
            Self::Incomplete => "incomplete",
        })
    }
}

/// A number: counts stay integers in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// An exact count.
    Count(u64),
    /// A measured or published real number.
    Real(f64),
}

/// Which side of the limit passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bound {
    /// The limit and above.
    #[serde(rename = "at least")]
    AtLeast,
    /// The limit and below.
    #[serde(rename = "at most")]
    AtMost,
}

/// One row of the verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleResult {
    /// The rule's stable name.
    pub id: String,
    /// The rule's name for people.
    pub title: String,
    /// Whether the verdict depends on it.
    pub binding: bool,
    /// What became of it.
    pub status: Status,
    /// The model's number, exact; `None` when there is none that this rule accepts.
    pub value: Option<Value>,
    /// The limit, or the baseline's number in rows that only inform.
    pub limit: Option<Value>,
    /// Which side of the limit passes.
    pub bound: Option<Bound>,
    /// The unit of value and limit; `None` for plain counts.
    pub unit: Option<String>,
    /// Why the status is what it is, with the figures behind it.
    pub reason: String,
    /// What to do if it is not `pass`.
    pub fix: String,
}

/// Whether a model complies with the rules of a year.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Format version, [`Artefact::SCHEMA`] when written.
    pub schema: u64,
    /// The year whose rules were applied.
    pub year: u16,
    /// The challenge's name.
    pub challenge: String,
    /// Which model; `None` when there was no artefact at all.
    pub model: Option<ModelIdentity>,
    /// The verdict.
    pub verdict: Outcome,
    /// One row a rule, in the order of the manifest.
    pub rules: Vec<RuleResult>,
}

impl Artefact for Verdict {
    const WHAT: &'static str = "verdict";
    const SCHEMA: u64 = 1;
}
