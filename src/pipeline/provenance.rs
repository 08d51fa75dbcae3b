//! Who made a file, when, from what: written beside artefacts, so that the artefacts themselves hold only what follows from their inputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::fsio::{self, Artefact};
use crate::measure::Machine;

/// The content of `<file>.provenance.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Format version.
    pub schema: u64,
    /// The file's name.
    pub file: String,
    /// Its SHA-256.
    pub sha256: String,
    /// The program's name and version.
    pub tool: String,
    /// The commit the program was built from, `-dirty` appended when the tree had changes; `None` when it was built outside a repository.
    pub commit: Option<String>,
    /// The arguments it was called with.
    pub arguments: Vec<String>,
    /// When the file was written, UTC, RFC 3339.
    pub written_at: String,
    /// What it was made from: name and SHA-256.
    pub inputs: BTreeMap<String, String>,
    /// The machine.
    pub machine: Machine,
}

impl Artefact for Provenance {
    const WHAT: &'static str = "provenance";
    const SCHEMA: u64 = 1;
}

/// The program's name and version.
pub fn tool() -> String {
    format!("esr {}", env!("CARGO_PKG_VERSION"))
}

/// The commit the program was built from.
pub fn commit() -> Option<String> {
    option_env!("ESR_COMMIT").map(str::to_owned)
}

/// Writes the provenance of a file beside it.
///
/// # Errors
/// When the file cannot be hashed or the provenance not written.
pub fn write_beside(
    path: &Path,
    inputs: BTreeMap<String, String>,
    machine: &Machine,
) -> Result<(), fsio::Error> {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let provenance = Provenance {
        schema: Provenance::SCHEMA,
        sha256: fsio::sha256_file(path)?,
        tool: tool(),
        commit: commit(),
        arguments: std::env::args().collect(),
        written_at: utc(SystemTime::now()),
        inputs,
        machine: machine.clone(),
        file,
    };
    fsio::write_json(&beside(path), &provenance)
}

/// The name of a file's provenance.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map(|name| name.to_os_string()).unwrap_or_default();
    name.push(".provenance.json");
    path.with_file_name(name)
}

/// A time in UTC by RFC 3339, to the second. Days to dates by the proleptic Gregorian calendar, counted in eras of 400 years from 1 March.
pub fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Day 0 is 1970-01-01; 719,468 days lie between 0000-03-01 and it.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..=9 => (era * 400 + year, month + 3),
        _ => (era * 400 + year + 1, month - 9),
    };
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_written_as_rfc_3339() {
        // Checked with `date -u -d @N +%FT%TZ`.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_646_092_800, "2022-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
