//! `esr measure --training-step`.

use crate::cli::CliError;
use crate::engine::timed::TimedStep;
use crate::engine::{Backend, cuda};
use crate::models::Model;
use crate::train::{AdamSettings, Flat};

/// The rate of the update that is repeated: any other takes the same time.
const RATE: f64 = 1e-4;

/// A training step of `model`, folded where it has branches, on `[patches, side]`.
pub(super) fn step(model: &Model, backend: &Backend, batch: [usize; 2]) -> Result<TimedStep, CliError> {
    let Backend::Cuda(computing) = backend else {
        return Err(CliError::usage(
            "--training-step times steps on a GPU: give --device cuda:N; `make bench-step` times them on the CPU",
        ));
    };
    let weights = Flat::of(model.weights()?);
    let zeros = weights.zeros_like();
    let mut trainer = cuda::Trainer::new(&model.graph, true, computing.clone())?;
    trainer.place(weights.values(), zeros.values(), zeros.values())?;
    Ok(TimedStep::new(trainer, batch, AdamSettings::default().step(1, RATE))?)
}
