//! `esr pack`: image pairs decoded once into one file, and checking such a file.

use std::path::PathBuf;

use indicatif::{DecimalBytes, ProgressBar};

use super::common::{interrupted, note, progress_bar};
use super::{CliError, output, threads};
use crate::dataset;
use crate::dataset::packed::{self, PackError, Packed};
use crate::interrupt::Interrupt;

/// Said when a signal comes while images are packed.
pub(super) const PACKING_STOPPED: &str = "what is packed stays; the same command goes on from there";

/// Arguments of `esr pack`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The packed file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Folder of LR images (PNG or BMP)
    #[arg(long, value_name = "DIR", required_unless_present = "verify")]
    pub lr: Option<PathBuf>,
    /// Folder of HR images; paired with the LR images by the datasets' naming rules
    #[arg(long, value_name = "DIR", required_unless_present = "verify")]
    pub hr: Option<PathBuf>,
    /// How many times as large HR images are
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub scale: usize,
    /// Check every byte of a packed file instead of making one
    #[arg(long, conflicts_with_all = ["lr", "hr", "scale"])]
    pub verify: bool,
    /// Threads to decode with [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), CliError> {
    threads::start(threads::number(args.threads)?, false)?;
    let (Some(lr), Some(hr)) = (&args.lr, &args.hr) else {
        let packed = Packed::open(&args.file)?;
        packed.verify()?;
        return Ok(output::result(&format!("{} pairs, every byte as it was written", packed.len()))?);
    };
    let signals = Interrupt::install()?;
    let list = dataset::pair_folders(lr, hr, args.scale)?;
    for path in &list.ignored {
        note(&format!("note: `{}` is no image by its name and is left out", path.display()));
    }
    let bar = progress_bar(list.pairs.len() as u64, "pairs");
    let progress = |done, total| show_packing(&bar, "", done, total);
    let summary = packed::pack(&list.pairs, args.scale, &args.file, &progress, &|| signals.signal());
    bar.finish_and_clear();
    let summary = summary.map_err(|error| match error {
        PackError::Interrupted(signal) => interrupted(signal, PACKING_STOPPED),
        error => error.into(),
    })?;
    let kept = match summary.kept {
        0 => String::new(),
        kept if kept == summary.pairs => ", all of them as they were".to_owned(),
        kept => format!(", {kept} of them as they were"),
    };
    Ok(output::result(&format!(
        "{}  {} pairs, {}{kept}",
        args.file.display(),
        summary.pairs,
        DecimalBytes(summary.bytes)
    ))?)
}

/// A set that is being packed, on its bar.
pub(super) fn show_packing(bar: &ProgressBar, set: &str, done: usize, total: usize) {
    bar.set_length(total as u64);
    bar.set_message(if set.is_empty() { "packing".to_owned() } else { format!("packing {set}") });
    bar.set_position(done as u64);
}
