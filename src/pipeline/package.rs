//! From a run to a submission archive, audited as the server would.

use std::path::{Path, PathBuf};

use super::materials::Folders;
use super::settings::RunSettings;
use crate::fsio;
use crate::measure::Measurement;
use crate::submission::{self, Expectation, Readme, Report};

/// Why an archive could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// The archive could not be made or read.
    #[error(transparent)]
    Submission(#[from] submission::Error),
    /// The run has no SR images yet.
    #[error("`{0}` has no SR images: run `esr reproduce` (its stage `evaluate` makes them) first")]
    NoImages(PathBuf),
    /// Our own audit refuses the archive.
    #[error("the archive `{archive}` would be refused:\n  {}", .findings.join("\n  "))]
    Refused {
        /// The archive.
        archive: PathBuf,
        /// What is wrong.
        findings: Vec<String>,
    },
}

/// A finished archive.
#[derive(Clone, Debug)]
pub struct Packaged {
    /// The archive.
    pub archive: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// What the audit found.
    pub report: Report,
}

/// The name of a run's own archive.
pub(super) const ARCHIVE: &str = "submission.zip";

/// Packs the SR images of a run with a readme into `archive`, and audits the result against the LR images that the settings name. `data` is the data
/// folder. Beside the run's own archive, `SHA256SUMS` and `validation.json` are written.
///
/// # Errors
/// [`Error::Refused`] when the audit finds a fault; the archive then stays for inspection.
pub fn package_from(
    run: &Path,
    data: &Path,
    settings: &RunSettings,
    archive: &Path,
) -> Result<Packaged, Error> {
    let folder = run.join("sr");
    if !folder.is_dir() {
        return Err(Error::NoImages(run.to_path_buf()));
    }
    let mut stems = Vec::new();
    for entry in fsio::io_context(std::fs::read_dir(&folder), "list", &folder)? {
        let path = fsio::io_context(entry, "list", &folder)?.path();
        stems.push(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default());
    }
    let measurement: Measurement = fsio::read_json(&run.join("measurement-ntire.json"))?;
    let readme = Readme {
        runtime_per_image_s: measurement.timing.mean_ms / 1000.0,
        cpu: measurement.device == "cpu",
        extra_data: settings.package.extra_data,
        description: settings.package.description.clone(),
    };
    submission::write(archive, &stems, &readme, |stem| {
        let path = folder.join(format!("{stem}.png"));
        fsio::read_limited(&path, IMAGE_LIMIT_BYTES).map_err(std::io::Error::other)
    })?;
    let report = submission::validate(archive, &Expectation::Lr(Folders::of(settings, data).valid.lr))?;
    let sha256 = fsio::sha256_file(archive)?;
    if archive == run.join(ARCHIVE) {
        fsio::write_json(&run.join("validation.json"), &report)?;
        fsio::write(&run.join("SHA256SUMS"), submission::sha256sums(archive)?.as_bytes())?;
    }
    if !report.accepted {
        let findings =
            report.findings.iter().map(|finding| format!("{}: {}", finding.location, finding.what)).collect();
        return Err(Error::Refused { archive: archive.to_path_buf(), findings });
    }
    Ok(Packaged { archive: archive.to_path_buf(), sha256, report })
}

/// The most bytes one SR image may have: a 4K image that does not compress at all stays below.
const IMAGE_LIMIT_BYTES: u64 = 256 << 20;
