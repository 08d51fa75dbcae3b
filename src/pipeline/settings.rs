//! Profiles, and the settings of a run that come from them.
//!
//! A profile is a settings file that ships with the program. A run saves its settings as `settings.toml`, and running from that file repeats the run.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fsio;
use crate::train::{self, SettingsError};

/// The version of the format.
const SCHEMA: u64 = 1;

/// Everything that determines a run, besides the program and the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    /// Format version.
    pub schema: u64,
    /// The profile it came from.
    pub profile: Profile,
    /// What the profile is for.
    pub summary: String,
    /// The images.
    pub data: DataSettings,
    /// Released weights to take instead of training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<ReleasedSettings>,
    /// How to measure.
    pub measure: MeasureSettings,
    /// What goes into the submission's readme.
    pub package: PackageSettings,
    /// How to train; absent with released weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<train::Settings>,
}

/// The profiles that ship with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Generated images, a small model: minutes on two cores, no network, no GPU
    Demo,
    /// The authors' released weights on DIV2K validation, no training
    Verify,
    /// DIV2K and Flickr2K, both training stages as published; needs a GPU to be practical
    Paper,
}

impl Profile {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Verify => "verify",
            Self::Paper => "paper",
        }
    }

    /// Its settings.
    ///
    /// # Errors
    /// Never for the profiles that ship; a test reads each of them.
    pub fn settings(self) -> Result<RunSettings, SettingsError> {
        let (text, file) = match self {
            Self::Demo => (include_str!("../../manifest/profiles/demo.toml"), "manifest/profiles/demo.toml"),
            Self::Verify => {
                (include_str!("../../manifest/profiles/verify.toml"), "manifest/profiles/verify.toml")
            }
            Self::Paper => {
                (include_str!("../../manifest/profiles/paper.toml"), "manifest/profiles/paper.toml")
            }
        };
        RunSettings::parse(text, file)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where images come from. Paths are relative to the data folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum DataSettings {
    /// The demo set, generated on the spot.
    Generated,
    /// Folders that must be there.
    Folders {
        /// Training pairs; empty without training.
        #[serde(default)]
        train: Vec<FolderPair>,
        /// Validation pairs.
        valid: FolderPair,
    },
}

/// An LR and an HR folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderPair {
    /// What people call the set.
    pub name: String,
    /// Folder of LR images.
    pub lr: PathBuf,
    /// Folder of HR images.
    pub hr: PathBuf,
    /// How many pairs there must be.
    pub pairs: usize,
}

/// Released weights. The path is relative to the data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasedSettings {
    /// The file.
    pub file: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// Where it can be had.
    pub url: String,
}

/// How to measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasureSettings {
    /// LR width in pixels of the input for protocol `steady`.
    pub width: usize,
    /// LR height in pixels of the input for protocol `steady`.
    pub height: usize,
    /// Time that protocol `steady` may take for one pair of models, in seconds.
    pub budget_s: f64,
}

/// What goes into the submission's readme.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSettings {
    /// Whether data beyond the challenge's was trained on.
    pub extra_data: bool,
    /// Free text: method, language, hardware, training data.
    pub description: String,
}

/// Settings files are short.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

impl RunSettings {
    /// Reads and checks a settings file.
    ///
    /// # Errors
    /// [`SettingsError`] naming the file, and the key at fault.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let bytes = fsio::read_limited(path, FILE_LIMIT_BYTES)?;
        let file = path.display().to_string();
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(SettingsError::Value {
                file,
                problem: "it is not UTF-8, so no settings file".into(),
            });
        };
        Self::parse(&text, &file)
    }

    /// Reads and checks settings. `file` is their name for messages.
    ///
    /// # Errors
    /// [`SettingsError`] naming the key at fault.
    pub fn parse(text: &str, file: &str) -> Result<Self, SettingsError> {
        let settings: Self = toml::from_str(text)
            .map_err(|source| SettingsError::Parse { file: file.into(), source: Box::new(source) })?;
        let bad = |problem: String| Err(SettingsError::Value { file: file.into(), problem });
        if settings.schema != SCHEMA {
            return bad(format!("`schema` is {}, this program reads {SCHEMA}", settings.schema));
        }
        let side = 1..=4096;
        let MeasureSettings { width, height, budget_s } = settings.measure;
        if !side.contains(&width)
            || !side.contains(&height)
            || budget_s.is_nan()
            || budget_s <= 0.0
            || budget_s > 86_400.0
        {
            return bad(
                "`measure` needs sides of 1 to 4096 pixels and a budget above 0 and at most 86400 s".into()
            );
        }
        match (&settings.training, &settings.released) {
            (Some(training), None) => training.check(file)?,
            (None, Some(_)) => {}
            _ => return bad("give either `training` or `released`, not both and not neither".into()),
        }
        Ok(settings)
    }

    /// The settings as TOML.
    ///
    /// # Errors
    /// When a value has no TOML form, such as a path that is not UTF-8.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_reads_and_round_trips() {
        for profile in [Profile::Demo, Profile::Verify, Profile::Paper] {
            let settings = profile.settings().unwrap();
            assert_eq!(settings.profile, profile);
            assert_eq!(RunSettings::parse(&settings.to_toml().unwrap(), "again").unwrap(), settings);
        }
    }

    #[test]
    fn the_paper_profile_is_the_papers_recipe() {
        let training = Profile::Paper.settings().unwrap().training.unwrap();
        assert_eq!(training.architecture, "imdn:blocks=7,branches=1x1");
        let expected = [train::paper_stage("stage 1", 64), train::paper_stage("stage 2", 160)];
        assert_eq!(training.stages, expected);
        assert_eq!(training.adam, train::AdamSettings::default());
    }

    #[test]
    fn training_and_released_weights_exclude_each_other() {
        let text = include_str!("../../manifest/profiles/verify.toml");
        let without = text.split("[released]").next().unwrap();
        let message = RunSettings::parse(without, "x.toml").unwrap_err().to_string();
        assert!(message.contains("x.toml"), "{message}");
    }
}
