//! Cases for every kernel: memory, what is launched on it, and how near the result has to come to that of the plain twins.
//!
//! The same cases run in the tests, on a software GPU, and in the program, on a real one. They are built from small lists (`tests/fixtures/cuda/cases/*.json`) and a seed, so
//! that they are the same everywhere.

mod build;
mod compare;
pub mod convolution;
pub mod elementwise;
pub mod ends;
pub mod gradient;
pub mod library;
pub mod spatial;
pub mod training;

pub use build::Builder;
pub use compare::{BufferReport, Difference, Report, compare};

use super::host::{HostMemory, Outside};
use super::launch::Launch;
use super::launch::convolution::Family;
use super::rebase::moved;
use super::told::{AnyParams, TwinFailure};
use super::{Format, Math};

/// One launch of a case.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which kernel, and how it is started.
    pub launch: Launch,
    /// What it is told, with addresses of [`HostMemory`].
    pub params: AnyParams,
}

/// How a compared value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// 32-bit floating point.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// 64-bit floating point.
    F64,
    /// A byte, as the whole number that it is.
    U8,
}

impl From<Format> for Stored {
    fn from(format: Format) -> Self {
        match format {
            Format::F32 => Self::F32,
            Format::F16 => Self::F16,
            Format::Bf16 => Self::Bf16,
        }
    }
}

impl Stored {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The value of number `index` from an address on.
    ///
    /// # Errors
    /// [`Outside`]
    pub fn value(self, memory: &HostMemory, address: u64, index: u64) -> Result<f64, Outside> {
        let at = address.wrapping_add(index.wrapping_mul(self.bytes() as u64));
        Ok(match self {
            Self::F32 => f64::from(memory.value(Format::F32, at, 0)?),
            Self::F16 => f64::from(memory.value(Format::F16, at, 0)?),
            Self::Bf16 => f64::from(memory.value(Format::Bf16, at, 0)?),
            Self::F64 => f64::from_le_bytes(memory.read(at)?),
            Self::U8 => f64::from(u8::from_le_bytes(memory.read(at)?)),
        })
    }
}

/// A range of memory whose values may differ a little from the twins'.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// What is in it, for reports.
    pub name: &'static str,
    /// Where the first value lies.
    pub address: u64,
    /// How many values there are.
    pub count: u64,
    /// How they are stored.
    pub stored: Stored,
    /// The largest difference that is accepted, as a share of the largest magnitude that is expected in the range.
    pub tolerance: f64,
    /// Whether a zero that is expected has to be exactly zero: so it is where channels are padded.
    pub exact_zeros: bool,
}

/// A case that is ready to run.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Names the case in reports.
    pub name: String,
    /// Which compilation of the kernels runs.
    pub math: Math,
    /// Memory before the first launch.
    pub memory: HostMemory,
    /// Launches, in order.
    pub steps: Vec<Step>,
    /// Where memory may differ from what the twins leave there. Every other byte has to be the same as theirs.
    pub compared: Vec<Compared>,
    /// Where addresses lie that kernels find in memory: they move with the memory.
    pub pointers: Vec<u64>,
}

/// Bytes of memory, and the launches on it.
pub type Moved = (Vec<u8>, Vec<Step>);

impl Prepared {
    /// For which GPUs its kernels are.
    pub fn family(&self) -> Family {
        let hopper = self.steps.iter().any(|step| step.launch.family() == Family::Hopper);
        if hopper { Family::Hopper } else { Family::Ampere }
    }

    /// What memory has to hold, and the launches, where the first byte lies at `base` instead of [`HostMemory::BASE`].
    ///
    /// # Errors
    /// [`Outside`] for an address among `pointers` that is not in memory.
    pub fn at(&self, base: u64) -> Result<Moved, Outside> {
        let mut memory = self.memory.clone();
        for &pointer in &self.pointers {
            let address = u64::from_le_bytes(memory.read(pointer)?);
            memory.write(pointer, moved(address, HostMemory::BASE, base).to_le_bytes())?;
        }
        let steps = self.steps.iter();
        let steps = steps
            .map(|step| Step { launch: step.launch, params: step.params.rebase(HostMemory::BASE, base) });
        Ok((memory.bytes().to_vec(), steps.collect()))
    }

    /// Memory after all twins ran.
    ///
    /// # Errors
    /// [`TwinFailure`]
    pub fn expected(&self) -> Result<HostMemory, TwinFailure> {
        let mut memory = self.memory.clone();
        for step in &self.steps {
            step.params.run_twin(step.launch.kernel, self.math, &mut memory)?;
        }
        Ok(memory)
    }
}

/// Cases of a list for each of the ways to compute that their kernels are compiled for.
fn for_each_math<C, const N: usize>(
    cases: &[C],
    maths: [Math; N],
    prepare: impl Fn(&C, Math, usize) -> Prepared,
) -> Vec<Prepared> {
    let cases = cases.iter().enumerate();
    cases.flat_map(|(number, case)| maths.map(|math| prepare(case, math, number))).collect()
}

/// Every case of every kernel, for each way to compute that its kernels are compiled for.
///
/// # Errors
/// None in practice: the lists are part of the program.
pub fn all() -> Result<Vec<Prepared>, serde_json::Error> {
    let mut all = convolution::prepared()?;
    all.extend(gradient::prepared()?);
    all.extend(library::prepared()?);
    all.extend(elementwise::prepared()?);
    all.extend(spatial::prepared()?);
    all.extend(ends::prepared()?);
    all.extend(training::prepared()?);
    Ok(all)
}
