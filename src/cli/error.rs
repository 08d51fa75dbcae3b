//! From library errors to documented exit codes. Exit codes are an interface: scripts rely on them.

use std::fmt;

use crate::dataset::packed::PackError;
use crate::engine::EngineError;
use crate::engine::equivalence;
use crate::engine::upscaler::UpscaleError;
use crate::fetch::acquire::AcquireError;
use crate::fetch::lock::LockError;
use crate::gpu::driver::GpuError;
use crate::interrupt::Signal;
use crate::manifest;
use crate::measure;
use crate::models::LoadError;
use crate::pipeline;
use crate::train::{self, CheckpointError};

/// Why the program stopped, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Everything asked for was done.
    Fine,
    /// A fault of the program itself.
    Internal,
    /// The arguments or settings make no sense, or a device is not there.
    Usage,
    /// A rule of the challenge, or of a submission archive, is not met.
    RulesNotMet,
    /// Data is missing, unreadable or fails its checksum.
    Data,
    /// The network failed.
    Network,
    /// No sample was accepted, or the measurement is not valid although `--require-valid` was given.
    NoValidMeasurement,
    /// Stopped by SIGINT (Ctrl-C); the state is saved.
    Interrupted,
    /// Stopped by SIGTERM; the state is saved.
    Terminated,
}

impl ExitCode {
    /// The number the operating system sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::RulesNotMet => 3,
            Self::Data => 4,
            Self::Network => 5,
            Self::NoValidMeasurement => 6,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

/// An error on its way out of the program: what happened, and the exit code it means.
#[derive(Debug)]
pub struct CliError {
    exit: ExitCode,
    source: anyhow::Error,
}

impl CliError {
    /// An error of the given class.
    pub fn new(exit: ExitCode, source: impl Into<anyhow::Error>) -> Self {
        Self { exit, source: source.into() }
    }

    /// The arguments make no sense; `message` says what is wrong and what would be right.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { exit: ExitCode::Usage, source: anyhow::anyhow!("{message}") }
    }

    /// The data is missing or wrong; `message` says what, where, and what to do.
    pub fn data(message: impl fmt::Display) -> Self {
        Self { exit: ExitCode::Data, source: anyhow::anyhow!("{message}") }
    }

    /// Says what was being done when the error came up.
    #[must_use]
    pub fn context(self, doing: impl fmt::Display + Send + Sync + 'static) -> Self {
        Self { exit: self.exit, source: self.source.context(doing) }
    }

    /// The exit code it means.
    pub fn exit_code(&self) -> ExitCode {
        self.exit
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole chain on one line. Many messages have their cause's in them already; it is not said twice.
        let mut told = self.source.to_string();
        write!(f, "{told}")?;
        for cause in self.source.chain().skip(1) {
            let cause = cause.to_string();
            if !told.contains(&cause) {
                write!(f, ": {cause}")?;
            }
            told = cause;
        }
        Ok(())
    }
}

/// Gives each library error its exit code. A new error type is a new line here, or an `impl` below where its variants differ.
macro_rules! exit_codes {
    ($($error:ty => $exit:ident),+ $(,)?) => {
        $(impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::new(ExitCode::$exit, error)
            }
        })+
    };
}

exit_codes! {
    std::io::Error => Internal,
    crate::compliance::Error => Data,
    crate::fsio::Error => Data,
    crate::fetch::check::CheckError => Data,
    crate::fetch::store::StoreError => Data,
    crate::dataset::Error => Data,
    crate::imaging::Error => Data,
    crate::metrics::Error => Data,
    crate::evaluate::Error => Data,
    crate::weights::Error => Data,
    crate::submission::Error => Data,
    crate::weights::StrictError => Data,
    crate::graph::ShapeError => Usage,
    crate::graph::BuildError => Usage,
    crate::graph::fold::FoldError => Internal,
}

/// The exit code of an error whose variants differ. Every variant is named, so that a new one has to be thought about.
macro_rules! exit_code_by_variant {
    ($($error:ty: $function:ident),+ $(,)?) => {
        $(impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::new($function(&error), error)
            }
        })+
    };
}

exit_code_by_variant! {
    LoadError: of_load,
    EngineError: of_engine,
    UpscaleError: of_upscale,
    equivalence::Error: of_equivalence,
    AcquireError: of_acquire,
    manifest::datasets::Error: of_datasets,
    PackError: of_pack,
    train::SettingsError: of_settings,
    train::Error: of_train,
    manifest::Error: of_manifest,
    measure::Error: of_measure,
    pipeline::Error: of_pipeline,
    pipeline::LockError: of_lock,
    pipeline::MaterialsError: of_materials,
    pipeline::PackageError: of_package,
}

fn of_load(error: &LoadError) -> ExitCode {
    match error {
        LoadError::Neither { .. } | LoadError::NoWeights(_) | LoadError::Build(_) => ExitCode::Usage,
        LoadError::Weights(_)
        | LoadError::Unknown { .. }
        | LoadError::Named { .. }
        | LoadError::Strict { .. } => ExitCode::Data,
    }
}

fn of_engine(error: &EngineError) -> ExitCode {
    match error {
        EngineError::Shape(_) | EngineError::Input { .. } | EngineError::Weight { .. } => ExitCode::Data,
        EngineError::Unsupported { .. } | EngineError::Backward(_) | EngineError::Memory { .. } => {
            ExitCode::Usage
        }
        EngineError::Gpu(error) => of_gpu(error),
        EngineError::Candle(_) => ExitCode::Internal,
    }
}

/// Of a device that is not there or does not do what it is asked.
pub(super) fn of_gpu(error: &GpuError) -> ExitCode {
    match error {
        GpuError::Lost { .. } | GpuError::Call { .. } => ExitCode::Internal,
        GpuError::NoLibrary { .. }
        | GpuError::Unusable { .. }
        | GpuError::Hidden { .. }
        | GpuError::TooOld { .. }
        | GpuError::Start { .. }
        | GpuError::NoDevice { .. }
        | GpuError::NoSuchDevice { .. }
        | GpuError::Busy { .. }
        | GpuError::OutOfMemory { .. } => ExitCode::Usage,
    }
}

fn of_upscale(error: &UpscaleError) -> ExitCode {
    match error {
        UpscaleError::Engine(error) => of_engine(error),
        UpscaleError::Load(error) => of_load(error),
        UpscaleError::Quantise(_) | UpscaleError::Imaging(_) => ExitCode::Data,
    }
}

fn of_equivalence(error: &equivalence::Error) -> ExitCode {
    match error {
        equivalence::Error::Engine(error) => of_engine(error),
        equivalence::Error::Load(error) => of_load(error),
        equivalence::Error::Fold(_) => ExitCode::Internal,
    }
}

/// Of a dataset that could not be brought to its place.
pub(super) fn of_acquire(error: &AcquireError) -> ExitCode {
    match error {
        AcquireError::Download(error) if error.is_network() => ExitCode::Network,
        AcquireError::Restore(error) if error.problem.is_network() => ExitCode::Network,
        AcquireError::Lock(LockError::Held { .. } | LockError::MaybeHeld { .. }) => ExitCode::Usage,
        AcquireError::Download(_)
        | AcquireError::Restore(_)
        | AcquireError::Unpack(_)
        | AcquireError::Store(_)
        | AcquireError::Lock(_)
        | AcquireError::Space(_)
        | AcquireError::Pin(_)
        | AcquireError::Check(_)
        | AcquireError::Record(_)
        | AcquireError::Lost { .. }
        | AcquireError::NotOurs { .. }
        | AcquireError::Stopped
        | AcquireError::File(_) => ExitCode::Data,
    }
}

fn of_datasets(error: &manifest::datasets::Error) -> ExitCode {
    use manifest::datasets::Error as E;
    match error {
        E::File(_) => ExitCode::Data,
        // The built-in list is right, or the program is wrong; any other comes from the command line.
        E::UnknownName { .. } | E::Syntax { .. } | E::Value { .. } | E::NewerSchema { .. } => ExitCode::Usage,
    }
}

fn of_settings(error: &train::SettingsError) -> ExitCode {
    use train::SettingsError as E;
    match error {
        E::File(_) => ExitCode::Data,
        E::Parse { .. } | E::Value { .. } | E::Architecture { .. } => ExitCode::Usage,
    }
}

fn of_train(error: &train::Error) -> ExitCode {
    match error {
        train::Error::Settings(error) => of_settings(error),
        train::Error::Build(_) => ExitCode::Usage,
        train::Error::Checkpoint(CheckpointError::OtherRun { .. } | CheckpointError::OtherEngine { .. }) => {
            ExitCode::Usage
        }
        train::Error::Checkpoint(CheckpointError::File(_) | CheckpointError::Weights(_)) => ExitCode::Data,
        train::Error::File(_) | train::Error::NoImages | train::Error::Weights { .. } => ExitCode::Data,
        train::Error::Engine(error) => of_engine(error),
        // A loss that is not finite is nobody's wrong input: the run failed.
        train::Error::Fold(_) | train::Error::NotFinite { .. } => ExitCode::Internal,
    }
}

fn of_manifest(error: &manifest::Error) -> ExitCode {
    match error {
        manifest::Error::UnknownYear { .. } => ExitCode::Usage,
        // Manifests are compiled in: if one is wrong, so is the program.
        manifest::Error::Invalid { .. } | manifest::Error::Inconsistent { .. } => ExitCode::Internal,
    }
}

/// What is timed may fail as models and devices do.
fn of_workload(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ExitCode {
    if let Some(error) = error.downcast_ref::<EngineError>() {
        of_engine(error)
    } else if let Some(error) = error.downcast_ref::<UpscaleError>() {
        of_upscale(error)
    } else if let Some(error) = error.downcast_ref::<GpuError>() {
        of_gpu(error)
    } else {
        ExitCode::Internal
    }
}

fn of_measure(error: &measure::Error) -> ExitCode {
    match error {
        measure::Error::NoSamples { .. } => ExitCode::NoValidMeasurement,
        measure::Error::NoItems { .. } | measure::Error::Budget { .. } => ExitCode::Usage,
        measure::Error::DifferentInputs { .. } | measure::Error::File(_) | measure::Error::Log { .. } => {
            ExitCode::Data
        }
        measure::Error::Workload { source, .. } => of_workload(source.as_ref()),
        measure::Error::DeviceTime { .. } => ExitCode::Internal,
        measure::Error::Lock(_) => ExitCode::Usage,
        measure::Error::Interrupted { signal: Signal::Interrupt } => ExitCode::Interrupted,
        measure::Error::Interrupted { signal: Signal::Terminate } => ExitCode::Terminated,
    }
}

fn of_lock(error: &pipeline::LockError) -> ExitCode {
    match error {
        pipeline::LockError::File(_) => ExitCode::Data,
        pipeline::LockError::Held { .. } => ExitCode::Usage,
    }
}

fn of_materials(error: &pipeline::MaterialsError) -> ExitCode {
    use pipeline::MaterialsError as E;
    match error {
        E::Missing(_) | E::Dataset(_) | E::File(_) => ExitCode::Data,
        E::Packed(error) => of_pack(error),
    }
}

/// Of a packed set that could not be written or used.
pub(super) fn of_pack(error: &PackError) -> ExitCode {
    match error {
        PackError::File(_)
        | PackError::Dataset(_)
        | PackError::Space(_)
        | PackError::NoPairs { .. }
        | PackError::Name { .. }
        | PackError::NotPacked { .. }
        | PackError::Newer { .. }
        | PackError::Damaged { .. }
        | PackError::Checksums { .. } => ExitCode::Data,
        PackError::Scale { .. } | PackError::Busy { .. } => ExitCode::Usage,
        PackError::Interrupted(Signal::Interrupt) => ExitCode::Interrupted,
        PackError::Interrupted(Signal::Terminate) => ExitCode::Terminated,
    }
}

fn of_package(error: &pipeline::PackageError) -> ExitCode {
    use pipeline::PackageError as E;
    match error {
        E::File(_) | E::Submission(_) | E::NoImages(_) => ExitCode::Data,
        E::Refused { .. } => ExitCode::RulesNotMet,
    }
}

fn of_pipeline(error: &pipeline::Error) -> ExitCode {
    use pipeline::Error as E;
    match error {
        E::Lock(error) => of_lock(error),
        E::Materials(error) => of_materials(error),
        E::Train(error) => of_train(error),
        E::Load(error) => of_load(error),
        E::Engine(error) => of_engine(error),
        E::Upscale(error) => of_upscale(error),
        E::Equivalence(error) => of_equivalence(error),
        E::Measure(error) => of_measure(error),
        E::Package(error) => of_package(error),
        E::Manifest(error) => of_manifest(error),
        E::File(_)
        | E::Dataset(_)
        | E::Imaging(_)
        | E::Weights(_)
        | E::Evaluate(_)
        | E::Compliance(_)
        | E::Shape(_) => ExitCode::Data,
        E::Checksum { .. } => ExitCode::Data,
        E::OtherSettings { .. } => ExitCode::Usage,
        E::Stage(_) | E::Fold(_) | E::Settings(_) | E::CollapseDiffers { .. } => ExitCode::Internal,
        E::Interrupted(Signal::Interrupt) => ExitCode::Interrupted,
        E::Interrupted(Signal::Terminate) => ExitCode::Terminated,
    }
}
