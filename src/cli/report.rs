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
        CliError::from(error)
            .context(format!("`{}` has no report to show: make one with `esr reproduce`", args.run.display()))
    })?;
    if args.json {
        return Ok(output::json(&report)?);
    }
    for name in files::render(&args.run, &report)? {
        output::note(&format!("updated `{}`", args.run.join(name).display()));
    }
    Ok(output::result(&render_markdown(&report))?)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::ExitCode;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn arguments_are_a_run_and_a_switch() {
        let parse = |line: &[&str]| Program::try_parse_from(line).map(|program| program.args);
        let args = parse(&["report", "runs/demo", "--json"]).unwrap();
        assert_eq!((args.run, args.json), (PathBuf::from("runs/demo"), true));
        assert!(!parse(&["report", "runs/demo"]).unwrap().json);
        assert!(parse(&["report"]).is_err());
    }

    #[test]
    fn a_run_without_a_report_is_a_data_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(Args { run: folder.path().to_path_buf(), json: false }).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Data);
        assert!(error.to_string().contains("make one with `esr reproduce`"), "{error}");
        assert!(error.to_string().contains("report.json"), "{error}");
    }
}
