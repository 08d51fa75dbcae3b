//! Compares what a device left in memory with what the twins leave there.

use super::{Compared, Prepared};
use crate::engine::cuda::host::{HostMemory, Outside};
use crate::engine::cuda::rebase::moved;
use crate::engine::cuda::told::TwinFailure;

/// What was found in one range of memory.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferReport {
    /// What is in it.
    pub name: &'static str,
    /// The largest magnitude that is expected.
    pub largest: f64,
    /// The largest difference, as a share of that magnitude.
    pub error: f64,
    /// What would have been accepted.
    pub tolerance: f64,
}

/// How near a case came.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The case.
    pub name: String,
    /// What was found in each range that may differ.
    pub buffers: Vec<BufferReport>,
}

/// What is wrong with a result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Difference {
    /// The twins could not run.
    #[error("case `{case}`: {source}")]
    Twin {
        /// The case.
        case: String,
        /// Why not.
        source: TwinFailure,
    },
    /// A range or pointer of the case is not in its memory.
    #[error("case `{case}` names memory that it does not have: {source}")]
    Outside {
        /// The case.
        case: String,
        /// Which.
        source: Outside,
    },
    /// Not the memory of the case.
    #[error("case `{case}`: {found} bytes came back, expected {expected}")]
    Size {
        /// The case.
        case: String,
        /// Bytes of the case.
        expected: usize,
        /// Bytes that came back.
        found: usize,
    },
    /// A byte that has to be the twins' is not.
    #[error(
        "case `{case}`: the byte at address {address:#x} is {found:#04x}, expected {expected:#04x} ({count} such bytes): a kernel wrote where it should not, or not where it should"
    )]
    Stray {
        /// The case.
        case: String,
        /// Where the first one lies, with addresses of [`HostMemory`].
        address: u64,
        /// The twins' byte.
        expected: u8,
        /// The device's.
        found: u8,
        /// How many differ.
        count: usize,
    },
    /// A value is too far off.
    #[error(
        "case `{case}`, `{buffer}`: value {index} is {found}, expected {expected}: off by {error:.3e} of the largest, {tolerance:.3e} are accepted ({count} such values)"
    )]
    TooFar {
        /// The case.
        case: String,
        /// The range.
        buffer: &'static str,
        /// Number of the worst value in the range.
        index: u64,
        /// The twins' value.
        expected: f64,
        /// The device's.
        found: f64,
        /// The difference as a share of the largest magnitude that is expected.
        error: f64,
        /// What is accepted.
        tolerance: f64,
        /// How many values are too far off.
        count: u64,
    },
}

/// Compares the memory that a device returned, which lay at `base`, with what the twins leave.
///
/// # Errors
/// [`Difference`]: the first kind that is found; stray bytes before values that are too far off.
pub fn compare(prepared: &Prepared, base: u64, device: &[u8]) -> Result<Report, Difference> {
    let case = || prepared.name.clone();
    let expected = prepared.expected().map_err(|source| Difference::Twin { case: case(), source })?;
    if expected.bytes().len() != device.len() {
        return Err(Difference::Size { case: case(), expected: expected.bytes().len(), found: device.len() });
    }
    let outside = |source| Difference::Outside { case: case(), source };
    let mut found = HostMemory::of(device.to_vec());
    for &pointer in &prepared.pointers {
        let address = u64::from_le_bytes(found.read(pointer).map_err(outside)?);
        found.write(pointer, moved(address, base, HostMemory::BASE).to_le_bytes()).map_err(outside)?;
    }
    stray(prepared, &expected, &found)?;
    let buffers = prepared.compared.iter().map(|range| buffer(prepared, range, &expected, &found));
    Ok(Report { name: case(), buffers: buffers.collect::<Result<_, _>>()? })
}

/// Looks for bytes that differ outside of the ranges that may.
fn stray(prepared: &Prepared, expected: &HostMemory, found: &HostMemory) -> Result<(), Difference> {
    let mut may_differ = vec![false; expected.bytes().len()];
    for range in &prepared.compared {
        let from = range.address.saturating_sub(HostMemory::BASE) as usize;
        let bytes = range.count as usize * range.stored.bytes();
        may_differ.iter_mut().skip(from).take(bytes).for_each(|flag| *flag = true);
    }
    let pairs = expected.bytes().iter().zip(found.bytes()).zip(&may_differ).enumerate();
    let mut differing = pairs.filter(|(_, ((a, b), may))| a != b && !**may);
    match differing.next() {
        None => Ok(()),
        Some((at, ((&expected, &found), _))) => Err(Difference::Stray {
            case: prepared.name.clone(),
            address: HostMemory::BASE + at as u64,
            expected,
            found,
            count: 1 + differing.count(),
        }),
    }
}

/// Compares one range.
fn buffer(
    prepared: &Prepared,
    range: &Compared,
    expected: &HostMemory,
    found: &HostMemory,
) -> Result<BufferReport, Difference> {
    let outside = |source| Difference::Outside { case: prepared.name.clone(), source };
    let read = |memory: &HostMemory| {
        let values = (0..range.count).map(|index| range.stored.value(memory, range.address, index));
        values.collect::<Result<Vec<f64>, Outside>>().map_err(outside)
    };
    let (expected, found) = (read(expected)?, read(found)?);
    let finite = expected.iter().filter(|value| value.is_finite());
    let largest = finite.fold(0.0, |most: f64, value| most.max(value.abs()));
    let (mut worst, mut count) = ((0.0, 0), 0);
    for (index, (&e, &f)) in expected.iter().zip(&found).enumerate() {
        let error = error_of(e, f, largest, range.exact_zeros);
        if error > worst.0 {
            worst = (error, index);
        }
        count += u64::from(error > range.tolerance);
    }
    if count > 0 {
        let at = |values: &[f64]| values.get(worst.1).copied().unwrap_or_default();
        return Err(Difference::TooFar {
            case: prepared.name.clone(),
            buffer: range.name,
            index: worst.1 as u64,
            expected: at(&expected),
            found: at(&found),
            error: worst.0,
            tolerance: range.tolerance,
            count,
        });
    }
    Ok(BufferReport { name: range.name, largest, error: worst.0, tolerance: range.tolerance })
}

/// How far a value is off as a share of the largest; infinite where the two are not even of the same kind.
fn error_of(expected: f64, found: f64, largest: f64, exact_zeros: bool) -> f64 {
    if expected == found || (expected.is_nan() && found.is_nan()) {
        return 0.0;
    }
    if !expected.is_finite() || !found.is_finite() || largest == 0.0 || (exact_zeros && expected == 0.0) {
        return f64::INFINITY;
    }
    (expected - found).abs() / largest
}
