//! From artefacts and rules to a verdict.

use std::collections::BTreeSet;
use std::path::Path;

use super::artefacts::{Artefacts, describe};
use super::error::Error;
use super::verdict::{Bound, Outcome, RuleResult, Status, Value, Verdict};
use crate::fsio::Artefact;
use crate::graph::inspection::Inspection;
use crate::manifest::{Challenge, Check, Count, ImageSet, Rule};
use crate::measure::{Measurement, MemoryScope, Validity};
use crate::metrics::evaluation::{Evaluation, ImageScore};
use crate::text::thousands;

/// How far a recorded mean may be from the mean of the recorded images: far above the rounding of sums of a hundred numbers
/// and their way through JSON, far below anything a rule could notice.
const MEAN_TOLERANCE_DB: f64 = 1e-9;

/// The least confidence at which the interval of a ratio can stand in for a measurement that is not valid.
const LEAST_CONFIDENCE: f64 = 0.95;

/// Image names listed in a reason before the rest is only counted.
const NAMES_SHOWN: usize = 3;

/// Judges a run directory; see [`Artefacts::from_run`] and [`judge`].
///
/// # Errors
/// Those of both.
pub fn check_run(run: &Path, rules: &Challenge) -> Result<Verdict, Error> {
    judge(rules, &Artefacts::from_run(run)?)
}

/// Judges artefacts by the rules of a year.
///
/// # Errors
/// [`Error::DifferentModels`] when the artefacts are not all of the same model, [`Error::Contradiction`] when an evaluation's mean
/// is not the mean of its images.
pub fn judge(rules: &Challenge, artefacts: &Artefacts) -> Result<Verdict, Error> {
    let model = artefacts.model()?.cloned();
    if let Some(evaluation) = &artefacts.evaluation {
        consistent(evaluation)?;
    }
    let results: Vec<RuleResult> = rules.rules.iter().map(|rule| row(rules, rule, artefacts)).collect();
    let any = |status| results.iter().any(|result| result.binding && result.status == status);
    let verdict = if any(Status::Fail) {
        Outcome::NotCompliant
    } else if any(Status::NotMeasured) {
        Outcome::Incomplete
    } else {
        Outcome::Compliant
    };
    Ok(Verdict {
        schema: Verdict::SCHEMA,
        year: rules.year,
        challenge: rules.name.clone(),
        model,
        verdict,
        rules: results,
    })
}

/// A number that a rule accepts.
struct Finding {
    value: Value,
    /// Whether it is on the right side of the limit.
    meets: bool,
    reason: String,
}

/// A number, or the reason why there is none.
type Found = Result<Finding, String>;

fn row(rules: &Challenge, rule: &Rule, artefacts: &Artefacts) -> RuleResult {
    let (found, limit, bound, unit) = match &rule.check {
        Check::PsnrAtLeast { image_set, limit_db } => {
            let found = psnr(rules, image_set, *limit_db, artefacts.evaluation.as_ref());
            (found, Some(Value::Real(*limit_db)), Some(Bound::AtLeast), Some("dB"))
        }
        Check::CountAtMost { count, limit } => {
            let found = count_at_most(rules, *count, *limit, artefacts.inspection.as_ref());
            (found, Some(Value::Count(*limit)), Some(Bound::AtMost), None)
        }
        Check::RuntimeRatioAtMost { limit } => {
            let found = runtime(rules, *limit, artefacts.measurement.as_ref());
            (found, Some(Value::Real(*limit)), Some(Bound::AtMost), Some("x baseline"))
        }
        Check::MemoryBeside { baseline_mib } => {
            let found = memory(*baseline_mib, artefacts.measurement.as_ref());
            (found, Some(Value::Real(*baseline_mib)), Some(Bound::AtMost), Some("MiB"))
        }
        Check::CannotBeMeasured { because, baseline_db } => {
            let reason = format!("{because}; this row never counts against a model");
            (Err(reason), Some(Value::Real(*baseline_db)), Some(Bound::AtLeast), Some("dB"))
        }
    };
    let (status, value, reason) = match found {
        Err(reason) => (Status::NotMeasured, None, reason),
        Ok(finding) => {
            let status = match (rule.binding, finding.meets) {
                (false, _) => Status::Information,
                (true, true) => Status::Pass,
                (true, false) => Status::Fail,
            };
            (status, Some(finding.value), finding.reason)
        }
    };
    RuleResult {
        id: rule.id.clone(),
        title: rule.title.clone(),
        binding: rule.binding,
        status,
        value,
        limit,
        bound,
        unit: unit.map(str::to_owned),
        reason,
        fix: rule.fix.clone(),
    }
}

fn psnr(rules: &Challenge, image_set: &str, limit_db: f64, evaluation: Option<&Evaluation>) -> Found {
    let evaluation = evaluation.ok_or("there is no evaluation")?;
    if evaluation.scale != rules.scale || evaluation.border != rules.border {
        return Err(format!(
            "the evaluation is of scale {} with {} pixels cut, the rule is about scale {} with {}",
            evaluation.scale, evaluation.border, rules.scale, rules.border
        ));
    }
    let set = rules.image_sets.iter().find(|set| set.id == image_set);
    let set = set.ok_or_else(|| format!("the rules do not define the image set `{image_set}`"))?;
    exactly_the_images_of(set, &evaluation.images)?;
    let Some(mean_db) = evaluation.mean.psnr_rgb_db else {
        return Err(
            "the mean is infinite because an output equals its HR image, which no model achieves".to_owned()
        );
    };
    let meets = mean_db >= limit_db;
    let difference = (mean_db - limit_db).abs();
    let side = match (meets, difference == 0.0) {
        (_, true) => "exactly at".to_owned(),
        (true, _) => format!("{difference:.4} dB above"),
        (false, _) => format!("{difference:.4} dB below"),
    };
    let reads = format!("{mean_db:.2}").parse::<f64>().is_ok_and(|read| read >= limit_db);
    let although = if reads && !meets { ", although its reading in two decimals is not" } else { "" };
    let reason =
        format!("{mean_db:.2} dB in two decimals; {mean_db:.4} dB is {side} {limit_db:.2} dB{although}");
    Ok(Finding { value: Value::Real(mean_db), meets, reason })
}

/// Whether the images are those of the set, each once, as far as names, number and the known hashes tell.
fn exactly_the_images_of(set: &ImageSet, images: &[ImageScore]) -> Result<(), String> {
    let wanted: BTreeSet<String> = set.names().into_iter().collect();
    let found: BTreeSet<String> = images.iter().map(|image| image.name.clone()).collect();
    let missing: Vec<&String> = wanted.difference(&found).collect();
    let other: Vec<&String> = found.difference(&wanted).collect();
    let repeated = images.len() - found.len();
    if !missing.is_empty() || !other.is_empty() || repeated > 0 {
        let mut faults = Vec::new();
        if !missing.is_empty() {
            faults.push(format!("{} missing ({})", missing.len(), some_of(&missing)));
        }
        if !other.is_empty() {
            faults.push(format!("{} other ({})", other.len(), some_of(&other)));
        }
        if repeated > 0 {
            faults.push(format!("{repeated} repeated"));
        }
        return Err(format!(
            "the evaluation is over {} images, not over {} ({} images): {}",
            images.len(),
            set.title,
            wanted.len(),
            faults.join(", ")
        ));
    }
    for image in images {
        if let Some(known) = set.known_hr_pixels_sha256.get(&image.name)
            && known != &image.hr_pixels_sha256
        {
            return Err(format!(
                "HR image {} is not the one of {}: its pixels hash to {}, the known image's to {known}",
                image.name, set.title, image.hr_pixels_sha256
            ));
        }
    }
    Ok(())
}

fn some_of(names: &[&String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_SHOWN).map(|name| name.as_str()).collect();
    let more = if names.len() > NAMES_SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn count_at_most(rules: &Challenge, count: Count, limit: u64, inspection: Option<&Inspection>) -> Found {
    let inspection = inspection.ok_or("there is no inspection")?;
    if inspection.scale != rules.scale {
        return Err(format!(
            "the inspection is of scale {}, the rule is about scale {}",
            inspection.scale, rules.scale
        ));
    }
    let input = rules.counting;
    if count.depends_on_input()
        && (inspection.input_width, inspection.input_height) != (input.width, input.height)
    {
        return Err(format!(
            "counted for an input of {}x{}, the rule is about {}x{}",
            inspection.input_width, inspection.input_height, input.width, input.height
        ));
    }
    let value = match count {
        Count::Parameters => inspection.parameters,
        Count::FlopsNtire2022 => inspection.flops_ntire2022,
        Count::Activations => inspection.activations,
        Count::Convolutions => inspection.convolutions,
    };
    let meets = value <= limit;
    let name = &rules.baseline.name;
    let share = value as f64 / limit as f64;
    let reason = match value.abs_diff(limit) {
        0 => format!("exactly as many as {name}"),
        more if !meets => format!("{} more than {name}, {share:.2} times as many", thousands(more)),
        fewer => format!("{} fewer than {name}, {:.1} % of its number", thousands(fewer), share * 100.0),
    };
    Ok(Finding { value: Value::Count(value), meets, reason })
}

fn runtime(rules: &Challenge, limit: f64, measurement: Option<&Measurement>) -> Found {
    let m = measurement.ok_or("there is no measurement")?;
    let wanted = &rules.baseline.architecture;
    let (Some(baseline), Some(ratio)) = (&m.baseline, &m.ratio_to_baseline) else {
        return Err(format!(
            "the model was not measured beside a baseline; the rule asks for {wanted} in the same run"
        ));
    };
    if &baseline.model.architecture != wanted {
        let found = describe(&baseline.model);
        return Err(format!("it was measured beside {found}, the rule asks for {wanted}"));
    }
    let ordered = 0.0 < ratio.low && ratio.low <= ratio.median && ratio.median <= ratio.high;
    if !ordered || !ratio.high.is_finite() {
        return Err("the ratio in the measurement is not a positive number inside its interval".to_owned());
    }
    let (validity, why) = m.joint_validity();
    let interval =
        format!("[{:.3}, {:.3}] at {:.1} % confidence", ratio.low, ratio.high, ratio.confidence * 100.0);
    let one_side = ratio.high <= limit || ratio.low > limit;
    let meets = ratio.median <= limit;
    let trust = match validity {
        Validity::Valid if one_side => String::new(),
        Validity::Valid => {
            format!("; the interval includes the limit of {limit}, so the median decides narrowly")
        }
        other if one_side && ratio.confidence >= LEAST_CONFIDENCE => {
            format!(
                "; the measurement is {} ({why}), but the whole interval is on one side of the limit",
                other.name()
            )
        }
        other => {
            return Err(format!(
                "the measurement is {} ({why}) and its ratio {:.3} {interval} does not settle whether it is at most {limit}",
                other.name(),
                ratio.median
            ));
        }
    };
    let reason = format!(
        "{:.3} {interval}, {} pairs, protocol {}, {} on {}, {} threads, {}, {}{trust}; limits in ms ({:.2} on the validation set, {:.2} on average) hold only on the organisers' GPU",
        ratio.median,
        ratio.pairs,
        m.protocol.name(),
        m.engine,
        m.device,
        m.threads,
        m.precision,
        m.input,
        rules.baseline.runtime_valid_ms,
        rules.baseline.runtime_average_ms,
    );
    Ok(Finding { value: Value::Real(ratio.median), meets, reason })
}

fn memory(baseline_mib: f64, measurement: Option<&Measurement>) -> Found {
    let m = measurement.ok_or("there is no measurement")?;
    if let Some(bytes) = m.timing.device_peak_bytes() {
        let mib = bytes as f64 / f64::from(1u32 << 20);
        let reason = format!(
            "most bytes of {} that were allocated at one time, which is nearest to what PyTorch's allocator counts; {baseline_mib:.2} MiB is the organisers' \
             figure, for the validation images, and this is for {}",
            m.device, m.input
        );
        return Ok(Finding { value: Value::Real(mib), meets: mib <= baseline_mib, reason });
    }
    let Some(bytes) = m.timing.peak_memory_bytes else {
        return Err("the system does not tell the peak memory of a process".to_owned());
    };
    let mib = bytes as f64 / f64::from(1u32 << 20);
    let what = match m.timing.peak_memory_scope {
        Some(MemoryScope::WhileRunning) => "peak resident memory of the process while the model ran",
        Some(MemoryScope::SinceProcessStart) | None => "peak resident memory of the process since it started",
    };
    let reason = format!(
        "{what} on {}; {baseline_mib:.2} MiB is what PyTorch's allocator counted on the organisers' GPU, so the two cannot be compared",
        m.device
    );
    Ok(Finding { value: Value::Real(mib), meets: mib <= baseline_mib, reason })
}

/// An evaluation is only believed if its mean follows from its images.
fn consistent(evaluation: &Evaluation) -> Result<(), Error> {
    let wrong = |what: String| Err(Error::Contradiction { artefact: "evaluation", what });
    if let Some(image) = evaluation.images.iter().find(|image| image.psnr_rgb_db.is_none() != image.identical)
    {
        let psnr = if image.identical { "a finite PSNR although it is identical" } else { "no PSNR" };
        return wrong(format!("image {} has {psnr}", image.name));
    }
    let recorded = evaluation.mean.psnr_rgb_db;
    let scores: Option<Vec<f64>> = evaluation.images.iter().map(|image| image.psnr_rgb_db).collect();
    let computed = scores.filter(|scores| !scores.is_empty()).map(|s| s.iter().sum::<f64>() / s.len() as f64);
    match (recorded, computed) {
        (None, None) => Ok(()),
        (Some(recorded), Some(computed)) if (recorded - computed).abs() <= MEAN_TOLERANCE_DB => Ok(()),
        _ => {
            let word = |mean: Option<f64>| mean.map_or("none".to_owned(), |mean| format!("{mean} dB"));
            wrong(format!("its mean PSNR is {}, that of its images {}", word(recorded), word(computed)))
        }
    }
}

#[cfg(test)]
mod tests;
