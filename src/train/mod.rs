//! Training: the paper's two-stage recipe as code and settings.
//!
//! What a step sees is a pure function of (seed, stage, step, index), and what it computes is deterministic, so a run that is killed and
//! resumed ends with the same bits as one that was left alone.

mod adam;
mod checkpoint;
mod flat;
mod init;
mod log;
mod run;
mod sampler;
mod schedule;
mod settings;
mod stepper;
#[cfg(test)]
mod tests;

pub use adam::{Adam, AdamSettings};
pub use checkpoint::{CheckpointError, State};
pub use flat::Flat;
pub use init::{kaiming_uniform, untrained};
pub use log::{LogRecord, read as read_log};
pub use run::{Error, Outcome, Progress, StageOutcome, Stopped, Training, Validate, folder, train};
pub use sampler::{Batch, Sampler};
pub use settings::{Settings, SettingsError, StageSettings, TrainOn, paper_stage};
pub use stepper::{Stepped, Stepper};
