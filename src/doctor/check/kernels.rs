//! Every kernel against its plain twin.

use std::sync::Arc;

use serde::Serialize;

use crate::engine::cuda::Kernels;
use crate::engine::cuda::cases::{self, Prepared, compare};
use crate::engine::cuda::launch::Command;
use crate::gpu::device::Gpu;

/// How a case of a kernel came out.
#[derive(Clone, Debug, Serialize)]
pub struct KernelCheck {
    /// The case.
    pub name: String,
    /// Whether the device left in memory what the twin leaves there.
    pub passed: bool,
    /// What was found in each range of memory that may differ; nothing where something is wrong.
    pub buffers: Vec<BufferCheck>,
    /// What is wrong.
    pub problem: Option<String>,
}

/// How near a range of memory came.
#[derive(Clone, Debug, Serialize)]
pub struct BufferCheck {
    /// What is in it.
    pub name: &'static str,
    /// The largest difference, as a share of the largest magnitude expected.
    pub error: f64,
    /// What is accepted.
    pub tolerance: f64,
}

/// Cases that were not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// How many.
    pub count: usize,
    /// Why.
    pub reason: String,
}

/// Runs every case whose name contains `only`, but those of kernels that are for other GPUs than this one.
pub fn check_kernels(
    gpu: &Arc<Gpu>,
    only: &str,
    progress: &mut dyn FnMut(&str),
) -> (Vec<KernelCheck>, Option<Skipped>) {
    let kernels = Kernels::new(gpu.clone(), None);
    let cases = match cases::all() {
        Ok(cases) => cases,
        Err(error) => {
            let problem = Some(format!("the list of cases cannot be read: {error}"));
            let failed = KernelCheck { name: "cases".into(), passed: false, buffers: Vec::new(), problem };
            return (vec![failed], None);
        }
    };
    let capability = gpu.facts().compute_capability;
    let wanted = cases.into_iter().filter(|case| case.name.contains(only));
    let (runnable, others): (Vec<_>, Vec<_>) = wanted.partition(|case| case.family().runs_on(capability));
    let checks = runnable
        .into_iter()
        .map(|case| {
            progress(&case.name);
            match run(&kernels, &case) {
                Ok(buffers) => KernelCheck { name: case.name, passed: true, buffers, problem: None },
                Err(error) => {
                    let problem = Some(error.to_string());
                    KernelCheck { name: case.name, passed: false, buffers: Vec::new(), problem }
                }
            }
        })
        .collect();
    (checks, skipped(others.len(), capability))
}

/// What is said of cases for other GPUs.
fn skipped(count: usize, (major, minor): (u32, u32)) -> Option<Skipped> {
    let reason =
        format!("their kernels are for compute capability 9.0 only, this device has {major}.{minor}");
    (count > 0).then_some(Skipped { count, reason })
}

fn run(kernels: &Kernels, case: &Prepared) -> Result<Vec<BufferCheck>, Box<dyn std::error::Error>> {
    let mut memory = kernels.gpu().allocate(case.memory.bytes().len() as u64)?;
    let (mut bytes, steps) = case.at(memory.address())?;
    memory.upload(0, &bytes)?;
    let command = |step: &cases::Step| Command {
        label: case.name.clone(),
        work: (step.launch, step.params).into(),
        multiply_adds: 0,
    };
    let ready = kernels.ready(steps.iter().map(command).collect())?;
    // SAFETY: the case's addresses were moved into the memory, which is alive until it has been read.
    unsafe { kernels.start(&ready) }?;
    memory.download(0, &mut bytes)?;
    let report = compare(case, memory.address(), &bytes)?;
    let buffer = |buffer: &cases::BufferReport| BufferCheck {
        name: buffer.name,
        error: buffer.error,
        tolerance: buffer.tolerance,
    };
    Ok(report.buffers.iter().map(buffer).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_skipped_is_counted_with_its_reason() {
        assert_eq!(skipped(0, (9, 0)), None);
        let found = skipped(32, (12, 0)).unwrap();
        assert_eq!(
            (found.count, found.reason.ends_with("9.0 only, this device has 12.0")),
            (32, true),
            "{found:?}"
        );
        // On a GPU that is not Hopper these are all that is left out.
        let cases = cases::all().unwrap();
        let left_out = |capability| cases.iter().filter(|case| !case.family().runs_on(capability)).count();
        assert_eq!(left_out((9, 0)), 0);
        assert_eq!(left_out((8, 0)), cases.iter().filter(|case| case.name.ends_with(", Hopper)")).count());
        assert!(left_out((8, 0)) >= 20);
    }
}
