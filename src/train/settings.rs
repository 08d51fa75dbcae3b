//! The settings of a training run: a TOML file with no unknown keys.
//!
//! Running from a saved file repeats the run. What the paper leaves unsaid is a named setting whose value reports print as assumed.

use serde::{Deserialize, Serialize};

use super::adam::AdamSettings;
use crate::models::Architecture;

/// Everything that determines a training run, besides the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Format version.
    pub schema: u64,
    /// The expanded model, e.g. `imdn:blocks=7,branches=1x1`.
    pub architecture: String,
    /// Determines initial weights, order, crops and augmentation.
    pub seed: u64,
    /// Whether steps run the collapsed or the expanded graph; both make the same updates up to rounding.
    pub train_on: TrainOn,
    /// Steps between two checkpoints.
    pub checkpoint_every_steps: u64,
    /// Steps between two evaluations on the validation images.
    pub validate_every_steps: u64,
    /// Steps between two lines of the log.
    pub log_every_steps: u64,
    /// Adam's constants.
    #[serde(default)]
    pub adam: AdamSettings,
    /// The stages, one after another; each starts from the last one's weights with a fresh optimiser and schedule.
    pub stages: Vec<StageSettings>,
}

/// Which form of the model a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TrainOn {
    /// Fold the branches, run the collapsed graph, carry the gradients back to the branches: less work
    Folded,
    /// Run the expanded graph as it is
    Expanded,
}

/// One stage of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSettings {
    /// What reports call it.
    pub name: String,
    /// Side of the square LR patch in pixels.
    pub patch_lr: usize,
    /// Patches in a step.
    pub batch: usize,
    /// Passes over the data.
    pub epochs: u64,
    /// Random crops of each image in an epoch.
    pub crops_per_image: usize,
    /// Learning rate at the start.
    pub rate: f64,
    /// Epochs at whose start the rate is multiplied by the decay factor.
    pub decay_at_epochs: Vec<u64>,
    /// What the rate is multiplied by.
    pub decay_factor: f64,
}

/// Settings that make no sense.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] crate::fsio::Error),
    /// Not TOML, or an unknown or missing key.
    #[error("`{file}` is not a valid settings file: {source}")]
    Parse {
        /// The file.
        file: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value out of range.
    #[error("`{file}`: {problem}")]
    Value {
        /// The file.
        file: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The model is not one that can be trained.
    #[error("`{file}`: {source}")]
    Architecture {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: crate::models::ParseError,
    },
}

/// The version of the settings format.
const SCHEMA: u64 = 1;

impl Settings {
    /// Reads and checks settings. `file` is their name for messages.
    ///
    /// # Errors
    /// [`SettingsError`] naming the key at fault.
    pub fn parse(text: &str, file: &str) -> Result<Self, SettingsError> {
        let settings: Self = toml::from_str(text)
            .map_err(|source| SettingsError::Parse { file: file.into(), source: Box::new(source) })?;
        settings.check(file)?;
        Ok(settings)
    }

    /// The settings as TOML.
    pub fn to_toml(&self) -> String {
        // Numbers, strings and tables in TOML's order: serialisation of this struct has no way to fail.
        toml::to_string(self).unwrap_or_default()
    }

    /// The model to train.
    ///
    /// # Errors
    /// [`SettingsError::Architecture`] when it is not known.
    pub fn architecture(&self, file: &str) -> Result<Architecture, SettingsError> {
        let parsed = self.architecture.parse();
        parsed.map_err(|source| SettingsError::Architecture { file: file.into(), source })
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`SettingsError`] naming the key at fault.
    pub fn check(&self, file: &str) -> Result<(), SettingsError> {
        let bad = |problem: String| Err(SettingsError::Value { file: file.into(), problem });
        if self.schema != SCHEMA {
            return bad(format!("`schema` is {}, this program reads {SCHEMA}", self.schema));
        }
        if let Architecture::Bicubic { .. } = self.architecture(file)? {
            return bad("bicubic has nothing to train".into());
        }
        for (key, value) in [
            ("checkpoint_every_steps", self.checkpoint_every_steps),
            ("validate_every_steps", self.validate_every_steps),
            ("log_every_steps", self.log_every_steps),
            ("stages (number of them)", self.stages.len() as u64),
        ] {
            if value == 0 {
                return bad(format!("`{key}` must be at least 1"));
            }
        }
        for stage in &self.stages {
            let name = &stage.name;
            if stage.patch_lr == 0 || stage.patch_lr > 4096 {
                return bad(format!(
                    "stage `{name}`: `patch_lr` must be 1 to 4096 pixels, not {}",
                    stage.patch_lr
                ));
            }
            if stage.batch == 0 || stage.batch > 4096 || stage.crops_per_image == 0 || stage.epochs == 0 {
                return bad(format!(
                    "stage `{name}`: `batch` (to 4096), `epochs` and `crops_per_image` must be at least 1"
                ));
            }
            if !(stage.rate > 0.0 && stage.rate.is_finite()) {
                return bad(format!("stage `{name}`: `rate` must be positive, not {}", stage.rate));
            }
            if !(stage.decay_factor > 0.0 && stage.decay_factor <= 1.0) {
                return bad(format!(
                    "stage `{name}`: `decay_factor` must be in (0, 1], not {}",
                    stage.decay_factor
                ));
            }
        }
        Ok(())
    }
}

/// A stage as the paper describes it, for patches of the given LR side.
pub fn paper_stage(name: &str, patch_lr: usize) -> StageSettings {
    StageSettings {
        name: name.into(),
        patch_lr,
        batch: 32,
        epochs: 500,
        crops_per_image: 10,
        rate: 2e-4,
        decay_at_epochs: vec![200, 400, 450, 475],
        decay_factor: 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            schema: 1,
            architecture: "imdn:blocks=7,branches=1x1".into(),
            seed: 1,
            train_on: TrainOn::Folded,
            checkpoint_every_steps: 100,
            validate_every_steps: 100,
            log_every_steps: 10,
            adam: AdamSettings::default(),
            stages: vec![paper_stage("stage 1", 64), paper_stage("stage 2", 160)],
        }
    }

    #[test]
    fn settings_round_trip() {
        let text = settings().to_toml();
        assert_eq!(Settings::parse(&text, "s.toml").unwrap(), settings());
    }

    #[test]
    fn mistakes_are_named() {
        let text = settings().to_toml();
        for (from, to, expected) in [
            ("seed = 1", "seed = 1\nsed = 2", "unknown field `sed`"),
            ("schema = 1", "schema = 2", "`schema` is 2, this program reads 1"),
            ("imdn:blocks=7,branches=1x1", "bicubic", "bicubic has nothing to train"),
            ("imdn:blocks=7", "imdn:blocks=x", "`blocks=x` should be a whole number"),
            ("batch = 32", "batch = 0", "stage `stage 1`: `batch`"),
            ("rate = 0.0002", "rate = -1.0", "`rate` must be positive, not -1"),
            ("log_every_steps = 10", "log_every_steps = 0", "`log_every_steps` must be at least 1"),
        ] {
            assert!(text.contains(from), "{from}");
            let message = Settings::parse(&text.replacen(from, to, 1), "s.toml").unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("s.toml"), "{message}");
        }
    }
}
