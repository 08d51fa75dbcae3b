//! `esr report`: shows the report of a run again.

use std::path::PathBuf;

use super::{CliError, output};
use crate::report::{files, render_markdown};

/// Show the report of a run.
///
/// Reads RUN/report.json and prints the report as Markdown. RUN/report.md and RUN/training.svg are brought up to date where they differ
/// from what report.json says (edited, missing, or rendered by another version); nothing is measured or judged again.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The run directory, e.g. `runs/demo`: the folder that holds report.json.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Print report.json's object instead of Markdown and write nothing; off by default.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Exit code 4 if the run directory holds no readable report.json, or the rendered files cannot be written.
pub fn run(args: Args) -> Result<(), CliError> {
    let report = files::read(&args.run).map_err(|error| {
        CliError::from(error).context(format!(
            "`{}` has no report to show: make one with `esr reproduce`",
            args.run.display()
        ))
    })?;
    if args.json {
        return Ok(output::json(&report)?);
    }
    for name in files::render(&args.run, &report)? {
        output::note(&format!("updated `{}`", args.run.join(name).display()));
    }
    Ok(output::result(&render_markdown(&report))?)
}
