//! Judges published numbers against what a run found.
//!
//! Each kind of claim has one kind of evidence that counts, on the claim's own images and hardware; anything else leaves it "not
//! attempted", with what would attempt it. The invariant: nothing is reproduced by a number that was obtained under other
//! conditions than the published one.

use serde::{Deserialize, Serialize};

use super::inputs::{Interval, SetEvaluation, TrainingSummary};
use crate::graph::inspection::Inspection;
use crate::manifest::paper::{Claim, Paper, Published, Quantity, Recipe, Reproduction, Tolerance, Weights};

/// What a run found, for [`judge`].
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The profile, for "not attempted in profile `demo`".
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
    /// How many decimals a person should be shown: as many as were printed, more where the digits would hide a difference.
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
        Self {
            status: ClaimStatus::NotAttempted,
            measured: None,
            elsewhere: None,
            how,
        }
    }

    fn attempted(agrees: bool, measured: f64, how: String) -> Self {
        let status = if agrees {
            ClaimStatus::Reproduced
        } else {
            ClaimStatus::Differs
        };
        Self {
            status,
            measured: Some(measured),
            elsewhere: None,
            how,
        }
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
            Reproduction::Ratio {
                candidate,
                baseline,
                images,
            } => self.ratio(claim, candidate, baseline, images),
            Reproduction::OtherHardware { .. } => Outcome::not_attempted(format!(
                "not attempted in profile `{}`: {}",
                self.evidence.profile,
                self.paper.how_to(claim)
            )),
            Reproduction::NotPublic(_) | Reproduction::Limit(_) => {
                Outcome::not_attempted(self.paper.how_to(claim))
            }
        };
        if outcome.status == ClaimStatus::Differs
            && let Some(known) = self
                .paper
                .discrepancies
                .iter()
                .find(|entry| entry.claims.contains(&claim.id))
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
            decimals: shown_decimals(&claim.published, &outcome),
            elsewhere: outcome.elsewhere,
            how: outcome.how,
        }
    }

    fn not_attempted(&self, claim: &Claim, why: &str) -> Outcome {
        Outcome::not_attempted(format!("{why}: {}", self.paper.how_to(claim)))
    }

    fn not_in_profile(&self, claim: &Claim) -> Outcome {
        self.not_attempted(
            claim,
            &format!("not attempted in profile `{}`", self.evidence.profile),
        )
    }

    fn inspection(&self, claim: &Claim, architecture: &str) -> Outcome {
        let Some(found) = self
            .evidence
            .inspections
            .iter()
            .find(|i| i.model.architecture == architecture)
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
        let against = if agrees {
            "as printed".to_owned()
        } else {
            format!("not {printed}")
        };
        let how =
            format!("`{architecture}` counted exactly: {count}, printed like this {rounded}, {against}");
        Outcome::attempted(agrees, value, how)
    }

    fn evaluation(&self, claim: &Claim, weights: &str, images: &str) -> Outcome {
        let Some(weights) = self.paper.weights.get(weights) else {
            return self.not_in_profile(claim);
        };
        let of_model = self
            .evidence
            .evaluations
            .iter()
            .filter(|found| is_of(found, weights));
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
        let wanted = self
            .paper
            .images
            .get(images)
            .map(|set| set.names())
            .unwrap_or_default();
        let mut names: Vec<&str> = evaluation
            .images
            .iter()
            .map(|image| image.name.as_str())
            .collect();
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
            other.get_or_insert((
                why,
                Elsewhere {
                    value: found.ratio.median,
                    on,
                },
            ));
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
        found.push(format!(
            "`{}` instead of `{}`",
            training.architecture, recipe.architecture
        ));
    }
    if training.training_images != recipe.training_images {
        found.push(format!(
            "{} images instead of {}",
            training.training_images, recipe.training_images
        ));
    }
    if training.stages.len() != recipe.stages.len() {
        found.push(format!(
            "{} stages instead of {}",
            training.stages.len(),
            recipe.stages.len()
        ));
    }
    for (stage, wanted) in training.stages.iter().zip(&recipe.stages) {
        if stage.lr_patch != wanted.lr_patch {
            found.push(format!(
                "LR patches of {} pixels instead of {}",
                stage.lr_patch, wanted.lr_patch
            ));
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
    found
}

/// As many decimals as were printed; one more, up to four more, where a difference would not show.
fn shown_decimals(published: &Published, outcome: &Outcome) -> usize {
    let printed = published.decimals;
    match (outcome.status, outcome.measured) {
        (ClaimStatus::Differs, Some(value)) => (printed..printed + 4)
            .find(|&decimals| format!("{value:.decimals$}") != format!("{:.decimals$}", published.value))
            .unwrap_or(printed),
        _ => printed,
    }
}
