//! `esr doctor`: what this machine has, what will work and what will not.

use std::path::PathBuf;

use super::{CliError, output};
use crate::doctor::{Places, gather};

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
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), CliError> {
    let report = gather(&Places { data: args.data, runs: args.runs, cuda_libs: args.cuda_libs });
    match args.json {
        true => Ok(output::json(&report)?),
        false => Ok(output::result(&report.render())?),
    }
}
