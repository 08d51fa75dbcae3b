//! `esr reproduce`: the whole way, with a line a stage.

use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::ProgressBar;

use super::common::{ComputeArgs, interrupted, note, progress_bar};
use super::{CliError, output};
use crate::interrupt::Interrupt;
use crate::pipeline::{self, Profile, RunSettings, Watcher, reproduce};
use crate::report;
use crate::train::Progress;

/// Arguments of `esr reproduce`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Profile [default: demo, or that of the run directory]
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// Run directory [default: runs/PROFILE]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Data folder
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Print the settings that would be used, and stop
    #[arg(long)]
    pub print_config: bool,
    /// Where and how to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), CliError> {
    let compute = args.compute.checked()?;
    let default_run = || Path::new("runs").join(args.profile.unwrap_or(Profile::Demo).name());
    let run = args.run.clone().unwrap_or_else(default_run);
    let saved = run.join("settings.toml");
    let (settings, origin) = match args.profile {
        None if saved.exists() => (RunSettings::read(&saved)?, saved.display().to_string()),
        profile => {
            let profile = profile.unwrap_or(Profile::Demo);
            (profile.settings()?, format!("profile {profile}"))
        }
    };
    if args.print_config {
        let text = settings.to_toml().map_err(CliError::usage)?;
        return Ok(output::result(&format!("# from {origin}\n{text}"))?);
    }
    let start = Instant::now();
    note(&format!("esr reproduce, {origin}: {}", settings.summary));
    let mut lines = Lines { signals: Interrupt::install()?, bar: TrainingBar::new(), stage: None };
    let result = reproduce(&run, &args.data, &settings, &compute, &mut lines);
    lines.bar.finish();
    lines.clear();
    let reproduced = match result {
        Err(pipeline::Error::Interrupted(signal)) => {
            return Err(interrupted(signal, "what is finished stays; the same command goes on from there"));
        }
        other => other?,
    };
    if reproduced.ran.is_empty() {
        note("nothing to do: every stage's inputs, settings and outputs are unchanged");
    }
    let report = report::files::read(&run)?;
    output::result(&summary(&report, &run, start.elapsed().as_secs_f64()))?;
    Ok(())
}

fn summary(report: &report::Report, run: &Path, seconds: f64) -> String {
    let mut text = String::new();
    if let Some(evaluation) = &report.evaluation {
        let db = |value: Option<f64>| value.map_or("infinite".to_owned(), |value| format!("{value:.2} dB"));
        text.push_str(&format!("PSNR      {} on {}", db(evaluation.psnr_rgb_db), evaluation.image_set));
        if let (Some(bicubic), Some(gain)) = (evaluation.bicubic_psnr_rgb_db, evaluation.gain_db) {
            text.push_str(&format!("; bicubic {bicubic:.2} dB, gain {gain:+.2} dB"));
        }
        text.push('\n');
    }
    if let Some(collapse) = &report.collapse {
        text.push_str(&format!("collapse  differs by {:.1e} at most\n", collapse.max_abs_difference));
    }
    let counts = &report.claim_counts;
    text.push_str(&format!(
        "claims    {} reproduced, {} differ, {} not attempted in this profile\n",
        counts.reproduced, counts.differs, counts.not_attempted
    ));
    if let Some(verdict) = &report.verdict {
        text.push_str(&format!("verdict   {} by the rules of {}\n", verdict.verdict, verdict.year));
    }
    text.push_str(&format!("archive   {}\n", run.join("submission.zip").display()));
    text.push_str(&format!("report    {}\n", run.join(report::files::MARKDOWN).display()));
    text.push_str(&format!("took      {seconds:.1} s"));
    text
}

/// One line a stage, and bars where something takes long.
struct Lines {
    signals: Interrupt,
    bar: TrainingBar,
    stage: Option<ProgressBar>,
}

impl Lines {
    fn clear(&mut self) {
        if let Some(bar) = self.stage.take() {
            bar.finish_and_clear();
        }
    }
}

impl Watcher for Lines {
    fn stage_starts(&mut self, name: &str, number: usize, total: usize) {
        tracing::info!("stage {number}/{total}: {name}");
    }

    fn stage_ends(&mut self, name: &str, ran: bool, seconds: f64) {
        self.bar.finish();
        self.clear();
        match ran {
            true => note(&format!("  {name:<14} done in {seconds:.1} s")),
            false => note(&format!("  {name:<14} unchanged")),
        }
    }

    fn advance(&mut self, what: &str, done: u64, total: u64) {
        let bar = self.stage.get_or_insert_with(|| progress_bar(total, "images"));
        bar.set_length(total);
        bar.set_message(what.to_owned());
        bar.set_position(done);
    }

    fn training(&mut self) -> &mut dyn Progress {
        &mut self.bar
    }

    fn interrupted(&self) -> Interrupt {
        self.signals.clone()
    }
}

/// The bar of a training: step, loss, PSNR, rate and time left; off a terminal a line now and then.
pub(super) struct TrainingBar {
    bar: Option<ProgressBar>,
    name: String,
    total: u64,
}

/// Lines a stage gets where there is no terminal to draw a bar on.
const LINES_PER_STAGE: u64 = 5;

impl TrainingBar {
    pub(super) fn new() -> Self {
        Self { bar: None, name: String::new(), total: 0 }
    }

    pub(super) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for TrainingBar {
    fn stage(&mut self, name: &str, done: u64, total: u64) {
        self.finish();
        let bar = progress_bar(total, "steps");
        bar.set_prefix(name.to_owned());
        bar.set_position(done);
        bar.reset_eta();
        self.bar = Some(bar);
        self.name = name.to_owned();
        self.total = total;
    }

    fn step(&mut self, stage_step: u64, loss: f64, rate: f64, valid_psnr_db: Option<f64>) {
        let Some(bar) = &self.bar else { return };
        let psnr = valid_psnr_db.map_or_else(String::new, |psnr| format!("  PSNR {psnr:.2} dB"));
        let message = format!("loss {loss:.4}{psnr}  rate {rate:.1e}");
        bar.set_position(stage_step);
        if bar.is_hidden() && stage_step.is_multiple_of(self.total.div_ceil(LINES_PER_STAGE).max(1)) {
            note(&format!("  {}  step {stage_step}/{}  {message}", self.name, self.total));
        }
        bar.set_message(message);
    }

    fn warn(&mut self, message: &str) {
        note(&format!("warning: {message}"));
    }
}
