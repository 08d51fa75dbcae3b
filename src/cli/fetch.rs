//! `esr fetch`: brings data, checks it, or lists what there is.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use indicatif::{DecimalBytes, MultiProgress, ProgressBar};

use super::common::{self, bars};
use super::error::{CliError, ExitCode};
use super::output;
use crate::fetch::acquire::{self, Fate, Outcome, Settings, Watch};
use crate::fetch::check;
use crate::fetch::http::{Options, Progress};
use crate::fetch::store::{self, State, Store};
use crate::interrupt::Interrupt;
use crate::manifest::datasets::{Dataset, Datasets};
use crate::pipeline::provenance::utc;

/// Arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Datasets or groups of them, such as `verify` or `paper`; `esr fetch --list` shows all [default with --list and --verify: all that are listed]
    pub names: Vec<String>,
    /// Data folder
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Take archives that lie in this folder under their published names instead of downloading them
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Do not use the network
    #[arg(long)]
    pub offline: bool,
    /// Keep archives after they are unpacked
    #[arg(long)]
    pub keep_archives: bool,
    /// Show what there is, what is here and what is missing, and stop
    #[arg(long, conflicts_with_all = ["from", "offline", "keep_archives", "verify"])]
    pub list: bool,
    /// Check again what is here, every image decoded; fetch nothing
    #[arg(long, conflicts_with_all = ["from", "offline", "keep_archives"])]
    pub verify: bool,
    /// Another list of datasets than the built-in one
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), CliError> {
    let list = match &args.manifest {
        Some(file) => Datasets::read(file)?,
        None => Datasets::built_in()?,
    };
    let datasets = match args.names.is_empty() {
        true if args.list || args.verify => list.datasets().iter().collect(),
        true => {
            return Err(CliError::usage(
                "nothing to fetch: name datasets or groups, e.g. `esr fetch verify`; `esr fetch --list` shows what there is",
            ));
        }
        false => list.select(&args.names)?,
    };
    let store = Store::new(&args.data);
    if args.list {
        return show(&list, &datasets, &store);
    }
    let screen = Screen { bars: bars(), interrupt: Interrupt::install()? };
    if args.verify {
        return verify(&datasets, &store, &screen);
    }
    let settings = Settings {
        data: args.data,
        from: args.from,
        keep_archives: args.keep_archives,
        download: Options { offline: args.offline, ..Options::default() },
        command: format!("esr fetch {}", args.names.join(" ")),
        now: utc(SystemTime::now()),
    };
    let fates = acquire::acquire(&datasets, &settings, &screen)?;
    told(fates, &screen)
}

/// One line a dataset, and an error if any is not there.
fn told(fates: Vec<Fate<'_>>, screen: &Screen) -> Result<(), CliError> {
    let mut failed = Vec::new();
    for Fate { dataset, result } in fates {
        let text = match result {
            Ok(Outcome::Here) => "here".to_owned(),
            Ok(Outcome::Adopted(verdict)) => format!("found as it is: {verdict}"),
            Ok(Outcome::Fetched(verdict)) => format!("fetched: {verdict}"),
            Err(error) => {
                failed.push((dataset, error));
                continue;
            }
        };
        output::result(&format!("{}  {text}", dataset.name))?;
    }
    screen.stop_if_asked()?;
    let Some((first, _)) = failed.first() else { return Ok(()) };
    let exit = failed.first().map_or(ExitCode::Data, |(_, error)| super::error::of_acquire(error));
    // Several datasets of one archive fail for one reason, which is told once.
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for (dataset, error) in &failed {
        let reason = error.to_string();
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(&dataset.name),
            None => reasons.push((reason, vec![&dataset.name])),
        }
    }
    let lines: Vec<String> =
        reasons.iter().map(|(reason, names)| format!("{}: {reason}", names.join(", "))).collect();
    let advice = format!(
        "what came so far is kept: run the same command again; without network here, fetch the archives elsewhere and give their folder: \
         esr fetch {} --from DIR",
        first.name
    );
    Err(CliError::new(exit, anyhow::anyhow!("{}\n{advice}", lines.join("\n"))))
}

fn verify(datasets: &[&Dataset], store: &Store, screen: &Screen) -> Result<(), CliError> {
    let mut wrong = Vec::new();
    for dataset in datasets {
        let folder = store.folder(&dataset.folder)?;
        if matches!(store::state(&folder)?, State::Absent) {
            output::result(&format!("{}  not here", dataset.name))?;
            continue;
        }
        let bar = screen.task(&format!("check {}", dataset.folder));
        let found = check::deep(dataset, &folder, &*bar);
        drop(bar);
        screen.stop_if_asked()?;
        match found {
            Ok(verdict) => output::result(&format!("{}  {verdict}", dataset.name))?,
            Err(error) => {
                output::result(&format!("{}  NOT SOUND", dataset.name))?;
                wrong.push(error.to_string());
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(CliError::data(wrong.join("\n"))),
    }
}

fn show(list: &Datasets, datasets: &[&Dataset], store: &Store) -> Result<(), CliError> {
    let width = datasets.iter().map(|dataset| dataset.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for dataset in datasets {
        let folder = store.folder(&dataset.folder)?;
        let state = match store::state(&folder)? {
            State::Absent => "missing",
            State::Incomplete { .. } => "incomplete",
            State::Foreign => "here, unchecked",
            State::Complete(_) => "here",
        };
        let size = match dataset.sources.first().and_then(|source| source.archive()) {
            Some(archive) => {
                let shared = list.contents(&archive.file).count() > 1;
                let size = archive.size_hint_bytes();
                let size =
                    size.map_or_else(|| "size unknown".to_owned(), |bytes| DecimalBytes(bytes).to_string());
                format!("{size}{}", if shared { format!(" ({})", archive.file) } else { String::new() })
            }
            None => format!("{} files", dataset.members.count()),
        };
        text.push_str(&format!(
            "{:width$}  {state:15}  {size}\n{:width$}  {}; {}\n",
            dataset.name, "", dataset.title, dataset.terms.summary
        ));
    }
    text.push_str("\ngroups\n");
    for group in list.groups() {
        text.push_str(&format!("  {}: {} ({})\n", group.name, group.summary, group.datasets.join(", ")));
    }
    Ok(output::result(&text)?)
}

/// Bars and notes on standard error.
struct Screen {
    bars: MultiProgress,
    interrupt: Interrupt,
}

impl Screen {
    fn stop_if_asked(&self) -> Result<(), CliError> {
        match self.interrupt.signal() {
            None => Ok(()),
            Some(signal) => {
                Err(common::interrupted(signal, "what came so far is kept: run the same command again"))
            }
        }
    }
}

impl Watch for Screen {
    fn note(&self, text: &str) {
        self.bars.suspend(|| output::note(text));
    }

    fn task(&self, title: &str) -> Box<dyn Progress + '_> {
        let bar = self.bars.add(common::bytes_bar(title));
        Box::new(Bar { bar, screen: self })
    }

    fn stopped(&self) -> bool {
        self.interrupt.signal().is_some()
    }
}

/// One piece of work on the screen; it vanishes when the work is over.
struct Bar<'a> {
    bar: ProgressBar,
    screen: &'a Screen,
}

impl Progress for Bar<'_> {
    fn started(&self, total_bytes: Option<u64>) {
        self.bar.reset();
        self.bar.set_position(0);
        if let Some(total) = total_bytes {
            self.bar.set_length(total);
        }
    }

    fn advanced(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn retrying(&self, reason: &str, wait: Duration) {
        self.screen.note(&format!("note: {reason}; trying again in {:.1} s", wait.as_secs_f64()));
    }

    fn stopped(&self) -> bool {
        self.screen.stopped()
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.screen.bars.remove(&self.bar);
    }
}
