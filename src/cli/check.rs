//! `esr check`: judges artefacts by the rules of a challenge year. It writes no file.

use std::path::PathBuf;

use super::{CliError, ExitCode, output};
use crate::compliance::{self, Artefacts, Outcome, Verdict};
use crate::manifest;

/// Arguments of `esr check`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Run directory holding inspection.json, evaluation.json and measurement.json; what is absent counts as not measured
    #[arg(
        required_unless_present_any = ["inspection", "evaluation", "measurement"],
        conflicts_with_all = ["inspection", "evaluation", "measurement"]
    )]
    run: Option<PathBuf>,
    /// Year whose rules are applied
    #[arg(long, default_value_t = 2022)]
    year: u16,
    /// Inspection to judge, instead of a run directory
    #[arg(long, value_name = "FILE")]
    inspection: Option<PathBuf>,
    /// Evaluation to judge, instead of a run directory
    #[arg(long, value_name = "FILE")]
    evaluation: Option<PathBuf>,
    /// Measurement to judge, instead of a run directory
    #[arg(long, value_name = "FILE")]
    measurement: Option<PathBuf>,
    /// Exit with 3 unless the verdict is `compliant` (default: an incomplete verdict exits with 0)
    #[arg(long)]
    strict: bool,
    /// Print the verdict as one JSON object (default: a table)
    #[arg(long)]
    json: bool,
}

/// Judges, prints the verdict, and fails if the rules are not met.
pub fn run(args: Args) -> Result<(), CliError> {
    let verdict = judge(&args)?;
    if args.json {
        output::json(&verdict)?;
    } else {
        output::result(&compliance::table(&verdict))?;
    }
    exit(verdict.verdict, args.strict)
}

fn judge(args: &Args) -> Result<Verdict, CliError> {
    let rules = manifest::challenge(args.year)?;
    if let Some(run) = &args.run {
        return Ok(compliance::check_run(run, &rules)?);
    }
    let files = [&args.inspection, &args.evaluation, &args.measurement].map(Option::as_deref);
    let [inspection, evaluation, measurement] = files;
    Ok(compliance::judge(&rules, &Artefacts::from_files(inspection, evaluation, measurement)?)?)
}

/// What a verdict means for the exit code.
fn exit(verdict: Outcome, strict: bool) -> Result<(), CliError> {
    let message = match (verdict, strict) {
        (Outcome::Compliant, _) | (Outcome::Incomplete, false) => return Ok(()),
        (Outcome::NotCompliant, _) => "the model does not comply with the rules",
        (Outcome::Incomplete, true) => "the verdict is incomplete, which --strict does not accept",
    };
    Err(CliError::new(ExitCode::RulesNotMet, anyhow::anyhow!(message)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"check").chain(words)).map(|cli| cli.args)
    }

    #[test]
    fn each_flag_is_parsed() {
        let args = parse(&["runs/demo"]).unwrap();
        assert_eq!(args.run, Some(PathBuf::from("runs/demo")));
        assert_eq!((args.year, args.strict, args.json), (2022, false, false));
        let args = parse(&["r", "--year", "2031", "--strict", "--json"]).unwrap();
        assert_eq!((args.year, args.strict, args.json), (2031, true, true));
        let args = parse(&["--inspection", "i", "--evaluation", "e", "--measurement", "m"]).unwrap();
        let files = [args.inspection, args.evaluation, args.measurement].map(Option::unwrap);
        assert_eq!(files, ["i", "e", "m"].map(PathBuf::from));
        assert!(parse(&["--evaluation", "e"]).is_ok());
        assert!(parse(&[]).is_err());
        assert!(parse(&["r", "--inspection", "i"]).is_err());
    }

    #[test]
    fn exit_codes() {
        assert!(exit(Outcome::Compliant, true).is_ok());
        assert!(exit(Outcome::Incomplete, false).is_ok());
        for (verdict, strict) in [(Outcome::NotCompliant, false), (Outcome::Incomplete, true)] {
            assert_eq!(exit(verdict, strict).unwrap_err().exit_code(), ExitCode::RulesNotMet);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        // An empty run is incomplete; a run that is not there, or a file named and not there, is missing data.
        assert!(run(parse(&[path, "--json"]).unwrap()).is_ok());
        let code = |words: &[&str]| run(parse(words).unwrap()).unwrap_err().exit_code();
        assert_eq!(code(&[path, "--strict"]), ExitCode::RulesNotMet);
        assert_eq!(code(&[&format!("{path}/x")]), ExitCode::Data);
        assert_eq!(code(&["--inspection", &format!("{path}/x")]), ExitCode::Data);
        assert_eq!(code(&[path, "--year", "1999"]), ExitCode::Usage);
        std::fs::write(folder.path().join("inspection.json"), "{").unwrap();
        assert_eq!(code(&[path]), ExitCode::Data);
    }
}
