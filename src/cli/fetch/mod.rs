//! `esr fetch`: brings data, checks it, or lists what there is.

mod list;
mod screen;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use self::screen::Screen;
use super::error::{CliError, ExitCode};
use super::output;
use crate::fetch::acquire::{self, AcquireError, Outcome, Repaired, Settings};
use crate::fetch::http::Options;
use crate::fetch::store::Store;
use crate::manifest::datasets::{Dataset, Datasets};
use crate::pipeline::provenance::utc;

/// Arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Datasets or groups of them, such as `verify` or `paper`; `esr fetch --list` shows all [default with --list, --verify and --repair: all that are listed]
    pub names: Vec<String>,
    /// Data folder
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Take what lies in this folder instead of downloading it: archives under their published names, and unpacked folders, which are checked and linked
    /// to but never moved or changed
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
    /// Check again what is here, every image decoded, LR against HR; fetch nothing
    #[arg(long, conflicts_with_all = ["from", "offline", "keep_archives"])]
    pub verify: bool,
    /// Check again what is here, and fetch what is wrong: single files where that is possible
    #[arg(long, conflicts_with_all = ["list", "verify"])]
    pub repair: bool,
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
        true if args.list || args.verify || args.repair => list.datasets().iter().collect(),
        true => {
            return Err(CliError::usage(
                "nothing to fetch: name datasets or groups, e.g. `esr fetch verify`; `esr fetch --list` shows what there is",
            ));
        }
        false => list.select(&args.names)?,
    };
    let store = Store::new(&args.data);
    if args.list {
        return list::show(&list, &datasets, &store);
    }
    let screen = Screen::new()?;
    if args.verify {
        return verify::verify(&list, &datasets, &store, &screen, !args.names.is_empty());
    }
    let repair = if args.repair { " --repair" } else { "" };
    let settings = Settings {
        data: args.data,
        from: args.from,
        keep_archives: args.keep_archives,
        download: Options { offline: args.offline, ..Options::default() },
        command: format!("esr fetch{repair} {}", args.names.join(" ")).trim_end().to_owned(),
        now: utc(SystemTime::now()),
    };
    let mut failed = Vec::new();
    if args.repair {
        for fate in acquire::repair(&datasets, &settings, &screen)? {
            match fate.result {
                // Nobody asked for it.
                Ok(Repaired::NotHere) if args.names.is_empty() => {}
                Ok(repaired) => told(fate.dataset, &in_words(&repaired))?,
                Err(error) => failed.push((fate.dataset, error)),
            }
        }
    } else {
        for fate in acquire::acquire(&datasets, &settings, &screen)? {
            match fate.result {
                Ok(Outcome::Here) => told(fate.dataset, "here")?,
                Ok(Outcome::Adopted(verdict)) => told(fate.dataset, &format!("found as it is: {verdict}"))?,
                Ok(Outcome::Fetched(verdict)) => told(fate.dataset, &format!("fetched: {verdict}"))?,
                Err(error) => failed.push((fate.dataset, error)),
            }
        }
    }
    screen.stop_if_asked()?;
    failure(&failed, &settings.command).map_or(Ok(()), Err)
}

fn told(dataset: &Dataset, text: &str) -> Result<(), CliError> {
    Ok(output::result(&format!("{}  {text}", dataset.name))?)
}

fn in_words(repaired: &Repaired) -> String {
    match repaired {
        Repaired::NotHere => "not here".to_owned(),
        Repaired::Sound(verdict) => format!("needs no repair: {verdict}"),
        Repaired::Files(1, verdict) => format!("repaired, 1 file fetched again: {verdict}"),
        Repaired::Files(count, verdict) => format!("repaired, {count} files fetched again: {verdict}"),
        Repaired::Whole(verdict) => format!("repaired, all of it fetched again: {verdict}"),
    }
}

/// What to say when something failed. Several datasets of one archive fail for one reason, which is told once.
fn failure(failed: &[(&Dataset, Arc<AcquireError>)], command: &str) -> Option<CliError> {
    let (_, error) = failed.first()?;
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for (dataset, error) in failed {
        let reason = error.to_string();
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(&dataset.name),
            None => reasons.push((reason, vec![&dataset.name])),
        }
    }
    let lines: Vec<String> =
        reasons.iter().map(|(reason, names)| format!("{}: {reason}", names.join(", "))).collect();
    let exit = super::error::of_acquire(error);
    let advice = match exit {
        ExitCode::Network => format!(
            "\nwhat came so far is kept: run the same command again; without network here, fetch the archives elsewhere and give their folder: \
             {command} --from DIR"
        ),
        _ => String::new(),
    };
    Some(CliError::new(exit, anyhow::anyhow!("{}{advice}", lines.join("\n"))))
}
