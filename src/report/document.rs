//! The report as one typed document: the artefact `report.json`, from which `report.md` can be made again at any time.
//!
//! It holds numbers exactly as found. Its invariant: every part of it that is `None` has an entry in [`Report::absent`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::claims::{ClaimResult, ClaimStatus, Evidence, judge};
use super::inputs::{
    Absent, ArtefactFile, CollapseSummary, Item, MeasurementSummary, Provenance, ReportInputs, SetEvaluation,
    Setting, StageSummary, TrainingSummary, VerdictSummary,
};
use crate::fsio::Artefact;
use crate::graph::inspection::Inspection;
use crate::manifest::paper::{Discrepancy, Paper, Table};

/// Everything a run showed, beside everything that was published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Format version, [`Artefact::SCHEMA`] when written.
    pub schema: u64,
    /// Which profile ran.
    pub profile: String,
    /// The stages in order.
    pub stages: Vec<StageSummary>,
    /// Quality of the run's model beside bicubic upscaling.
    pub evaluation: Option<EvaluationSummary>,
    /// How well the collapsed model agrees with the expanded one.
    pub collapse: Option<CollapseSummary>,
    /// Exact counts of the run's model.
    pub model: Option<Inspection>,
    /// Exact counts of the paper's model.
    pub paper_model: Option<Inspection>,
    /// Runtime of the run's model.
    pub measurement: Option<MeasurementSummary>,
    /// What the rules of a challenge year say.
    pub verdict: Option<VerdictSummary>,
    /// How the run's model was trained.
    pub training: Option<TrainingSummary>,
    /// Title of the paper.
    pub paper: String,
    /// How many claims became what.
    pub claim_counts: ClaimCounts,
    /// Every published number, in the order of its tables.
    pub claims: Vec<ClaimResult>,
    /// The tables that claims refer to.
    pub tables: Vec<Table>,
    /// Where published numbers contradict each other or arithmetic.
    pub discrepancies: Vec<Discrepancy>,
    /// The settings that matter for the numbers.
    pub settings: Vec<Setting>,
    /// What made the numbers.
    pub provenance: Option<Provenance>,
    /// The files of the run.
    pub artefacts: Vec<ArtefactFile>,
    /// What is not here, and why.
    pub absent: Vec<AbsentItem>,
}

impl Artefact for Report {
    const WHAT: &'static str = "report";
    const SCHEMA: u64 = 1;
}

/// How many claims became what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimCounts {
    /// Obtained under the published conditions, within the tolerance.
    pub reproduced: usize,
    /// Obtained under the published conditions, outside the tolerance.
    pub differs: usize,
    /// Not obtained under the published conditions.
    pub not_attempted: usize,
}

impl ClaimCounts {
    /// Counts some results.
    pub fn of<'a>(claims: impl IntoIterator<Item = &'a ClaimResult>) -> Self {
        let mut counts = Self::default();
        for claim in claims {
            match claim.status {
                ClaimStatus::Reproduced => counts.reproduced += 1,
                ClaimStatus::Differs => counts.differs += 1,
                ClaimStatus::NotAttempted => counts.not_attempted += 1,
            }
        }
        counts
    }

    /// All of them.
    pub fn total(self) -> usize {
        self.reproduced + self.differs + self.not_attempted
    }
}

/// Something the report lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsentItem {
    /// Key of the report that is `null`.
    pub item: String,
    /// Why.
    pub reason: String,
}

/// Quality of the run's model beside bicubic upscaling, on the same images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationSummary {
    /// The image set.
    pub image_set: String,
    /// The architecture evaluated.
    pub architecture: String,
    /// SHA-256 of its weights.
    pub weights_sha256: Option<String>,
    /// Pixels cut from every side before comparing.
    pub border: usize,
    /// Mean RGB PSNR, dB; `None` when an image is identical and the mean infinite.
    pub psnr_rgb_db: Option<f64>,
    /// The same of bicubic upscaling; `None` when it was not evaluated on the same images.
    pub bicubic_psnr_rgb_db: Option<f64>,
    /// The difference of the two.
    pub gain_db: Option<f64>,
    /// Mean RGB SSIM.
    pub ssim_rgb: f64,
    /// The images in order.
    pub images: Vec<ImageSummary>,
}

/// Quality of one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageSummary {
    /// The HR file's stem.
    pub name: String,
    /// RGB PSNR, dB; `None` when identical.
    pub psnr_rgb_db: Option<f64>,
    /// RGB PSNR of bicubic upscaling, dB.
    pub bicubic_psnr_rgb_db: Option<f64>,
    /// RGB SSIM.
    pub ssim_rgb: f64,
}

impl Report {
    /// Judges the claims and puts everything into one document.
    pub fn new(paper: &Paper, evidence: &Evidence, inputs: ReportInputs) -> Self {
        let mut absent = AbsentItems(Vec::new());
        let evaluation = absent.take("evaluation", inputs.evaluation);
        let evaluation = evaluation.map(|found| {
            let bicubic = inputs.bicubic.and_then(|bicubic| same_images(&found, bicubic));
            summarise(found, absent.take("evaluation.bicubic_psnr_rgb_db", bicubic))
        });
        let claims = judge(paper, evidence);
        let mut report = Self {
            schema: Self::SCHEMA,
            profile: inputs.profile,
            stages: inputs.stages,
            evaluation,
            collapse: absent.take("collapse", inputs.collapse),
            model: absent.take("model", inputs.model),
            paper_model: absent.take("paper_model", inputs.paper_model),
            measurement: absent.take("measurement", inputs.measurement),
            verdict: absent.take("verdict", inputs.verdict),
            training: absent.take("training", inputs.training),
            paper: paper.title.clone(),
            claim_counts: ClaimCounts::of(&claims),
            claims,
            tables: paper.tables.clone(),
            discrepancies: paper.discrepancies.clone(),
            settings: inputs.settings,
            provenance: absent.take("provenance", inputs.provenance),
            artefacts: inputs.artefacts,
            absent: Vec::new(),
        };
        report.absent = absent.0;
        report
    }

    /// Why a part of the report is `None`.
    pub fn why_absent(&self, item: &str) -> &str {
        let found = self.absent.iter().find(|absent| absent.item == item);
        found.map_or("the report does not say why", |absent| &absent.reason)
    }
}

/// Collects the names and reasons of what is missing.
struct AbsentItems(Vec<AbsentItem>);

impl AbsentItems {
    fn take<T>(&mut self, item: &str, value: Item<T>) -> Option<T> {
        value.map_err(|Absent(reason)| self.0.push(AbsentItem { item: item.to_owned(), reason })).ok()
    }
}

/// Passes a bicubic evaluation on only if it is of exactly the images of another one: a gain over other images means nothing.
fn same_images(found: &SetEvaluation, bicubic: SetEvaluation) -> Item<SetEvaluation> {
    let images = |set: &SetEvaluation| -> BTreeSet<(String, String)> {
        let images = set.evaluation.images.iter();
        images.map(|image| (image.name.clone(), image.hr_pixels_sha256.clone())).collect()
    };
    let conditions = |set: &SetEvaluation| (set.evaluation.scale, set.evaluation.border);
    if images(found) != images(&bicubic) {
        return Err(Absent::because("bicubic upscaling was evaluated on other images"));
    }
    if conditions(found) != conditions(&bicubic) {
        return Err(Absent::because("bicubic upscaling was evaluated with another scale or border"));
    }
    Ok(bicubic)
}

fn summarise(found: SetEvaluation, bicubic: Option<SetEvaluation>) -> EvaluationSummary {
    let evaluation = found.evaluation;
    let bicubic = bicubic.map(|set| set.evaluation);
    let of_image = |name: &str| {
        let images = bicubic.as_ref().map(|evaluation| evaluation.images.iter());
        images.and_then(|mut images| images.find(|image| image.name == name)).and_then(|i| i.psnr_rgb_db)
    };
    let psnr_rgb_db = evaluation.mean.psnr_rgb_db;
    let bicubic_psnr_rgb_db = bicubic.as_ref().and_then(|evaluation| evaluation.mean.psnr_rgb_db);
    let images = evaluation.images.iter().map(|image| ImageSummary {
        name: image.name.clone(),
        psnr_rgb_db: image.psnr_rgb_db,
        bicubic_psnr_rgb_db: of_image(&image.name),
        ssim_rgb: image.ssim_rgb,
    });
    EvaluationSummary {
        image_set: found.image_set,
        border: evaluation.border,
        psnr_rgb_db,
        bicubic_psnr_rgb_db,
        gain_db: psnr_rgb_db.zip(bicubic_psnr_rgb_db).map(|(model, bicubic)| model - bicubic),
        ssim_rgb: evaluation.mean.ssim_rgb,
        images: images.collect(),
        architecture: evaluation.model.architecture,
        weights_sha256: evaluation.model.weights_sha256,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn report_with(bicubic: Item<SetEvaluation>) -> Report {
        let mut inputs = ReportInputs::new("demo");
        inputs.evaluation = Ok(fixtures::evaluation("imdn:blocks=2", None, "demo", &["a", "b"], 27.5));
        inputs.bicubic = bicubic;
        Report::new(&Paper::built_in().unwrap(), &Evidence::default(), inputs)
    }

    #[test]
    fn a_gain_needs_bicubic_on_the_same_images() {
        let bicubic = |names: &[&str]| fixtures::evaluation("bicubic", None, "demo", names, 26.25);
        let found = report_with(Ok(bicubic(&["b", "a"]))).evaluation.unwrap();
        assert_eq!((found.bicubic_psnr_rgb_db, found.gain_db), (Some(26.25), Some(1.25)));
        assert_eq!(found.images[1].bicubic_psnr_rgb_db, Some(26.25));

        let mut other_pixels = bicubic(&["a", "b"]);
        other_pixels.evaluation.images[0].hr_pixels_sha256 = "other".to_owned();
        let mut other_border = bicubic(&["a", "b"]);
        other_border.evaluation.border = 0;
        for (bicubic, reason) in [
            (Ok(bicubic(&["a"])), "other images"),
            (Ok(other_pixels), "other images"),
            (Ok(other_border), "another scale or border"),
            (Err(Absent::because("out of time")), "out of time"),
        ] {
            let report = report_with(bicubic);
            let why = report.why_absent("evaluation.bicubic_psnr_rgb_db").to_owned();
            assert!(why.contains(reason), "{why}");
            let found = report.evaluation.unwrap();
            assert_eq!(
                (found.psnr_rgb_db, found.bicubic_psnr_rgb_db, found.gain_db),
                (Some(27.5), None, None)
            );
        }
    }

    #[test]
    fn a_newer_report_is_refused_and_this_one_read() {
        let folder = tempfile::tempdir().unwrap();
        let report = fixtures::report();
        super::super::files::write(folder.path(), &report).unwrap();
        assert_eq!(super::super::files::read(folder.path()).unwrap(), report);
        let path = folder.path().join("report.json");
        let newer = std::fs::read_to_string(&path).unwrap().replacen("\"schema\": 1", "\"schema\": 2", 1);
        std::fs::write(&path, newer).unwrap();
        let refused = super::super::files::read(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("has schema 2 of a report"), "{refused}");
    }
}
