//! The training loop.

use std::path::{Path, PathBuf};

use super::adam::Adam;
use super::checkpoint::{self, CheckpointError, RunIdentity, State};
use super::flat::Flat;
use super::init::kaiming_uniform;
use super::log::{Log, LogRecord};
use super::sampler::{Sampler, padded};
use super::schedule::Schedule;
use super::settings::{Settings, SettingsError};
use super::stepper::Stepper;
use crate::dataset::Pairs;
use crate::engine::{Backend, EngineError};
use crate::fsio;
use crate::graph::collapse::{Collapsed, collapse};
use crate::graph::fold::{FoldError, Named};
use crate::graph::{BuildError, Graph};
use crate::imaging::ValueTable;
use crate::interrupt::Signal;

/// Why training stopped with an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings make no sense.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The model cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A checkpoint could not be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log could not be written.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// A step failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Folding failed.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The weights are not the model's.
    #[error("the weights do not fit the model: {problem}")]
    Weights {
        /// The first tensor that differs, and how.
        problem: String,
    },
    /// There is nothing to train on.
    #[error("there are no training images")]
    NoImages,
    /// The loss is infinite or not a number.
    #[error(
        "the loss became {loss} at step {step} of stage `{stage}` with rate {rate:e}; nothing after the last good checkpoint ({checkpoint}) \
         is kept: lower the rate, or look at the images"
    )]
    NotFinite {
        /// The loss.
        loss: f64,
        /// Steps done in all stages.
        step: u64,
        /// The stage's name.
        stage: String,
        /// The learning rate.
        rate: f64,
        /// Where the last checkpoint is, or "none".
        checkpoint: String,
    },
}

/// What training tells whoever watches.
pub trait Progress {
    /// A stage begins or goes on: its name, steps done in it, and steps in all.
    fn stage(&mut self, name: &str, done: u64, total: u64);
    /// A step is done. `valid_psnr_db` is the latest known.
    fn step(&mut self, stage_step: u64, loss: f64, rate: f64, valid_psnr_db: Option<f64>);
    /// Something a person should read.
    fn warn(&mut self, message: &str);
}

/// Measures the model on validation images: given the collapsed graph and weights, the mean PSNR in dB.
pub type Validate<'a> = dyn FnMut(&Graph, &Named<f32>) -> Result<Option<f64>, EngineError> + 'a;

/// What to train on what, and where.
pub struct Training<'a> {
    /// The recipe.
    pub settings: &'a Settings,
    /// Training images, in memory or in a packed set.
    pub images: &'a dyn Pairs,
    /// SHA-256 over the training images: a run is only resumed on the same ones.
    pub images_sha256: String,
    /// Where checkpoints and the log go.
    pub folder: &'a Path,
    /// What computes the steps: a run is only resumed by the same.
    pub backend: Backend,
}

/// A finished (or interrupted) run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The expanded model.
    pub graph: Graph,
    /// The expanded model's weights.
    pub weights: Named<f32>,
    /// One entry a stage.
    pub stages: Vec<StageOutcome>,
    /// The step that the run went on from, if it was resumed.
    pub resumed_from: Option<u64>,
    /// Patches that were zero-padded, because their image is smaller than the patch.
    pub padded_patches: u64,
    /// Whether it is complete.
    pub stopped: Stopped,
}

/// One stage of a run.
#[derive(Clone, Debug)]
pub struct StageOutcome {
    /// Its name.
    pub name: String,
    /// Steps it has.
    pub steps: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// All steps are done.
    Finished,
    /// A signal came; the state is saved.
    Interrupted(Signal),
}

/// Trains to the end, or until `interrupted` says so, resuming from the newest checkpoint in the folder.
///
/// # Errors
/// [`Error`]; the last checkpoint stays intact.
pub fn train(
    training: &Training<'_>,
    validate: &mut Validate<'_>,
    progress: &mut dyn Progress,
    interrupted: &dyn Fn() -> Option<Signal>,
) -> Result<Outcome, Error> {
    let settings = training.settings;
    if training.images.is_empty() {
        return Err(Error::NoImages);
    }
    let graph = settings.architecture("settings")?.graph()?;
    let collapsed = collapse(&graph);
    let run = RunIdentity {
        settings_sha256: fsio::sha256_hex(settings.to_toml().as_bytes()),
        images_sha256: training.images_sha256.clone(),
        engine: training.backend.kind(),
    };
    let mut stepper = Stepper::new(training.backend.clone(), &graph, settings.train_on)?;
    let on_device = stepper.keep(training.images, &ValueTable::new(graph.data_range()))?;
    let weights = Flat::of(&kaiming_uniform(&graph, settings.seed));
    let fresh = State {
        stage: 0,
        stage_step: 0,
        step: 0,
        padded_patches: 0,
        pending_loss: (0.0, 0),
        adam: Adam::new(settings.adam, &weights),
        weights,
    };
    let mut warn = |message: String| progress.warn(&message);
    let resumed = checkpoint::load(training.folder, &run, &fresh, &mut warn)?;
    let resumed_from = resumed.as_ref().map(|state| state.step);
    let state = resumed.unwrap_or(fresh);
    let log = Log::open(training.folder, state.step)?;
    let mut running = Running {
        training,
        graph,
        collapsed,
        run,
        stepper,
        on_device,
        state,
        log,
        saved_step: resumed_from,
        valid_psnr_db: None,
    };
    let stopped = running.all_stages(validate, progress, interrupted)?;
    let stages = settings.stages.iter().map(|stage| StageOutcome {
        name: stage.name.clone(),
        steps: Schedule::new(stage, training.images.len()).steps(),
    });
    Ok(Outcome {
        stages: stages.collect(),
        graph: running.graph,
        weights: running.state.weights.named(),
        resumed_from,
        padded_patches: running.state.padded_patches,
        stopped,
    })
}

/// A run in progress.
struct Running<'a> {
    training: &'a Training<'a>,
    graph: Graph,
    collapsed: Collapsed,
    run: RunIdentity,
    stepper: Stepper,
    /// Whether patches are cut on the device.
    on_device: bool,
    state: State,
    log: Log,
    saved_step: Option<u64>,
    valid_psnr_db: Option<f64>,
}

impl Running<'_> {
    fn all_stages(
        &mut self,
        validate: &mut Validate<'_>,
        progress: &mut dyn Progress,
        interrupted: &dyn Fn() -> Option<Signal>,
    ) -> Result<Stopped, Error> {
        let settings = self.training.settings;
        for index in self.state.stage..settings.stages.len() {
            if index > self.state.stage {
                // The schedule and the optimiser start afresh: the paper does not say, and this is the usual reading.
                self.fetch()?;
                self.state.stage = index;
                self.state.stage_step = 0;
                self.state.adam = Adam::new(settings.adam, &self.state.weights);
            }
            if let Some(signal) = self.stage(validate, progress, interrupted)? {
                self.save()?;
                return Ok(Stopped::Interrupted(signal));
            }
        }
        self.save()?;
        Ok(Stopped::Finished)
    }

    fn stage(
        &mut self,
        validate: &mut Validate<'_>,
        progress: &mut dyn Progress,
        interrupted: &dyn Fn() -> Option<Signal>,
    ) -> Result<Option<Signal>, Error> {
        let settings = self.training.settings;
        let Some(stage) = settings.stages.get(self.state.stage) else { return Ok(None) };
        let schedule = Schedule::new(stage, self.training.images.len());
        let total = schedule.steps();
        let (scale, data_range) = (self.graph.scale(), self.graph.data_range());
        let mut sampler = Sampler::new(
            self.training.images,
            stage,
            settings.seed,
            self.state.stage as u64,
            scale,
            data_range,
        );
        progress.stage(&stage.name, self.state.stage_step, total);
        // The next batch, where it was cut while a device computed.
        let mut ahead = None;
        while self.state.stage_step < total {
            let rate = schedule.rate(self.state.stage_step);
            let epoch = schedule.epoch(self.state.stage_step);
            let State { weights, adam, stage_step, .. } = &mut self.state;
            let (stepped, padded_patches) = match self.on_device {
                true => {
                    let patches = sampler.patches(*stage_step);
                    let stepped = self.stepper.step_on_images(weights, adam, &patches, rate)?;
                    (stepped, padded(&patches))
                }
                false => {
                    let batch = ahead.take().unwrap_or_else(|| sampler.batch(*stage_step));
                    let next = *stage_step + 1;
                    let goes_on = next < total && self.stepper.leaves_the_processor_free();
                    let mut step = || self.stepper.step(weights, adam, &batch, rate);
                    let stepped = match goes_on {
                        true => {
                            let (stepped, following) = rayon::join(step, || sampler.batch(next));
                            ahead = Some(following);
                            stepped?
                        }
                        false => step()?,
                    };
                    (stepped, batch.padded_patches)
                }
            };
            if !stepped.updated {
                return Err(self.not_finite(stepped.loss, rate, &stage.name));
            }
            self.state.stage_step += 1;
            self.state.step += 1;
            self.state.padded_patches += padded_patches;
            self.state.pending_loss.0 += stepped.loss;
            self.state.pending_loss.1 += 1;
            let last = self.state.stage_step == total;
            let validates = last || self.state.step.is_multiple_of(settings.validate_every_steps);
            if validates {
                self.fetch()?;
                let folded = self.collapsed.weights(&self.state.weights.named())?;
                self.valid_psnr_db = validate(&self.collapsed.graph, &folded)?;
            }
            if validates || self.state.step.is_multiple_of(settings.log_every_steps) {
                self.log(epoch, rate, validates)?;
            }
            progress.step(self.state.stage_step, stepped.loss, rate, self.valid_psnr_db);
            crate::fault::point("train.after-step");
            if self.state.step.is_multiple_of(settings.checkpoint_every_steps) {
                self.save()?;
            }
            if let Some(signal) = interrupted() {
                return Ok(Some(signal));
            }
        }
        Ok(None)
    }

    fn log(&mut self, epoch: u64, rate: f64, validated: bool) -> Result<(), Error> {
        let (sum, count) = std::mem::take(&mut self.state.pending_loss);
        let record = LogRecord {
            step: self.state.step,
            stage: self.state.stage,
            epoch,
            rate,
            loss: sum / count.max(1) as f64,
            padded_patches: self.state.padded_patches,
            valid_psnr_rgb_db: self.valid_psnr_db.filter(|_| validated),
        };
        Ok(self.log.append(&record)?)
    }

    fn fetch(&mut self) -> Result<(), Error> {
        let State { weights, adam, .. } = &mut self.state;
        self.stepper.fetch(weights, adam)
    }

    fn save(&mut self) -> Result<(), Error> {
        if self.saved_step != Some(self.state.step) {
            self.fetch()?;
            checkpoint::save(self.training.folder, &self.run, &self.state)?;
            self.saved_step = Some(self.state.step);
        }
        Ok(())
    }

    fn not_finite(&self, loss: f64, rate: f64, stage: &str) -> Error {
        let checkpoint = match self.saved_step {
            Some(step) => self.training.folder.join(format!("step-{step:08}")).display().to_string(),
            None => "none".into(),
        };
        // The step that failed, counted from 1 as the progress bar counts.
        Error::NotFinite { loss, step: self.state.step + 1, stage: stage.into(), rate, checkpoint }
    }
}

/// Where a run keeps its checkpoints and log, below its run directory.
pub fn folder(run_directory: &Path) -> PathBuf {
    run_directory.join("train")
}
