//! Why there is no measurement.

use super::lane::Role;
use super::nvml::LockError;
use super::workload::WorkloadError;
use crate::interrupt::Signal;

/// Why a measurement could not be made or its log not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to time.
    #[error("the {role} has no input to be timed on: give at least one image or a size")]
    NoItems {
        /// Whose workload is empty.
        role: Role,
    },
    /// Candidate and baseline would be timed on different inputs, so no ratio would mean anything.
    #[error(
        "candidate and baseline must be timed on the same inputs, but the candidate has {candidate} and the \
         baseline {baseline}"
    )]
    DifferentInputs {
        /// The candidate's inputs, in words.
        candidate: String,
        /// The baseline's inputs, in words.
        baseline: String,
    },
    /// The timed thing itself failed.
    #[error("the {role} failed on input {input}: {source}")]
    Workload {
        /// Whose workload failed.
        role: Role,
        /// The input's name, or its number and size.
        input: String,
        /// What it said.
        source: WorkloadError,
    },
    /// Everything ran, but no sample was usable.
    #[error("no sample of the {role} was accepted out of {taken}: {why}")]
    NoSamples {
        /// Whose samples are missing.
        role: Role,
        /// How many were taken.
        taken: usize,
        /// Why none was accepted.
        why: String,
    },
    /// A signal asked for an end.
    #[error("the measurement was ended by a signal; nothing of it is kept")]
    Interrupted {
        /// The signal.
        signal: Signal,
    },
    /// The device's own clock told no time.
    #[error(
        "the {role}'s device says that a forward on input {input} took {ms} ms; measure again, and look at the driver if that stays so"
    )]
    DeviceTime {
        /// Whose workload.
        role: Role,
        /// The input's number, from 1.
        input: usize,
        /// What it said.
        ms: f64,
    },
    /// The clocks of the GPU were to be locked and are not.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The time budget makes no sense.
    #[error(
        "a time budget of {seconds} s is not possible: give a number of seconds above zero, at most 86400"
    )]
    Budget {
        /// What was asked for.
        seconds: f64,
    },
    /// A log of clock samples could not be read or written.
    #[error(transparent)]
    File(#[from] crate::fsio::Error),
    /// A log of clock samples is not what it should be.
    #[error("`{path}` line {line}: {what}; measure again to get a complete log")]
    Log {
        /// The file.
        path: std::path::PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}
