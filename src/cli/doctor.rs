//! `esr doctor`: what this machine has, what will work and what will not.

use std::path::PathBuf;

use super::common::{Device, progress_bar};
use super::error::of_gpu;
use super::{CliError, ExitCode, output};
use crate::doctor::check::{self, GpuCheck};
use crate::doctor::{Places, gather};
use crate::gpu::device::Gpu;

/// Arguments of `esr doctor`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Data folder
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Folder of run directories
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Folder with CUDA's libraries, or a Python environment that holds them; may be given several times
    #[arg(long, value_name = "DIR")]
    pub cuda_libs: Vec<PathBuf>,
    /// Instead, let a GPU compute everything that it may be asked for, and compare with the CPU: every kernel, networks, training steps
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["data", "runs", "cuda_libs"])]
    pub check_gpu: Option<Device>,
    /// Of these checks only those whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "", requires = "check_gpu", hide_default_value = true)]
    pub only: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), CliError> {
    if let Some(device) = args.check_gpu {
        return check_gpu(device, &args.only, args.json);
    }
    let report = gather(&Places { data: args.data, runs: args.runs, cuda_libs: args.cuda_libs });
    match args.json {
        true => Ok(output::json(&report)?),
        false => Ok(output::result(&report.render())?),
    }
}

fn check_gpu(device: Device, only: &str, json: bool) -> Result<(), CliError> {
    let Device::Cuda(ordinal) = device else {
        return Err(CliError::usage("--check-gpu compares a GPU with the CPU: give cuda:N"));
    };
    let gpu = Gpu::open(ordinal as usize).map_err(|error| CliError::new(of_gpu(&error), error))?;
    let bar = progress_bar(0, "checks");
    let found = check::check(&gpu, only, &mut |name| {
        bar.inc_length(1);
        bar.set_message(name.to_owned());
        bar.inc(1);
    });
    bar.finish_and_clear();
    match json {
        true => output::json(&found)?,
        false => output::result(&found.render())?,
    }
    match found.passed {
        true => Ok(()),
        false => Err(failed(&found)),
    }
}

/// A device that computes something else is a fault of the program, the driver or the device: nobody's input.
fn failed(found: &GpuCheck) -> CliError {
    let (wrong, of) = (found.failures().count(), found.count());
    let message = anyhow::anyhow!(
        "{wrong} of {of} checks failed on cuda:{}: do not use it for results; report this with the output of --json",
        found.device.ordinal
    );
    CliError::new(ExitCode::Internal, message)
}
