//! The paper's claims as data: the typed view of `manifest/paper.toml`.
//!
//! What was published, exactly as printed, and which evidence would reproduce it. It compares nothing with anything (see
//! [`crate::report::claims`]). Its invariant: a [`Paper`] has unique ids, every name a claim refers to exists, and every published
//! text is a number.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Error;

/// The manifest this program was built with.
const BUILT_IN: &str = include_str!("../../manifest/paper.toml");
/// Its name in messages.
const FILE: &str = "paper.toml";
/// The format this program reads.
const SCHEMA: u64 = 1;

/// All claims, and everything they refer to by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Paper {
    /// Title of the paper.
    pub title: String,
    /// LR input width and height in pixels that the published counts hold for.
    pub input_width_height: [usize; 2],
    /// Upscaling factor of every published PSNR.
    pub scale: usize,
    /// Pixels cut from every side before a published PSNR was computed.
    pub border: usize,
    /// The tables in the order they are reported.
    pub tables: Vec<Table>,
    /// The claims in the order of their tables and rows.
    pub claims: Vec<Claim>,
    /// Where published numbers contradict each other or arithmetic.
    pub discrepancies: Vec<Discrepancy>,
    /// How close a measured value has to be, by kind of evidence.
    pub tolerance: Tolerances,
    /// Image sets by name.
    pub images: BTreeMap<String, ImageSet>,
    /// Released weights by name.
    pub weights: BTreeMap<String, Weights>,
    /// Training recipes by name.
    pub recipes: BTreeMap<String, Recipe>,
    /// Machines nobody else has, by name.
    pub hardware: BTreeMap<String, String>,
    /// Why something was never published, by name.
    pub not_public: BTreeMap<String, String>,
    /// Limits that nobody measured, by name.
    pub limits: BTreeMap<String, String>,
}

/// A published table, or another source of numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// First part of its claims' ids.
    pub id: String,
    /// What it is called in a report.
    pub title: String,
    /// Who published it: `paper`, `official table` or `official code`.
    pub source: String,
}

/// One published number.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// `<table>.<row>.<quantity>`, e.g. `table3.blocks7.parameters`.
    pub id: String,
    /// The table it is in.
    pub table: String,
    /// The row it is in, in words.
    pub row: String,
    /// What was counted or measured.
    pub quantity: Quantity,
    /// What was printed.
    pub published: Published,
    /// The only evidence that can reproduce it.
    pub by: Reproduction,
}

/// What a published number counts or measures; the unit is part of the name in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Mean RGB PSNR on DIV2K validation, dB.
    PsnrValidDb,
    /// Mean RGB PSNR on DIV2K test, dB.
    PsnrTestDb,
    /// Mean of the two, dB.
    PsnrAverageDb,
    /// Mean RGB PSNR on another image set, dB.
    PsnrSetDb,
    /// Learnable values, millions.
    ParametersM,
    /// Multiply-adds by the counter of 2020–2023 at 256×256, units of 10⁹.
    FlopsG,
    /// Values put out by convolutions at 256×256, millions.
    ActivationsM,
    /// Calls of convolutions.
    Convolutions,
    /// Runtime per image on DIV2K validation, ms.
    RuntimeValidMs,
    /// Runtime per image on DIV2K test, ms.
    RuntimeTestMs,
    /// Mean of the two, ms.
    RuntimeAverageMs,
    /// Runtime of one model divided by that of another, both from one run.
    RuntimeRatio,
    /// Peak GPU memory of inference, MiB.
    GpuMemoryMib,
    /// GPU memory of training, MB.
    TrainingMemoryMb,
    /// Time of a training epoch, s.
    EpochS,
}

impl Quantity {
    /// Its name as the last part of a claim's id.
    pub fn name(self) -> &'static str {
        match self {
            Self::PsnrValidDb => "psnr_valid",
            Self::PsnrTestDb => "psnr_test",
            Self::PsnrAverageDb => "psnr_average",
            Self::PsnrSetDb => "psnr_set",
            Self::ParametersM => "parameters",
            Self::FlopsG => "flops",
            Self::ActivationsM => "activations",
            Self::Convolutions => "convolutions",
            Self::RuntimeValidMs => "runtime_valid",
            Self::RuntimeTestMs => "runtime_test",
            Self::RuntimeAverageMs => "runtime_average",
            Self::RuntimeRatio => "runtime_ratio",
            Self::GpuMemoryMib => "gpu_memory",
            Self::TrainingMemoryMb => "training_memory",
            Self::EpochS => "epoch",
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::PsnrValidDb => "valid PSNR",
            Self::PsnrTestDb => "test PSNR",
            Self::PsnrAverageDb => "average PSNR",
            Self::PsnrSetDb => "PSNR",
            Self::ParametersM => "parameters",
            Self::FlopsG => "FLOPs",
            Self::ActivationsM => "activations",
            Self::Convolutions => "convolutions",
            Self::RuntimeValidMs => "valid runtime",
            Self::RuntimeTestMs => "test runtime",
            Self::RuntimeAverageMs => "average runtime",
            Self::RuntimeRatio => "runtime ratio",
            Self::GpuMemoryMib => "GPU memory",
            Self::TrainingMemoryMb => "training memory",
            Self::EpochS => "time per epoch",
        }
    }

    /// The unit its published numbers are in; empty for plain counts and ratios.
    pub fn unit(self) -> &'static str {
        match self {
            Self::PsnrValidDb | Self::PsnrTestDb | Self::PsnrAverageDb | Self::PsnrSetDb => "dB",
            Self::ParametersM | Self::ActivationsM => "M",
            Self::FlopsG => "G",
            Self::Convolutions | Self::RuntimeRatio => "",
            Self::RuntimeValidMs | Self::RuntimeTestMs | Self::RuntimeAverageMs => "ms",
            Self::GpuMemoryMib => "MiB",
            Self::TrainingMemoryMb => "MB",
            Self::EpochS => "s",
        }
    }
}

/// A number as printed, and what the print says about its precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The characters of the table, relation sign and thousands separators included.
    pub text: String,
    /// Its value in the unit of its quantity.
    pub value: f64,
    /// How many decimals were printed.
    pub decimals: usize,
}

impl Published {
    /// Reads a printed number: an optional `≥` or `≤`, digits with optional `,` between thousands, optional decimals.
    fn parse(text: &str) -> Option<Self> {
        let number = text.trim_start_matches(['≥', '≤']).trim_start().replace(',', "");
        let (whole, decimals) = number.split_once('.').unwrap_or((&number, ""));
        let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(decimals) || number.ends_with('.') {
            return None;
        }
        Some(Self { text: text.to_owned(), value: number.parse().ok()?, decimals: decimals.len() })
    }

    /// A value with as many decimals as were printed. Ties cannot be told from neighbours in binary; like the official
    /// script's `{:.2f}`, the exact binary value is rounded.
    pub fn round_like_printed(&self, value: f64) -> String {
        format!("{value:.*}", self.decimals)
    }

    /// The printed digits alone, without relation sign and thousands separators.
    pub fn digits(&self) -> String {
        self.round_like_printed(self.value)
    }

    /// Half a unit of the last printed digit: how far the unrounded value may have been from the print.
    pub fn half_unit(&self) -> f64 {
        0.5 * 10f64.powi(-i32::try_from(self.decimals).unwrap_or(0))
    }
}

/// The only evidence that can reproduce a number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reproduction {
    /// Exact counts of this architecture.
    Inspection(String),
    /// PSNR of released weights on an image set.
    Evaluation {
        /// Which of [`Paper::weights`].
        weights: String,
        /// Which of [`Paper::images`].
        images: String,
    },
    /// PSNR of freshly trained weights on an image set.
    Training {
        /// Which of [`Paper::recipes`].
        recipe: String,
        /// Which of [`Paper::images`].
        images: String,
    },
    /// Runtime of two architectures, measured in one run on a GPU.
    Ratio {
        /// The architecture in the numerator.
        candidate: String,
        /// The architecture in the denominator.
        baseline: String,
        /// Which of [`Paper::images`] they ran on.
        images: Vec<String>,
    },
    /// An absolute figure of a machine nobody else has.
    #[serde(rename_all = "kebab-case")]
    OtherHardware {
        /// Which of [`Paper::hardware`].
        hardware: String,
        /// The claim that carries over to other machines, if one does.
        instead: Option<String>,
    },
    /// Something it needs was never published: one of [`Paper::not_public`].
    NotPublic(String),
    /// Set by the organisers: one of [`Paper::limits`].
    Limit(String),
}

/// Where published numbers contradict each other or arithmetic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discrepancy {
    /// Its name.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// What the paper says, and where.
    pub paper: String,
    /// What else is said, and where.
    pub elsewhere: String,
    /// What explains it.
    pub why: String,
    /// The claims it touches.
    pub claims: Vec<String>,
}

/// How close a measured value has to be to a published one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// Allowed on top of half a unit of the last printed digit, in the unit of the quantity.
    pub slack: f64,
    /// Why that much.
    pub why: String,
}

/// The tolerance of each kind of evidence that can reproduce a number.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerances {
    /// Of exact counts.
    pub inspection: Tolerance,
    /// Of released weights.
    pub evaluation: Tolerance,
    /// Of freshly trained weights.
    pub training: Tolerance,
    /// Of runtime ratios.
    pub ratio: Tolerance,
}

/// A public image set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSet {
    /// What people call it.
    pub title: String,
    /// Which images it has.
    names: ImageNames,
    /// What evaluates on it.
    pub how: String,
}

impl ImageSet {
    /// The stems of its HR files, in order.
    pub fn names(&self) -> Vec<String> {
        match &self.names {
            ImageNames::List(names) => names.clone(),
            ImageNames::Numbers { first, last, digits } => {
                (*first..=*last).map(|number| format!("{number:0digits$}")).collect()
            }
        }
    }
}

/// The names of an image set: listed, or numbered with leading zeros.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum ImageNames {
    List(Vec<String>),
    Numbers { first: u32, last: u32, digits: usize },
}

/// Weights that were released, or a model that has none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// The file's name in the organisers' repository; `None` for a model without weights.
    pub file: Option<String>,
    /// The architecture the weights belong to.
    pub architecture: String,
    /// SHA-256 of the file; `None` for a model without weights.
    pub sha256: Option<String>,
}

/// How the paper trained a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The architecture as trained, before collapsing.
    pub architecture: String,
    /// Training pairs.
    pub training_images: u64,
    /// Patches per optimiser step.
    pub batch: u64,
    /// The stages in order.
    pub stages: Vec<RecipeStage>,
    /// What attempts it.
    pub how: String,
}

/// One stage of a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeStage {
    /// Width and height of the LR patches, pixels.
    pub lr_patch: u64,
    /// Passes over the training pairs.
    pub epochs: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPaper {
    schema: u64,
    title: String,
    input_width: usize,
    input_height: usize,
    scale: usize,
    border: usize,
    tolerance: Tolerances,
    images: BTreeMap<String, ImageSet>,
    weights: BTreeMap<String, Weights>,
    recipes: BTreeMap<String, Recipe>,
    hardware: BTreeMap<String, String>,
    not_public: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
    table: Vec<RawTable>,
    discrepancy: Vec<Discrepancy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    id: String,
    title: String,
    source: String,
    row: Vec<RawRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRow {
    id: String,
    what: String,
    claims: Vec<RawClaim>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClaim {
    quantity: Quantity,
    published: String,
    by: Reproduction,
}

impl Paper {
    /// The claims this program was built with.
    ///
    /// # Errors
    /// [`Error`] if the embedded manifest is wrong, which a test excludes for every build that passed its tests.
    pub fn built_in() -> Result<Self, Error> {
        Self::parse(BUILT_IN, FILE)
    }

    /// Reads a manifest; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::Invalid`] for unknown, missing or wrongly typed keys; [`Error::Inconsistent`] for another schema, an id that occurs twice, a
    /// reference to nothing, or a published text that is not a number.
    pub fn parse(text: &str, file: &'static str) -> Result<Self, Error> {
        let raw: RawPaper =
            toml::from_str(text).map_err(|source| Error::Invalid { file, source: Box::new(source) })?;
        let paper = Self::from_raw(raw).and_then(|paper| paper.check().map(|()| paper));
        paper.map_err(|what| Error::Inconsistent { file, what })
    }

    /// The claim of an id.
    pub fn claim(&self, id: &str) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.id == id)
    }

    /// Every architecture whose exact counts some claim needs: counting them all takes no time and attempts all those claims.
    pub fn inspected_architectures(&self) -> BTreeSet<&str> {
        self.claims
            .iter()
            .filter_map(|claim| match &claim.by {
                Reproduction::Inspection(architecture) => Some(architecture.as_str()),
                _ => None,
            })
            .collect()
    }

    /// What to run, and on what, to attempt a claim; for a claim that cannot be attempted, why not.
    pub fn how_to(&self, claim: &Claim) -> String {
        match &claim.by {
            Reproduction::Inspection(architecture) => {
                let [width, height] = self.input_width_height;
                format!("`esr inspect {architecture} --size {width}x{height}`")
            }
            Reproduction::Evaluation { weights, images } => {
                let model = self.weights.get(weights).map_or(weights.as_str(), |weights| {
                    weights.file.as_deref().unwrap_or(&weights.architecture)
                });
                let how = self.images.get(images).map_or("", |images| &images.how);
                format!(
                    "`esr evaluate --model {model} --lr DIR --hr DIR` on {} ({how})",
                    self.image_title(images)
                )
            }
            Reproduction::Training { recipe, images } => {
                let how = self.recipes.get(recipe).map_or("", |recipe| &recipe.how);
                format!("{how}, then evaluate on {}", self.image_title(images))
            }
            Reproduction::Ratio { candidate, baseline, images } => {
                let images: Vec<&str> = images.iter().map(|id| self.image_title(id)).collect();
                format!(
                    "`esr measure --model {candidate} --baseline {baseline} --protocol ntire --device cuda:0 --lr DIR` on {}",
                    images.join(" and ")
                )
            }
            Reproduction::OtherHardware { hardware, instead } => {
                let machine = self.hardware.get(hardware).map_or(hardware.as_str(), String::as_str);
                let instead = instead.as_ref().map_or_else(
                    || "no figure of another machine compares with it".to_owned(),
                    |id| format!("the ratio to the baseline is claim `{id}`"),
                );
                format!("only on {machine}; {instead}")
            }
            Reproduction::NotPublic(id) => self.not_public.get(id).unwrap_or(id).clone(),
            Reproduction::Limit(id) => self.limits.get(id).unwrap_or(id).clone(),
        }
    }

    fn image_title<'a>(&'a self, id: &'a str) -> &'a str {
        self.images.get(id).map_or(id, |images| &images.title)
    }

    fn from_raw(raw: RawPaper) -> Result<Self, String> {
        if raw.schema != SCHEMA {
            return Err(format!("its schema is {}, this program reads schema {SCHEMA}", raw.schema));
        }
        let mut tables = Vec::new();
        let mut claims = Vec::new();
        for table in raw.table {
            for row in table.row {
                for claim in row.claims {
                    let id = format!("{}.{}.{}", table.id, row.id, claim.quantity.name());
                    let published = Published::parse(&claim.published).ok_or_else(|| {
                        format!(
                            "claim `{id}`: `{}` is not a printed number such as `≥ 29.00`",
                            claim.published
                        )
                    })?;
                    claims.push(Claim {
                        id,
                        table: table.id.clone(),
                        row: row.what.clone(),
                        quantity: claim.quantity,
                        published,
                        by: claim.by,
                    });
                }
            }
            tables.push(Table { id: table.id, title: table.title, source: table.source });
        }
        Ok(Self {
            title: raw.title,
            input_width_height: [raw.input_width, raw.input_height],
            scale: raw.scale,
            border: raw.border,
            tables,
            claims,
            discrepancies: raw.discrepancy,
            tolerance: raw.tolerance,
            images: raw.images,
            weights: raw.weights,
            recipes: raw.recipes,
            hardware: raw.hardware,
            not_public: raw.not_public,
            limits: raw.limits,
        })
    }

    fn check(&self) -> Result<(), String> {
        unique("table", self.tables.iter().map(|table| table.id.as_str()))?;
        unique("claim", self.claims.iter().map(|claim| claim.id.as_str()))?;
        unique("discrepancy", self.discrepancies.iter().map(|entry| entry.id.as_str()))?;
        for claim in &self.claims {
            self.check_references(claim)?;
            let fits = match &claim.by {
                Reproduction::Inspection(_) => matches!(
                    claim.quantity,
                    Quantity::ParametersM
                        | Quantity::FlopsG
                        | Quantity::ActivationsM
                        | Quantity::Convolutions
                ),
                Reproduction::Evaluation { .. } | Reproduction::Training { .. } => {
                    matches!(claim.quantity, Quantity::PsnrValidDb | Quantity::PsnrSetDb)
                }
                Reproduction::Ratio { .. } => claim.quantity == Quantity::RuntimeRatio,
                Reproduction::OtherHardware { .. } | Reproduction::NotPublic(_) | Reproduction::Limit(_) => {
                    true
                }
            };
            if !fits {
                return Err(format!(
                    "claim `{}`: its kind of evidence does not give {}",
                    claim.id,
                    claim.quantity.title()
                ));
            }
        }
        for entry in &self.discrepancies {
            if let Some(id) = entry.claims.iter().find(|id| self.claim(id).is_none()) {
                return Err(format!(
                    "discrepancy `{}` names the claim `{id}`, which does not exist",
                    entry.id
                ));
            }
        }
        let slacks = [&self.tolerance.inspection, &self.tolerance.evaluation, &self.tolerance.training];
        if slacks.into_iter().chain([&self.tolerance.ratio]).any(|t| !(t.slack >= 0.0 && t.slack.is_finite()))
        {
            return Err("a tolerance's slack must be a number that is not negative".to_owned());
        }
        Ok(())
    }

    fn check_references(&self, claim: &Claim) -> Result<(), String> {
        let known = |exists: bool, kind: &str, name: &str| match exists {
            true => Ok(()),
            false => Err(format!("claim `{}` names the {kind} `{name}`, which does not exist", claim.id)),
        };
        let set = |images: &String| known(self.images.contains_key(images), "image set", images);
        match &claim.by {
            Reproduction::Inspection(_) => Ok(()),
            Reproduction::Evaluation { weights, images } => {
                known(self.weights.contains_key(weights), "weights", weights)?;
                set(images)
            }
            Reproduction::Training { recipe, images } => {
                known(self.recipes.contains_key(recipe), "recipe", recipe)?;
                set(images)
            }
            Reproduction::Ratio { images, .. } => images.iter().try_for_each(set),
            Reproduction::OtherHardware { hardware, instead } => {
                known(self.hardware.contains_key(hardware), "hardware", hardware)?;
                instead.as_ref().map_or(Ok(()), |id| known(self.claim(id).is_some(), "claim", id))
            }
            Reproduction::NotPublic(id) => known(self.not_public.contains_key(id), "reason", id),
            Reproduction::Limit(id) => known(self.limits.contains_key(id), "limit", id),
        }
    }
}

fn unique<'a>(kind: &str, ids: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for id in ids {
        if !seen.insert(id) {
            return Err(format!("the {kind} `{id}` occurs twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(paper: &Paper, table: &str) -> usize {
        paper.claims.iter().filter(|claim| claim.table == table).count()
    }

    #[test]
    fn every_table_is_complete() {
        let paper = Paper::built_in().unwrap();
        // Table 1: the target's 3 limits, 5 numbers for each of ten entries of 2022, 4 for each of two entries of AIM 2020 (no test time).
        assert_eq!(count(&paper, "table1"), 3 + 10 * 5 + 2 * 4);
        assert_eq!(count(&paper, "table2"), 4 * 3);
        assert_eq!(count(&paper, "table3"), 5 * 2);
        assert_eq!(count(&paper, "table4"), 3 * 5);
        assert_eq!(count(&paper, "table5"), 3 * 3);
        assert_eq!(count(&paper, "abstract"), 1);
        assert_eq!(count(&paper, "derived"), 1);
        assert_eq!(count(&paper, "official-2022"), 2 * 8 + 1);
        assert_eq!(count(&paper, "official-code"), 3);
        assert_eq!(paper.claims.len(), 129);
        assert_eq!(paper.discrepancies.len(), 5);
    }

    #[test]
    fn ids_values_and_print_precision_are_those_of_the_tables() {
        let paper = Paper::built_in().unwrap();
        let published = |id: &str| {
            let p = &paper.claim(id).unwrap_or_else(|| panic!("no claim {id}")).published;
            (p.text.as_str(), p.value, p.decimals)
        };
        assert_eq!(published("table3.blocks7.parameters"), ("0.7905", 0.7905, 4));
        assert_eq!(published("table1.target.psnr_valid"), ("≥ 29.00", 29.0, 2));
        assert_eq!(published("table5.patch256.training_memory"), ("28,991", 28991.0, 0));
        assert_eq!(published("table1.dragon.runtime_test"), ("41.2", 41.2, 1));
        assert_eq!(published("official-2022.xilinxsr.parameters"), ("0.790", 0.79, 3));
        assert_eq!(published("table4.pruning.convolutions"), ("37", 37.0, 0));
    }

    #[test]
    fn averages_and_ratios_follow_from_their_parts() {
        // Table 1 prints the mean of valid and test to two decimals; the halves of the last digit went either way.
        let paper = Paper::built_in().unwrap();
        let value = |id: String| paper.claim(&id).map(|claim| claim.published.value);
        let rows: Vec<_> = paper.claims.iter().filter(|c| c.quantity == Quantity::PsnrAverageDb).collect();
        assert_eq!(rows.len(), 12);
        for average in rows {
            let row = average.id.trim_end_matches("psnr_average");
            let parts = [value(format!("{row}psnr_valid")), value(format!("{row}psnr_test"))];
            let mean = parts.iter().flatten().sum::<f64>() / 2.0;
            assert!((mean - average.published.value).abs() < 0.0051, "{}: {mean}", average.id);
        }
        let ratio = |id: &str| paper.claim(id).unwrap().published.digits();
        assert_eq!(ratio("derived.blocks7-to-blocks8.runtime_ratio"), format!("{:.3}", 48.86 / 49.42));
        assert_eq!(
            ratio("official-2022.xilinxsr-to-baseline.runtime_ratio"),
            format!("{:.3}", 48.20 / 50.86)
        );
    }

    #[test]
    fn image_sets_have_their_names() {
        let paper = Paper::built_in().unwrap();
        let valid = paper.images["div2k-valid"].names();
        assert_eq!((valid.len(), valid[0].as_str(), valid[99].as_str()), (100, "0801", "0900"));
        assert_eq!(paper.images["div2k-test"].names().last().unwrap(), "1000");
        assert_eq!(paper.images["set5"].names().len(), 5);
    }

    #[test]
    fn every_claim_says_how() {
        let paper = Paper::built_in().unwrap();
        for claim in &paper.claims {
            assert!(paper.how_to(claim).len() > 20, "{}", claim.id);
        }
        let how = |id: &str| paper.how_to(paper.claim(id).unwrap());
        assert_eq!(how("table3.blocks4.parameters"), "`esr inspect imdn:blocks=4 --size 256x256`");
        assert!(how("table2.two-stage.psnr_valid").starts_with("`make reproduce PROFILE=paper`"));
        assert!(how("table1.this-paper.psnr_valid").contains("team26_imdn_nb7.pth"));
        let all: Vec<_> = paper.inspected_architectures().into_iter().collect();
        assert_eq!(
            all,
            ["imdn:blocks=4", "imdn:blocks=5", "imdn:blocks=6", "imdn:blocks=7", "imdn:blocks=8"]
        );
    }

    #[test]
    fn wrong_manifests_are_refused_with_the_place() {
        let refused = |from: &str, to: &str| {
            assert!(BUILT_IN.contains(from), "{from}");
            Paper::parse(&BUILT_IN.replacen(from, to, 1), FILE).unwrap_err().to_string()
        };
        assert!(refused("schema = 1", "schema = 2").contains("schema is 2"));
        assert!(refused("border = 4", "border = 4\ncolour = 1").contains("unknown field `colour`"));
        assert!(refused("\"28.97\"", "\"about 29\"").contains("`about 29` is not a printed number"));
        assert!(refused("weights = \"xilinxsr\"", "weights = \"xilinx\"").contains("weights `xilinx`"));
        assert!(refused("recipe = \"plain-b7\"", "recipe = \"b7\"").contains("recipe `b7`"));
        assert!(
            refused("id = \"blocks6\"", "id = \"blocks7\"")
                .contains("`table3.blocks7.parameters` occurs twice")
        );
        assert!(refused("\"table4.ofa.psnr_valid\"]", "\"table9\"]").contains("claim `table9`"));
        assert!(refused("slack = 0.03", "slack = nan").contains("slack"));
        assert!(
            refused(
                "by = { evaluation = { weights = \"xilinxsr\", images = \"div2k-valid\" } }",
                "by = { inspection = \"imdn:blocks=7\" }"
            )
            .contains("does not give valid PSNR")
        );
        assert!(refused("schema = 1", "schema 1").starts_with("`manifest/paper.toml` is not valid"));
    }

    #[test]
    fn printed_numbers_are_read_strictly() {
        for text in ["", "≥", "-1", "1e3", ".5", "5.", "1.2.3", "NaN", "49,42 ms"] {
            assert_eq!(Published::parse(text), None, "{text}");
        }
        let number = Published::parse("≤ 14,747.50").unwrap();
        assert_eq!((number.value, number.decimals, number.digits().as_str()), (14747.5, 2, "14747.50"));
        assert_eq!(number.half_unit(), 0.005);
    }

    #[test]
    fn released_weights_are_the_files_that_the_manifest_names() {
        let Some(folder) = crate::testing::reference("weights") else {
            return;
        };
        let paper = Paper::built_in().unwrap();
        let released: Vec<_> =
            paper.weights.values().filter_map(|w| Some((w.file.as_ref()?, w.sha256.as_ref()?))).collect();
        assert_eq!(released.len(), 2);
        for (file, sha256) in released {
            assert_eq!(&crate::fsio::sha256_file(&folder.join(file)).unwrap(), sha256, "{file}");
        }
    }
}
