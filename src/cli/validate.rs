//! `esr validate`: would this archive be accepted?

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{CliError, ExitCode, output};
use crate::submission::{Expectation, Phase, Report, validate};

/// Audit a submission archive the way a server that trusts nothing would.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The archive to audit.
    #[arg(value_name = "ZIP")]
    zip: PathBuf,
    /// Expect exactly one result for each PNG or BMP image in this folder of LR images, four times its size and named without `x4`.
    #[arg(long, value_name = "DIR", conflicts_with = "phase")]
    lr: Option<PathBuf>,
    /// Expect the official names of a phase: 0801.png to 0900.png, or 0901.png to 1000.png. Without this and --lr the set of images is
    /// not checked, and the report says so.
    #[arg(long)]
    phase: Option<Phase>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Prints the findings; an archive that would not be accepted is [`ExitCode::RulesNotMet`].
pub fn run(args: Args) -> Result<(), CliError> {
    let expectation = match (args.lr, args.phase) {
        (Some(folder), _) => Expectation::Lr(folder),
        (None, Some(phase)) => Expectation::Phase(phase),
        (None, None) => Expectation::Unknown,
    };
    let report = validate(&args.zip, &expectation)?;
    if args.json {
        output::json(&report)?;
    } else {
        output::result(&render(&report))?;
    }
    if report.accepted {
        return Ok(());
    }
    let message = anyhow::anyhow!("`{}` would not be accepted; the findings say why", args.zip.display());
    Err(CliError::new(ExitCode::RulesNotMet, message))
}

/// The findings as aligned text, and one line with the verdict.
fn render(report: &Report) -> String {
    let width = report.findings.iter().map(|finding| finding.location.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in &report.findings {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<7}  {:<width$}  {} (fix: {})",
            finding.severity.to_string(),
            finding.location,
            finding.what,
            finding.fix
        );
    }
    let counts = &report.counts;
    let expected = counts.images_expected.map_or(String::new(), |n| format!(" of {n} expected"));
    let verdict = if report.accepted { "accepted" } else { "not accepted" };
    let _ = writeln!(
        text,
        "{verdict}: {} members, {}{expected} images, {} of them sound",
        counts.members, counts.images_found, counts.images_sound
    );
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::submission::{Counts, Finding, Severity};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn arguments_are_parsed() {
        let parse = |line: &str| Line::try_parse_from(line.split(' ')).map(|line| line.args);
        let args = parse("validate s.zip --lr LR --json").unwrap();
        assert_eq!((args.lr, args.phase, args.json), (Some(PathBuf::from("LR")), None, true));
        assert_eq!(parse("validate s.zip --phase test").unwrap().phase, Some(Phase::Test));
        assert_eq!(parse("validate s.zip --phase validation").unwrap().phase, Some(Phase::Validation));
        assert!(parse("validate s.zip --phase final").is_err());
        assert!(parse("validate s.zip --phase test --lr LR").is_err());
        assert!(parse("validate").is_err());
    }

    #[test]
    fn findings_are_aligned_and_the_verdict_comes_last() {
        let finding = |severity, location: &str| Finding {
            severity,
            location: location.to_string(),
            what: "it is missing".to_string(),
            fix: "add it".to_string(),
        };
        let report = Report {
            schema: 1,
            accepted: false,
            archive_bytes: 1,
            counts: Counts { members: 2, images_expected: Some(100), images_found: 1, images_sound: 0 },
            findings: vec![finding(Severity::Error, "readme.txt"), finding(Severity::Note, "archive")],
        };
        assert_eq!(
            render(&report),
            "error    readme.txt  it is missing (fix: add it)\n\
             note     archive     it is missing (fix: add it)\n\
             not accepted: 2 members, 1 of 100 expected images, 0 of them sound\n"
        );
    }
}
