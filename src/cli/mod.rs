//! The command line: one file a subcommand, each turning raw arguments into checked settings, calling the library and rendering.

mod breakdown;
pub mod check;
pub mod collapse;
pub mod common;
pub mod doctor;
pub mod error;
pub mod evaluate;
pub mod fetch;
pub mod inspect;
pub mod measure;
pub mod output;
pub mod pack;
pub mod package;
pub mod report;
pub mod reproduce;
mod threads;
pub mod train;
pub mod upscale;
pub mod validate;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

pub use error::{CliError, ExitCode};

/// Reproducibility and compliance harness for the NTIRE Efficient Super-Resolution challenge.
#[derive(Parser, Debug)]
#[command(name = "esr", version, propagate_version = true, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say nothing but errors on standard error [default: off]
    #[arg(short, long, global = true, display_order = 900)]
    pub quiet: bool,
    /// Say more on standard error; twice for everything [default: off]
    #[arg(short, long, global = true, display_order = 901, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
}

/// Shown under the help; the numbers are [`ExitCode`]'s.
const EXIT_CODES: &str = "Exit codes: 0 fine, 1 internal error, 2 usage or a device that is not there, 3 rules not met, 4 data or checksum, \
5 network, 6 no valid measurement, 130/143 interrupted with the state saved.";

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Fetch data sets and released weights, verified; check again what is here
    Fetch(fetch::Args),
    /// Decode image pairs once into one file, from which training takes its patches
    Pack(pack::Args),
    /// Count a model's parameters, FLOPs, activations and convolutions
    Inspect(inspect::Args),
    /// Score a model on LR/HR image pairs: PSNR and SSIM as the challenge computes them
    Evaluate(evaluate::Args),
    /// Upscale images
    Upscale(upscale::Args),
    /// Measure a model's running time, beside a baseline in the same run
    Measure(measure::Args),
    /// Train a model from a settings file; an interrupted run goes on where it stopped
    Train(train::Args),
    /// Fold a trained model's linear branches, and prove that it still computes the same
    Collapse(collapse::Args),
    /// Judge a model against the rules of a challenge year
    Check(check::Args),
    /// Make a submission archive from a run
    Package(package::Args),
    /// Audit a submission archive as the server would open it
    Validate(validate::Args),
    /// Walk the whole way from data to report
    Reproduce(reproduce::Args),
    /// Show a run's report
    Report(report::Args),
    /// Look at this machine: what it has, what will work, what will not, and what to do
    Doctor(doctor::Args),
}

/// Parses arguments and runs. Errors are printed; the result is the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for_help = !error.use_stderr();
            // Help that nobody can read is lost, as any other output.
            let _ = error.print();
            return if asked_for_help { ExitCode::Fine } else { ExitCode::Usage };
        }
    };
    common::start_logging(cli.quiet, cli.verbose);
    let result = match cli.command {
        Command::Fetch(args) => fetch::run(args),
        Command::Pack(args) => pack::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Upscale(args) => upscale::run(args),
        Command::Measure(args) => measure::run(args),
        Command::Train(args) => train::run(args),
        Command::Collapse(args) => collapse::run(args),
        Command::Check(args) => check::run(args),
        Command::Package(args) => package::run(args),
        Command::Validate(args) => validate::run(args),
        Command::Reproduce(args) => reproduce::run(args),
        Command::Report(args) => report::run(args),
        Command::Doctor(args) => doctor::run(args),
    };
    match result {
        Ok(()) => ExitCode::Fine,
        Err(error) => {
            output::note(&format!("error: {error}"));
            error.exit_code()
        }
    }
}
