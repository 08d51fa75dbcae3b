//! Judges published numbers against what a run found.
//!
//! Each kind of claim has one kind of evidence that counts, on the claim's own images and hardware; anything else leaves it "not
//! attempted", with what would attempt it. The invariant: nothing is reproduced by a number that was obtained under other
//! conditions than the published one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::inputs::{Interval, SetEvaluation, TrainingSummary};
use crate::graph::inspection::Inspection;
use crate::manifest::paper::{Claim, Paper, Quantity, Recipe, Reproduction, Tolerance, Weights};

/// What a run found, for [`judge`].
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The profile, for "not in profile `demo`".
    pub profile: String,
    /// Exact counts, found by their model's architecture. See [`Paper::inspected_architectures`].
    pub inspections: Vec<Inspection>,
    /// Evaluations of released and of trained weights, found by the SHA-256 of the weights file.
    pub evaluations: Vec<SetEvaluation>,
    /// Runtime ratios.
    pub ratios: Vec<RuntimeRatio>,
    /// Trainings; the state after the first of two stages may be an entry of its own.
    pub trainings: Vec<TrainingSummary>,
}

/// The runtime of one architecture divided by that of another, measured in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeRatio {
    /// The architecture in the numerator.
    pub candidate: String,
    /// The architecture in the denominator.
    pub baseline: String,
    /// What they ran on: names of image sets, or an input size such as `256x256`.
    pub inputs: Vec<String>,
    /// The ratio.
    pub ratio: Interval,
    /// `valid`, `noisy`, `throttled` or `unlocked`.
    pub validity: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClaimStatus {
    /// Obtained under the published conditions, within the tolerance.
    #[serde(rename = "reproduced")]
    Reproduced,
    /// Obtained under the published conditions, outside the tolerance.
    #[serde(rename = "differs")]
    Differs,
    /// Not obtained under the published conditions.
    #[serde(rename = "not attempted")]
    NotAttempted,
}

impl ClaimStatus {
    /// Its word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reproduced => "reproduced",
            Self::Differs => "differs",
            Self::NotAttempted => "not attempted",
        }
    }
}

/// A claim beside what the run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimResult {
    /// The claim's id.
    pub id: String,
    /// Id of the table it is in.
    pub table: String,
    /// The row and the quantity in words.
    pub what: String,
    /// The unit of `published` and `measured`; empty for counts and ratios.
    pub unit: String,
    /// What became of it.
    pub status: ClaimStatus,
    /// The number as printed.
    pub published: String,
    /// The value found, unrounded, in `unit`; `None` when not attempted (or infinite).
    pub measured: Option<f64>,
    /// How many decimals were printed: as many as a person is shown of `measured`.
    pub decimals: usize,
    /// A value found under other conditions, for information only: it decides nothing.
    pub elsewhere: Option<Elsewhere>,
    /// What the status rests on; for a claim not attempted, why, and what would attempt it.
    pub how: String,
}

/// A value found under other conditions than the published ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The value, in the claim's unit.
    pub value: f64,
    /// Under which conditions.
    pub on: String,
}

/// What judging one claim gives.
struct Outcome {
    status: ClaimStatus,
    measured: Option<f64>,
    elsewhere: Option<Elsewhere>,
    how: String,
}

impl Outcome {
    fn not_attempted(how: String) -> Self {
        Self { status: ClaimStatus::NotAttempted, measured: None, elsewhere: None, how }
    }

    fn attempted(agrees: bool, measured: f64, how: String) -> Self {
        let status = if agrees { ClaimStatus::Reproduced } else { ClaimStatus::Differs };
        Self { status, measured: Some(measured), elsewhere: None, how }
    }
}

/// Judges every claim, in the order of the manifest.
pub fn judge(paper: &Paper, evidence: &Evidence) -> Vec<ClaimResult> {
    let judge = Judge { paper, evidence };
    paper.claims.iter().map(|claim| judge.claim(claim)).collect()
}

struct Judge<'a> {
    paper: &'a Paper,
    evidence: &'a Evidence,
}

impl Judge<'_> {
    fn claim(&self, claim: &Claim) -> ClaimResult {
        let mut outcome = match &claim.by {
            Reproduction::Inspection(architecture) => self.inspection(claim, architecture),
            Reproduction::Evaluation { weights, images } => self.evaluation(claim, weights, images),
            Reproduction::Training { recipe, images } => self.training(claim, recipe, images),
            Reproduction::Ratio { candidate, baseline, images } => {
                self.ratio(claim, candidate, baseline, images)
            }
            Reproduction::OtherHardware { .. } | Reproduction::NotPublic(_) | Reproduction::Limit(_) => {
                Outcome::not_attempted(self.paper.how_to(claim))
            }
        };
        if outcome.status == ClaimStatus::Differs
            && let Some(known) =
                self.paper.discrepancies.iter().find(|entry| entry.claims.contains(&claim.id))
        {
            outcome.how = format!("{}; known discrepancy `{}`: {}", outcome.how, known.id, known.why);
        }
        ClaimResult {
            id: claim.id.clone(),
            table: claim.table.clone(),
            what: format!("{}: {}", claim.row, claim.quantity.title()),
            unit: claim.quantity.unit().to_owned(),
            status: outcome.status,
            published: claim.published.text.clone(),
            measured: outcome.measured,
            decimals: claim.published.decimals,
            elsewhere: outcome.elsewhere,
            how: outcome.how,
        }
    }

    fn not_attempted(&self, claim: &Claim, why: &str) -> Outcome {
        Outcome::not_attempted(format!("{why}: {}", self.paper.how_to(claim)))
    }

    fn not_in_profile(&self, claim: &Claim) -> Outcome {
        self.not_attempted(claim, &format!("not in profile `{}`", self.evidence.profile))
    }

    fn inspection(&self, claim: &Claim, architecture: &str) -> Outcome {
        let Some(found) = self.evidence.inspections.iter().find(|i| i.model.architecture == architecture)
        else {
            return self.not_in_profile(claim);
        };
        let [width, height] = self.paper.input_width_height;
        // Parameters and calls do not depend on the input; work does.
        let sized = matches!(claim.quantity, Quantity::FlopsG | Quantity::ActivationsM);
        if sized && [found.input_width, found.input_height] != [width, height] {
            let why = format!(
                "counted at {}x{}, published at {width}x{height}",
                found.input_width, found.input_height
            );
            return self.not_attempted(claim, &why);
        }
        let (count, per_unit) = match claim.quantity {
            Quantity::ParametersM => (found.parameters, 1e6),
            Quantity::FlopsG => (found.flops_ntire2022, 1e9),
            Quantity::ActivationsM => (found.activations, 1e6),
            _ => (found.convolutions, 1.0),
        };
        // Counts stay far below 2^53, so the conversion is exact.
        let value = count as f64 / per_unit;
        let rounded = claim.published.round_like_printed(value);
        let printed = claim.published.digits();
        let agrees = rounded == printed;
        let rounding =
            if rounded == count.to_string() { "" } else { &format!(", which rounds to {rounded}") };
        let against = if agrees { "as printed".to_owned() } else { format!("{printed} was printed") };
        let how = format!("`{architecture}` counted exactly: {count}{rounding}: {against}");
        Outcome::attempted(agrees, value, how)
    }

    fn evaluation(&self, claim: &Claim, weights: &str, images: &str) -> Outcome {
        let Some(weights) = self.paper.weights.get(weights) else {
            return self.not_in_profile(claim);
        };
        let of_model = self.evidence.evaluations.iter().filter(|found| is_of(found, weights));
        let name = weights.file.as_deref().unwrap_or(&weights.architecture);
        let slack = &self.paper.tolerance.evaluation;
        self.psnr(claim, of_model.collect(), images, &format!("`{name}`"), slack)
    }

    fn training(&self, claim: &Claim, recipe: &str, images: &str) -> Outcome {
        let Some(recipe) = self.paper.recipes.get(recipe) else {
            return self.not_in_profile(claim);
        };
        let mut why = None;
        for training in &self.evidence.trainings {
            let departures = departures(training, recipe);
            let Some(sha256) = training.weights_sha256.as_ref().filter(|_| departures.is_empty()) else {
                let what = if departures.is_empty() {
                    "its weights were not saved".to_owned()
                } else {
                    departures.join(", ")
                };
                why.get_or_insert(format!("this run's training is another one ({what})"));
                continue;
            };
            let evaluations = self.evidence.evaluations.iter();
            let of_model = evaluations
                .filter(|found| found.evaluation.model.weights_sha256.as_ref() == Some(sha256))
                .collect();
            let model = format!("`{}` trained by the published recipe", recipe.architecture);
            return self.psnr(claim, of_model, images, &model, &self.paper.tolerance.training);
        }
        match why {
            Some(why) => self.not_attempted(claim, &why),
            None => self.not_in_profile(claim),
        }
    }

    /// Compares the mean PSNR of the first evaluation that is on exactly the claim's images.
    fn psnr(
        &self,
        claim: &Claim,
        of_model: Vec<&SetEvaluation>,
        images: &str,
        model: &str,
        tolerance: &Tolerance,
    ) -> Outcome {
        let mut why = None;
        for found in of_model {
            if let Err(reason) = self.same_conditions(found, images) {
                why.get_or_insert(reason);
                continue;
            }
            let n = found.evaluation.images.len();
            let Some(measured) = found.evaluation.mean.psnr_rgb_db.filter(|db| db.is_finite()) else {
                return Outcome {
                    status: ClaimStatus::Differs,
                    measured: None,
                    elsewhere: None,
                    how: format!(
                        "{model} evaluated on {n} images of {images}: an output is identical to its HR image, so the mean is infinite"
                    ),
                };
            };
            let difference = measured - claim.published.value;
            let allowed = claim.published.half_unit() + tolerance.slack;
            let how = format!(
                "{model} evaluated on {n} images of {images}: {difference:+.4} dB, {allowed} dB allowed ({})",
                tolerance.why
            );
            return Outcome::attempted(within(difference, allowed), measured, how);
        }
        match why {
            Some(why) => self.not_attempted(claim, &why),
            None => self.not_in_profile(claim),
        }
    }

    /// Whether an evaluation is on exactly the images, scale and border of a claim, or why it is not.
    fn same_conditions(&self, found: &SetEvaluation, images: &str) -> Result<(), String> {
        if found.image_set != images {
            return Err(format!("evaluated on {}, published on {images}", found.image_set));
        }
        let evaluation = &found.evaluation;
        if (evaluation.scale, evaluation.border) != (self.paper.scale, self.paper.border) {
            return Err(format!(
                "evaluated at x{} with a border of {} pixels, published at x{} with {}",
                evaluation.scale, evaluation.border, self.paper.scale, self.paper.border
            ));
        }
        let wanted = self.paper.images.get(images).map(|set| set.names()).unwrap_or_default();
        let mut names: Vec<&str> = evaluation.images.iter().map(|image| image.name.as_str()).collect();
        names.sort_unstable();
        if !names.iter().copied().eq(wanted.iter().map(String::as_str)) {
            return Err(format!(
                "the {} evaluated images are not exactly the {} of {images}",
                names.len(),
                wanted.len()
            ));
        }
        Ok(())
    }

    fn ratio(&self, claim: &Claim, candidate: &str, baseline: &str, images: &[String]) -> Outcome {
        let tolerance = &self.paper.tolerance.ratio;
        let mut other = None;
        for found in &self.evidence.ratios {
            if found.candidate != candidate || found.baseline != baseline {
                continue;
            }
            let inputs = found.inputs.join(" and ");
            let why = if !found.device.starts_with("cuda") {
                format!("measured on {}, published on a GPU", found.device)
            } else if found.validity != "valid" {
                format!("the measurement is {}, not valid", found.validity)
            } else if found.inputs != images {
                format!("measured on {inputs}, published on {}", images.join(" and "))
            } else if !found.ratio.median.is_finite() {
                "the measured ratio is not a number".to_owned()
            } else {
                let allowed = claim.published.half_unit() + tolerance.slack;
                let difference = found.ratio.median - claim.published.value;
                let how = format!(
                    "`{candidate}` against `{baseline}` in one run on {}, {inputs}, known to [{:.4}, {:.4}]: {difference:+.4}, {allowed} allowed ({})",
                    found.device, found.ratio.low, found.ratio.high, tolerance.why
                );
                return Outcome::attempted(within(difference, allowed), found.ratio.median, how);
            };
            let on = format!("{}, {inputs}, {}", found.device, found.validity);
            other.get_or_insert((why, Elsewhere { value: found.ratio.median, on }));
        }
        match other {
            Some((why, elsewhere)) => Outcome {
                elsewhere: elsewhere.value.is_finite().then_some(elsewhere),
                ..self.not_attempted(claim, &why)
            },
            None => self.not_in_profile(claim),
        }
    }
}

/// Whether a difference is within what is allowed. The hair added keeps a difference of exactly the allowed size from failing
/// because decimal numbers are not exact in binary.
fn within(difference: f64, allowed: f64) -> bool {
    difference.abs() <= allowed + 1e-9
}

/// Whether an evaluation is of these weights; a model without weights is known by its architecture.
fn is_of(found: &SetEvaluation, weights: &Weights) -> bool {
    let model = &found.evaluation.model;
    match &weights.sha256 {
        Some(_) => model.weights_sha256 == weights.sha256,
        None => model.weights_sha256.is_none() && model.architecture == weights.architecture,
    }
}

/// Everything in which a training departs from a recipe.
fn departures(training: &TrainingSummary, recipe: &Recipe) -> Vec<String> {
    let mut found = Vec::new();
    if training.architecture != recipe.architecture {
        found.push(format!("`{}` instead of `{}`", training.architecture, recipe.architecture));
    }
    if training.training_images != recipe.training_images {
        found.push(format!("{} images instead of {}", training.training_images, recipe.training_images));
    }
    if training.stages.len() != recipe.stages.len() {
        found.push(format!("stages: {} instead of {}", training.stages.len(), recipe.stages.len()));
    }
    for (stage, wanted) in training.stages.iter().zip(&recipe.stages) {
        if stage.lr_patch != wanted.lr_patch {
            found.push(format!("LR patches of {} pixels instead of {}", stage.lr_patch, wanted.lr_patch));
        }
        if stage.batch != recipe.batch {
            found.push(format!("batches of {} instead of {}", stage.batch, recipe.batch));
        }
        if stage.epochs != wanted.epochs as f64 {
            found.push(format!("{} epochs instead of {}", stage.epochs, wanted.epochs));
        }
    }
    if !training.completed {
        found.push("not finished".to_owned());
    }
    // Two stages often depart in the same way, which need not be said twice.
    let mut said = BTreeSet::new();
    found.retain(|departure| said.insert(departure.clone()));
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::fixtures;
    use super::*;

    const TEAM26: &str = "c8bd64b7eebe5d955c00fb5626385e13fa5775518be77a265f3f74b5e33e55a7";

    fn results(evidence: &Evidence) -> BTreeMap<String, ClaimResult> {
        let paper = Paper::built_in().unwrap();
        judge(&paper, evidence).into_iter().map(|result| (result.id.clone(), result)).collect()
    }

    fn evidence() -> Evidence {
        Evidence { profile: "verify".to_owned(), ..Evidence::default() }
    }

    fn valid_set(sha256: &str, mean_db: f64) -> SetEvaluation {
        let names: Vec<String> = (801..=900).map(|n| format!("{n:04}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        fixtures::evaluation("imdn:blocks=7", Some(sha256), "div2k-valid", &names, mean_db)
    }

    #[test]
    fn exact_counts_reproduce_when_they_print_as_published() {
        let found = results(&Evidence {
            inspections: (4..=8).map(fixtures::imdn_inspection).collect(),
            ..evidence()
        });
        let check = |id: &str, published: &str, measured: f64| {
            let claim = &found[id];
            assert_eq!(claim.published, published, "{id}");
            assert_eq!(claim.measured, Some(measured), "{id}");
            assert_eq!(claim.status, ClaimStatus::Reproduced, "{id}: {}", claim.how);
        };
        check("table3.blocks8.parameters", "0.8939", 0.893936);
        check("table3.blocks7.parameters", "0.7905", 0.790496);
        check("table3.blocks6.parameters", "0.6871", 0.687056);
        check("table3.blocks5.parameters", "0.5836", 0.583616);
        check("table3.blocks4.parameters", "0.4802", 0.480176);
        check("table4.pruning.flops", "51.76", 51.75771136);
        check("table4.target.flops", "58.53", 58.53151232);
        check("table4.target.parameters", "≤ 0.8939", 0.893936);
        check("table4.target.convolutions", "43", 43.0);
        check("official-2022.xilinxsr.parameters", "0.790", 0.790496);
        check("official-2022.xilinxsr.activations", "136.31", 136.31488);
        check("official-2022.xilinxsr.convolutions", "38", 38.0);
        check("official-2022.baseline.activations", "154.14", 154.140672);
        assert_eq!(
            found["table3.blocks7.parameters"].how,
            "`imdn:blocks=7` counted exactly: 790496, which rounds to 0.7905: as printed"
        );
        // The paper's own count of convolutions is the one number that does not hold.
        let differing: Vec<_> = found.values().filter(|claim| claim.status == ClaimStatus::Differs).collect();
        assert_eq!(differing.len(), 1);
        assert_eq!(differing[0].id, "table4.pruning.convolutions");
        assert_eq!((differing[0].published.as_str(), differing[0].measured), ("37", Some(38.0)));
        assert!(differing[0].how.contains("known discrepancy `convolutions`"), "{}", differing[0].how);
    }

    #[test]
    fn a_count_one_digit_off_differs_and_shows_it() {
        let mut inspection = fixtures::imdn_inspection(7);
        inspection.parameters = 790_551;
        let found = results(&Evidence { inspections: vec![inspection.clone()], ..evidence() });
        assert_eq!(found["table3.blocks7.parameters"].status, ClaimStatus::Differs);
        assert_eq!(found["table3.blocks7.parameters"].decimals, 4);
        // 790,549 still prints as 0.7905.
        inspection.parameters = 790_549;
        let found = results(&Evidence { inspections: vec![inspection], ..evidence() });
        assert_eq!(found["table3.blocks7.parameters"].status, ClaimStatus::Reproduced);
    }

    #[test]
    fn work_counted_at_another_size_is_not_attempted_but_parameters_are() {
        let mut inspection = fixtures::imdn_inspection(7);
        inspection.input_width = 510;
        let found = results(&Evidence { inspections: vec![inspection], ..evidence() });
        let flops = &found["table4.pruning.flops"];
        assert_eq!((flops.status, flops.measured), (ClaimStatus::NotAttempted, None));
        assert!(
            flops.how.starts_with("counted at 510x256, published at 256x256: `esr inspect"),
            "{}",
            flops.how
        );
        assert_eq!(found["table4.pruning.parameters"].status, ClaimStatus::Reproduced);
    }

    #[test]
    fn released_weights_reproduce_within_half_a_digit_and_the_slack() {
        let status = |db: f64| {
            let evaluations = vec![valid_set(TEAM26, db)];
            results(&Evidence { evaluations, ..evidence() })["table1.this-paper.psnr_valid"].clone()
        };
        for (db, expected) in [
            (29.05, ClaimStatus::Reproduced),
            (29.0451, ClaimStatus::Reproduced),
            (29.0559, ClaimStatus::Reproduced),
            (29.0439, ClaimStatus::Differs),
            (29.0561, ClaimStatus::Differs),
        ] {
            let claim = status(db);
            assert_eq!((claim.status, claim.measured), (expected, Some(db)), "{}", claim.how);
        }
    }

    #[test]
    fn an_evaluation_on_other_images_or_of_other_weights_never_counts() {
        let claim = |set: SetEvaluation| {
            let found = results(&Evidence { evaluations: vec![set], ..evidence() });
            let claim = found["table1.this-paper.psnr_valid"].clone();
            assert_eq!((claim.status, claim.measured), (ClaimStatus::NotAttempted, None), "{}", claim.how);
            claim.how
        };
        let mut other_set = valid_set(TEAM26, 29.05);
        other_set.image_set = "demo".to_owned();
        assert!(claim(other_set).starts_with("evaluated on demo, published on div2k-valid: `esr evaluate"));
        let mut fewer = valid_set(TEAM26, 29.05);
        fewer.evaluation.images.pop();
        assert!(claim(fewer).starts_with("the 99 evaluated images are not exactly the 100 of div2k-valid"));
        let mut border = valid_set(TEAM26, 29.05);
        border.evaluation.border = 0;
        assert!(claim(border).contains("border of 0 pixels"));
        assert!(
            claim(valid_set(&"0".repeat(64), 29.05))
                .starts_with("not in profile `verify`: `esr evaluate --model team26_imdn_nb7.pth")
        );
    }

    #[test]
    fn an_infinite_mean_differs() {
        let mut set = valid_set(TEAM26, 29.05);
        set.evaluation.mean.psnr_rgb_db = None;
        let found = results(&Evidence { evaluations: vec![set], ..evidence() });
        let claim = &found["table1.this-paper.psnr_valid"];
        assert_eq!((claim.status, claim.measured), (ClaimStatus::Differs, None));
        assert!(claim.how.contains("infinite"));
    }

    #[test]
    fn set5_and_bicubic_are_judged_like_the_rest() {
        let names = ["baby", "bird", "butterfly", "head", "woman"];
        // The means of the official code, from the table of per-image values that it made.
        let sets = vec![
            fixtures::evaluation("imdn:blocks=7", Some(TEAM26), "set5", &names, 30.291296),
            fixtures::evaluation("bicubic", None, "set5", &names, 26.694722),
        ];
        let found = results(&Evidence { evaluations: sets, ..evidence() });
        assert_eq!(found["official-code.xilinxsr.psnr_set"].status, ClaimStatus::Reproduced);
        assert_eq!(found["official-code.bicubic.psnr_set"].status, ClaimStatus::Reproduced);
        assert_eq!(found["official-code.baseline.psnr_set"].status, ClaimStatus::NotAttempted);
    }

    #[test]
    fn a_training_counts_only_by_the_published_recipe() {
        let trained = "ab".repeat(32);
        let published = fixtures::published_training(&trained);
        let claim = |training: &TrainingSummary, db: f64| {
            let found = results(&Evidence {
                evaluations: vec![valid_set(&trained, db)],
                trainings: vec![training.clone()],
                ..evidence()
            });
            found["table2.two-stage.psnr_valid"].clone()
        };
        assert_eq!(claim(&published, 29.05).status, ClaimStatus::Reproduced);
        assert_eq!(claim(&published, 29.02).status, ClaimStatus::Reproduced);
        assert_eq!(claim(&published, 29.01).status, ClaimStatus::Differs);

        let departing = |change: fn(&mut TrainingSummary), reason: &str| {
            let mut training = published.clone();
            change(&mut training);
            let result = claim(&training, 29.05);
            assert_eq!((result.status, result.measured), (ClaimStatus::NotAttempted, None));
            assert!(result.how.contains(reason), "{}", result.how);
            assert!(result.how.contains("`make reproduce PROFILE=paper`"), "{}", result.how);
        };
        departing(|t| t.architecture = "imdn:blocks=2".to_owned(), "`imdn:blocks=2` instead of");
        departing(|t| t.training_images = 14, "14 images instead of 3450");
        departing(|t| t.completed = false, "not finished");
        departing(|t| t.stages.truncate(1), "stages: 1 instead of 2");
        departing(|t| t.stages[1].lr_patch = 48, "LR patches of 48 pixels instead of 160");
        departing(|t| t.stages[0].batch = 4, "batches of 4 instead of 32");
        departing(|t| t.stages[0].epochs = 0.5, "0.5 epochs instead of 500");
        departing(|t| t.weights_sha256 = None, "its weights were not saved");
    }

    #[test]
    fn a_training_without_its_evaluation_is_not_attempted() {
        let trainings = vec![fixtures::published_training(&"ab".repeat(32))];
        let found =
            results(&Evidence { trainings, evaluations: vec![valid_set(TEAM26, 29.05)], ..evidence() });
        assert_eq!(found["table2.two-stage.psnr_valid"].status, ClaimStatus::NotAttempted);
        // The released weights are evidence of their own claim only, not of a training.
        assert_eq!(found["table1.this-paper.psnr_valid"].status, ClaimStatus::Reproduced);
    }

    fn ratio(device: &str, validity: &str, inputs: &[&str], median: f64) -> RuntimeRatio {
        RuntimeRatio {
            candidate: "imdn:blocks=7".to_owned(),
            baseline: "imdn:blocks=8".to_owned(),
            inputs: inputs.iter().map(|&name| name.to_owned()).collect(),
            ratio: Interval { median, low: median - 0.002, high: median + 0.002 },
            validity: validity.to_owned(),
            device: device.to_owned(),
        }
    }

    #[test]
    fn a_ratio_counts_only_from_a_valid_measurement_on_a_gpu_and_the_same_images() {
        const ID: &str = "derived.blocks7-to-blocks8.runtime_ratio";
        let claim =
            |found: RuntimeRatio| results(&Evidence { ratios: vec![found], ..evidence() })[ID].clone();
        let valid = ["div2k-valid"];
        assert_eq!(claim(ratio("cuda:0", "valid", &valid, 0.98)).status, ClaimStatus::Reproduced);
        assert_eq!(claim(ratio("cuda:0", "valid", &valid, 0.97)).status, ClaimStatus::Reproduced);
        assert_eq!(claim(ratio("cuda:0", "valid", &valid, 0.96)).status, ClaimStatus::Differs);
        for (found, why) in [
            (ratio("cpu", "valid", &valid, 0.989), "measured on cpu, published on a GPU: `esr measure"),
            (ratio("cuda:0", "throttled", &valid, 0.989), "the measurement is throttled, not valid"),
            (ratio("cuda:0", "valid", &["256x256"], 0.989), "measured on 256x256, published on div2k-valid"),
        ] {
            let claim = claim(found);
            assert_eq!((claim.status, claim.measured), (ClaimStatus::NotAttempted, None));
            assert!(claim.how.starts_with(why), "{}", claim.how);
            assert_eq!(claim.elsewhere.map(|found| found.value), Some(0.989));
        }
        let nan = claim(ratio("cuda:0", "valid", &valid, f64::NAN));
        assert_eq!((nan.status, nan.elsewhere), (ClaimStatus::NotAttempted, None));
        let mut other = ratio("cuda:0", "valid", &valid, 0.989);
        other.candidate = "imdn:blocks=2".to_owned();
        assert!(claim(other).how.starts_with("not in profile `verify`"));
        let both = ratio("cuda:0", "valid", &["div2k-valid", "div2k-test"], 0.95);
        let found = results(&Evidence { ratios: vec![both], ..evidence() });
        assert_eq!(found["official-2022.xilinxsr-to-baseline.runtime_ratio"].status, ClaimStatus::Reproduced);
    }

    #[test]
    fn what_nobody_can_attempt_says_why() {
        let found = results(&evidence());
        assert!(
            found.values().all(|claim| claim.status == ClaimStatus::NotAttempted && claim.measured.is_none())
        );
        let how = |id: &str| found[id].how.as_str();
        assert_eq!(
            how("table1.this-paper.runtime_valid"),
            "only on the organisers' GPU (Titan Xp class); \
             the ratio to the baseline is claim `derived.blocks7-to-blocks8.runtime_ratio`"
        );
        assert!(how("table1.this-paper.psnr_test").contains("not public"));
        assert!(how("table1.rainbow.psnr_valid").contains("another team's model"));
        assert!(how("table1.target.psnr_valid").contains("`esr check --year 2022 RUN`"));
        assert!(how("table5.patch160.epoch").contains("the authors' training machine"));
        assert!(how("table4.ofa.parameters").contains("neither the architecture"));
        assert!(how("table3.blocks4.parameters").contains("`esr inspect imdn:blocks=4 --size 256x256`"));
    }

    #[test]
    fn absolute_times_are_never_reproduced_whatever_the_evidence() {
        let found = results(&Evidence {
            ratios: vec![ratio("cuda:0", "valid", &["div2k-valid"], 0.989)],
            inspections: (4..=8).map(fixtures::imdn_inspection).collect(),
            evaluations: vec![valid_set(TEAM26, 29.05)],
            trainings: vec![fixtures::published_training(TEAM26)],
            ..evidence()
        });
        for claim in found.values().filter(|claim| ["ms", "s", "MB", "MiB"].contains(&claim.unit.as_str())) {
            assert_eq!(claim.status, ClaimStatus::NotAttempted, "{}", claim.id);
        }
    }
}
