//! `esr train`: both stages of a settings file, resumable.

use std::path::PathBuf;

use super::common::{ComputeArgs, interrupted, note, progress_bar};
use super::pack::{PACKING_STOPPED, show_packing};
use super::reproduce::TrainingBar;
use super::{CliError, output};
use crate::dataset::packed::PackError;
use crate::interrupt::Interrupt;
use crate::pipeline::{self, MaterialsError, Preparation, RunLock, RunSettings, load_training};
use crate::train::TrainOn;

/// Arguments of `esr train`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Settings, such as a run's settings.toml or manifest/profiles/paper.toml
    #[arg(long, value_name = "FILE")]
    pub settings: PathBuf,
    /// Run directory: checkpoints and the log go to its folder `train`, the trained model to model.safetensors
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Data folder
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Form of the model that steps compute on, whatever the settings say; the run keeps it as `train_on` in its settings [default: as in the settings]
    #[arg(long, value_enum, value_name = "FORM")]
    pub branches: Option<TrainOn>,
    /// Where and how to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), CliError> {
    let compute = args.compute.checked()?;
    let mut settings = RunSettings::read(&args.settings)?;
    if let (Some(branches), Some(training)) = (args.branches, &mut settings.training) {
        training.train_on = branches;
    }
    let Some(training) = &settings.training else {
        return Err(CliError::usage(format!(
            "`{}` has no [training]: it takes released weights",
            args.settings.display()
        )));
    };
    let signals = Interrupt::install()?;
    let _lock = RunLock::take(&args.run)?;
    pipeline::keep_settings(&args.run, &settings, &format!("`{}`", args.settings.display()))?;
    let architecture = training.architecture(&args.settings.display().to_string())?;
    let scale = architecture.graph()?.scale();
    let packing = progress_bar(0, "pairs");
    let progress = |set: &str, done: usize, total: usize| show_packing(&packing, set, done, total);
    let stop = || signals.signal();
    let preparation = Preparation { progress: &progress, interrupted: &stop };
    let material = load_training(&settings, &args.data, &args.run, scale, &preparation);
    packing.finish_and_clear();
    let material = material.map_err(|error| match error {
        MaterialsError::Packed(PackError::Interrupted(signal)) => interrupted(signal, PACKING_STOPPED),
        error => error.into(),
    })?;
    let mut bar = TrainingBar::new();
    let outcome = pipeline::train_model(&args.run, training, &material, &compute.backend, &mut bar, &stop);
    bar.finish();
    match outcome {
        Ok(outcome) => {
            if let Some(step) = outcome.resumed_from {
                note(&format!("resumed from step {step}"));
            }
            if outcome.padded_patches > 0 {
                note(&format!(
                    "note: {} patches were zero-padded, because their image is smaller than the patch",
                    outcome.padded_patches
                ));
            }
            output::result(&args.run.join("model.safetensors").display().to_string())?;
            Ok(())
        }
        Err(pipeline::Error::Interrupted(signal)) => {
            Err(interrupted(signal, "the state is saved; the same command goes on from there"))
        }
        Err(error) => Err(error.into()),
    }
}
