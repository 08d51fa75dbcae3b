//! The rules of a challenge year: the typed view of `manifest/challenge-YEAR.toml`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::error::Error;

/// The files, by year. A new year is a new line and a new file.
const FILES: [(u16, &str, &str); 1] =
    [(2022, "challenge-2022.toml", include_str!("../../manifest/challenge-2022.toml"))];

/// The rules of one year.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// The year, which is also how it is asked for.
    pub year: u16,
    /// The challenge's name.
    pub name: String,
    /// Upscaling factor.
    pub scale: usize,
    /// Pixels cut from every side before two images are compared.
    pub border: usize,
    /// The input that FLOPs and activations are counted for.
    pub counting: CountingInput,
    /// The published figures of the baseline.
    pub baseline: BaselineFigures,
    /// Sets of images that rules refer to.
    pub image_sets: Vec<ImageSet>,
    /// The rules, in the order in which they are shown.
    pub rules: Vec<Rule>,
}

/// The input that FLOPs and activations are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountingInput {
    /// LR width in pixels.
    pub width: usize,
    /// LR height in pixels.
    pub height: usize,
}

/// What the organisers published about the baseline.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineFigures {
    /// What people call it.
    pub name: String,
    /// What this program calls it.
    pub architecture: String,
    /// Mean RGB PSNR over the validation set in dB.
    pub psnr_valid_db: f64,
    /// Mean RGB PSNR over the test set in dB.
    pub psnr_test_db: f64,
    /// Learnable values.
    pub parameters: u64,
    /// Multiply-adds by the hook counter.
    pub flops_ntire2022: u64,
    /// Values put out by convolutions.
    pub activations: u64,
    /// Calls of convolutions.
    pub convolutions: u64,
    /// PyTorch's peak of allocated GPU memory in MiB.
    pub memory_mib: f64,
    /// Mean of the two sets' mean times on the organisers' GPU.
    pub runtime_average_ms: f64,
    /// Mean time on the validation set on the organisers' GPU.
    pub runtime_valid_ms: f64,
}

/// A set of images with numbers for names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSet {
    /// What rules call it.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// Number of the first image.
    pub first: u32,
    /// Number of the last image.
    pub last: u32,
    /// Digits of a name, filled with zeros.
    pub digits: usize,
    /// SHA-256 of decoded HR pixels of some of the images, as [`crate::metrics::evaluation::ImageScore`] has it.
    pub known_hr_pixels_sha256: BTreeMap<String, String>,
}

impl ImageSet {
    /// The names (file stems) in order.
    pub fn names(&self) -> Vec<String> {
        (self.first..=self.last).map(|n| format!("{n:0width$}", width = self.digits)).collect()
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Stable name, for scripts.
    pub id: String,
    /// Short name, for people.
    pub title: String,
    /// Where the rule or its limit is written.
    pub source: String,
    /// What is compared.
    pub what: String,
    /// Why there is such a rule.
    pub why: String,
    /// What to do when it is not met or not measured.
    pub fix: String,
    /// Whether the verdict depends on it. The other rows inform and never fail.
    pub binding: bool,
    /// What is compared with what.
    pub check: Check,
}

/// What a rule compares with what.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Check {
    /// The mean RGB PSNR over exactly one set of images, unrounded.
    PsnrAtLeast {
        /// The set's id.
        image_set: String,
        /// The least that passes, in dB.
        limit_db: f64,
    },
    /// An exact count.
    CountAtMost {
        /// Which one.
        count: Count,
        /// The most that passes.
        limit: u64,
    },
    /// Candidate's time over the baseline's, measured in the same run.
    RuntimeRatioAtMost {
        /// The most that passes.
        limit: f64,
    },
    /// Peak memory, shown beside the baseline's published figure.
    MemoryBeside {
        /// That figure in MiB.
        baseline_mib: f64,
    },
    /// A PSNR that nobody but the organisers can measure.
    CannotBeMeasured {
        /// Why not.
        because: String,
        /// The organisers' value for the baseline in dB.
        baseline_db: f64,
    },
}

/// An exact count of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// Learnable values.
    Parameters,
    /// Multiply-adds by the hook counter of 2020 to 2023.
    FlopsNtire2022,
    /// Values put out by convolutions.
    Activations,
    /// Calls of convolutions.
    Convolutions,
}

impl Count {
    /// Whether the count depends on the size of the input.
    pub fn depends_on_input(self) -> bool {
        matches!(self, Self::FlopsNtire2022 | Self::Activations)
    }
}

/// The years whose rules are known, ascending.
pub fn challenge_years() -> Vec<u16> {
    FILES.iter().map(|file| file.0).collect()
}

/// The rules of `year`.
///
/// # Errors
/// [`Error::UnknownYear`] listing the years known; [`Error::Invalid`] and [`Error::Inconsistent`] if the program was built
/// with a broken manifest.
pub fn challenge(year: u16) -> Result<Challenge, Error> {
    let Some(&(_, file, text)) = FILES.iter().find(|file| file.0 == year) else {
        let known: Vec<String> = challenge_years().iter().map(u16::to_string).collect();
        return Err(Error::UnknownYear { year, known: known.join(", ") });
    };
    parse(file, text)
}

fn parse(file: &'static str, text: &str) -> Result<Challenge, Error> {
    let challenge: Challenge =
        toml::from_str(text).map_err(|source| Error::Invalid { file, source: Box::new(source) })?;
    match contradiction(&challenge) {
        Some(what) => Err(Error::Inconsistent { file, what }),
        None => Ok(challenge),
    }
}

/// What the types cannot exclude.
fn contradiction(challenge: &Challenge) -> Option<String> {
    let mut ids = BTreeSet::new();
    for set in &challenge.image_sets {
        if set.first > set.last {
            return Some(format!("image set `{}` ends before it begins", set.id));
        }
        let names: BTreeSet<String> = set.names().into_iter().collect();
        if let Some(name) = set.known_hr_pixels_sha256.keys().find(|name| !names.contains(*name)) {
            return Some(format!("image set `{}` has a hash for `{name}`, which is not in it", set.id));
        }
    }
    for rule in &challenge.rules {
        if !ids.insert(&rule.id) {
            return Some(format!("two rules have the id `{}`", rule.id));
        }
        match &rule.check {
            Check::PsnrAtLeast { image_set, .. }
                if !challenge.image_sets.iter().any(|set| &set.id == image_set) =>
            {
                return Some(format!("rule `{}` names the unknown image set `{image_set}`", rule.id));
            }
            Check::CannotBeMeasured { .. } | Check::MemoryBeside { .. } if rule.binding => {
                return Some(format!("rule `{}` cannot be judged, so it cannot be binding", rule.id));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_year_is_valid_and_says_its_own_year() {
        for year in challenge_years() {
            let challenge = challenge(year).unwrap();
            assert_eq!(challenge.year, year);
            assert!(challenge.rules.iter().any(|rule| rule.binding));
        }
    }

    #[test]
    fn the_figures_of_2022_are_the_published_ones() {
        let c = challenge(2022).unwrap();
        // IMDN with 8 blocks by hand: 891,584 multiply-adds a pixel and 3 * 64 * 8 activation outputs at 65,536 pixels;
        // convolutions put out 64 + 272 * 8 + 64 + 48 channels.
        assert_eq!(c.baseline.flops_ntire2022, (891_584 + 3 * 64 * 8) * 65_536);
        assert_eq!(c.baseline.activations, (64 + 272 * 8 + 64 + 48) * 65_536);
        assert_eq!(c.baseline.convolutions, 5 * 8 + 3);
        let limit = |id: &str| c.rules.iter().find(|rule| rule.id == id).map(|rule| rule.check.clone());
        let count = |count, limit| Some(Check::CountAtMost { count, limit });
        assert_eq!(limit("parameters"), count(Count::Parameters, c.baseline.parameters));
        assert_eq!(limit("flops"), count(Count::FlopsNtire2022, c.baseline.flops_ntire2022));
        assert_eq!(limit("activations"), count(Count::Activations, c.baseline.activations));
        assert_eq!(limit("convolutions"), count(Count::Convolutions, c.baseline.convolutions));
        assert_eq!(limit("memory"), Some(Check::MemoryBeside { baseline_mib: c.baseline.memory_mib }));
        assert_eq!(limit("runtime"), Some(Check::RuntimeRatioAtMost { limit: 1.0 }));
        let names = c.image_sets[0].names();
        assert_eq!((names.len(), names[0].as_str(), names[99].as_str()), (100, "0801", "0900"));
        assert!(c.image_sets[0].known_hr_pixels_sha256.values().all(|hash| hash.len() == 64));
    }

    #[test]
    fn an_unknown_year_lists_the_known_ones() {
        let message = challenge(1999).unwrap_err().to_string();
        assert_eq!(message, "there are no rules for the year 1999; the years known are: 2022");
    }

    #[test]
    fn mistakes_in_a_manifest_are_found() {
        let text = FILES[0].2;
        let broken =
            |from: &str, to: &str| parse("x.toml", &text.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(broken("scale = 4", "scale = 4\nscales = 4").contains("scales"));
        assert!(broken("limit_db = 29.0 ", "limit_db = 29.0, limit = 3 ").contains("limit"));
        assert!(
            broken("id = \"flops\"", "id = \"parameters\"").contains("two rules have the id `parameters`")
        );
        assert!(broken("image_set = \"div2k-valid\"", "image_set = \"x\"").contains("unknown image set `x`"));
        assert!(broken("0805 =", "0905 =").contains("hash for `0905`"));
    }
}
