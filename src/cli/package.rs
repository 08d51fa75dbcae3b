//! `esr package`: a submission archive from a run.

use std::path::PathBuf;

use super::{CliError, output};
use crate::pipeline::{RunLock, RunSettings, package_from};

/// Arguments of `esr package`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Run directory with SR images and measurement-ntire.json, as `esr reproduce` leaves it
    pub run: PathBuf,
    /// Where to write the archive [default: RUN/submission.zip]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Data folder, for the LR images that the archive is audited against
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), CliError> {
    let settings = RunSettings::read(&args.run.join("settings.toml"))?;
    let _lock = RunLock::take(&args.run)?;
    let archive = args.out.unwrap_or_else(|| args.run.join("submission.zip"));
    let packaged = package_from(&args.run, &args.data, &settings, &archive)?;
    output::result(&format!(
        "{}\nsha256 {}\n{} images, audited and accepted",
        packaged.archive.display(),
        packaged.sha256,
        packaged.report.counts.images_sound
    ))?;
    Ok(())
}
