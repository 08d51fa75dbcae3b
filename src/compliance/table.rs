//! A verdict for people: one line a rule, its reason below.

use std::fmt::Write as _;

use super::artefacts::describe;
use super::verdict::{Bound, Outcome, RuleResult, Status, Value, Verdict};
use crate::text::thousands;

/// The verdict as text, without colour, ending with a newline.
pub fn table(verdict: &Verdict) -> String {
    let mut text = String::new();
    let model = verdict.model.as_ref().map_or("no model: the run holds no artefact".to_owned(), describe);
    let width = verdict.rules.iter().map(|rule| rule.id.len()).max().unwrap_or(0);
    // Writing to a string cannot fail, so the results are of no interest.
    let _ = writeln!(text, "{}\n{model}\n", verdict.challenge);
    for rule in &verdict.rules {
        let numbers = numbers(rule);
        let line = format!("  {:<12}  {:<width$}  {numbers}", rule.status, rule.id);
        let _ = writeln!(text, "{}", line.trim_end());
        let _ = writeln!(text, "                {}", rule.reason);
        if rule.status == Status::Fail || (rule.binding && rule.status == Status::NotMeasured) {
            let _ = writeln!(text, "                to do: {}", rule.fix);
        }
    }
    let _ = writeln!(text, "\nverdict: {}", conclusion(verdict));
    text
}

/// The verdict with the rules behind it.
fn conclusion(verdict: &Verdict) -> String {
    let ids = |status| {
        let of = verdict.rules.iter().filter(|rule| rule.binding && rule.status == status);
        of.map(|rule| rule.id.as_str()).collect::<Vec<_>>().join(", ")
    };
    match verdict.verdict {
        Outcome::Compliant => {
            format!("{} (every binding rule passes: {})", verdict.verdict, ids(Status::Pass))
        }
        Outcome::NotCompliant => format!("{} (fails: {})", verdict.verdict, ids(Status::Fail)),
        Outcome::Incomplete => format!("{} (not measured: {})", verdict.verdict, ids(Status::NotMeasured)),
    }
}

fn numbers(rule: &RuleResult) -> String {
    let unit = rule.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
    let value = rule.value.map(|value| format!("{}{unit}", show(value, &rule.unit)));
    let limit = rule.limit.map(|limit| {
        let limit = show(limit, &rule.unit);
        match (rule.binding, rule.bound) {
            (true, Some(Bound::AtLeast)) => format!("at least {limit}{unit}"),
            (true, Some(Bound::AtMost)) => format!("at most {limit}{unit}"),
            _ => format!("baseline {limit}{unit}"),
        }
    });
    match (value, limit) {
        (Some(value), Some(limit)) => format!("{value}  ({limit})"),
        (Some(value), None) => value,
        (None, Some(limit)) => format!("({limit})"),
        (None, None) => String::new(),
    }
}

/// Counts with thousands separated; dB in four decimals where the number has them, everything else in two or three.
fn show(value: Value, unit: &Option<String>) -> String {
    match (value, unit.as_deref()) {
        (Value::Count(count), _) => thousands(count),
        (Value::Real(real), Some("dB")) if (real * 100.0).fract().abs() > 1e-9 => format!("{real:.4}"),
        (Value::Real(real), Some("x baseline")) => format!("{real:.3}"),
        (Value::Real(real), _) => format!("{real:.2}"),
    }
}

impl RuleResult {
    /// The model's number for people, with its unit.
    pub fn value_text(&self) -> Option<String> {
        self.value.map(|value| self.with_unit(value))
    }

    /// The limit or the baseline's number for people, with its unit.
    pub fn limit_text(&self) -> Option<String> {
        self.limit.map(|limit| self.with_unit(limit))
    }

    fn with_unit(&self, value: Value) -> String {
        let unit = self.unit.as_ref().map_or_else(String::new, |unit| format!(" {unit}"));
        format!("{}{unit}", show(value, &self.unit))
    }
}
