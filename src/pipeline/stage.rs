//! One stage of a run: done once, recorded, and skipped as long as nothing it depends on has changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::provenance;
use crate::fsio::{self, Artefact};
use crate::measure::Machine;

/// What a finished stage leaves in `stages/<name>.json`. It is written last, so that a killed stage is one that never ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Format version.
    pub schema: u64,
    /// The stage's name.
    pub name: String,
    /// What it depended on: name and SHA-256.
    pub inputs: BTreeMap<String, String>,
    /// What it wrote: path in the run directory and SHA-256; a folder has one over all its files.
    pub outputs: BTreeMap<String, String>,
    /// How long it took, resumed parts not included.
    pub seconds: f64,
}

impl Artefact for StageRecord {
    const WHAT: &'static str = "stage record";
    const SCHEMA: u64 = 1;
}

/// A stage could not be checked or recorded.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Reading or writing failed.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// A stage did not write what it promised.
    #[error("stage `{stage}` did not write `{output}`")]
    Unwritten {
        /// The stage.
        stage: String,
        /// The path.
        output: String,
    },
}

/// A stage about to run.
pub(super) struct Stage<'a> {
    pub(super) run: &'a Path,
    pub(super) name: &'a str,
    pub(super) inputs: BTreeMap<String, String>,
    /// Files and folders it writes, relative to the run directory.
    pub(super) outputs: &'a [&'a str],
}

impl Stage<'_> {
    fn record_path(&self) -> PathBuf {
        self.run.join("stages").join(format!("{}.json", self.name))
    }

    /// The record of an earlier run whose inputs and outputs are unchanged.
    pub(super) fn unchanged(&self) -> Option<StageRecord> {
        // A record that cannot be read is as good as none: the stage runs again.
        let record: StageRecord = fsio::read_json(&self.record_path()).ok()?;
        let same_outputs = || {
            self.outputs.len() == record.outputs.len()
                && record.outputs.iter().all(|(path, hash)| {
                    hash_of(&self.run.join(path)).is_ok_and(|now| now.as_ref() == Some(hash))
                })
        };
        (record.inputs == self.inputs && same_outputs()).then_some(record)
    }

    /// Runs the stage's work and records it.
    pub(super) fn run<E: From<StageError>>(
        &self,
        machine: &Machine,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<StageRecord, E> {
        // The old record goes first: a stage that fails half-way has changed its outputs.
        let path = self.record_path();
        if path.exists() {
            fsio::io_context(fs::remove_file(&path), "remove", &path).map_err(StageError::from)?;
        }
        let start = Instant::now();
        work()?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(self.record(machine, seconds)?)
    }

    fn record(&self, machine: &Machine, seconds: f64) -> Result<StageRecord, StageError> {
        let mut outputs = BTreeMap::new();
        for &output in self.outputs {
            let path = self.run.join(output);
            let hash = hash_of(&path)?;
            let unwritten = || StageError::Unwritten { stage: self.name.into(), output: output.into() };
            outputs.insert(output.to_owned(), hash.ok_or_else(unwritten)?);
            if path.is_file() {
                provenance::write_beside(&path, self.inputs.clone(), machine)?;
            }
        }
        let record = StageRecord {
            schema: StageRecord::SCHEMA,
            name: self.name.into(),
            inputs: self.inputs.clone(),
            outputs,
            seconds,
        };
        crate::fault::point("stage.before-record");
        fsio::write_json(&self.record_path(), &record)?;
        Ok(record)
    }
}

/// The hash of a file, or one over the names and hashes of all files of a folder; `None` if it is not there.
pub(super) fn hash_of(path: &Path) -> Result<Option<String>, fsio::Error> {
    if path.is_file() {
        return Ok(Some(fsio::sha256_file(path)?));
    }
    if !path.is_dir() {
        return Ok(None);
    }
    let mut lines = Vec::new();
    let mut folders = vec![path.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fsio::io_context(fs::read_dir(&folder), "list", &folder)? {
            let entry = fsio::io_context(entry, "list", &folder)?.path();
            match entry.is_dir() {
                true => folders.push(entry),
                false => {
                    let name = entry.strip_prefix(path).unwrap_or(&entry).display().to_string();
                    lines.push(format!("{name} {}\n", fsio::sha256_file(&entry)?));
                }
            }
        }
    }
    lines.sort();
    Ok(Some(fsio::sha256_hex(lines.concat().as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn run_once(folder: &Path, input: &str, output: &str, ran: &Cell<u32>) -> Result<(), StageError> {
        let inputs = BTreeMap::from([("settings".to_owned(), input.to_owned())]);
        let stage = Stage { run: folder, name: "copy", inputs, outputs: &["out.txt"] };
        if stage.unchanged().is_some() {
            return Ok(());
        }
        let machine = Machine::detect();
        let work = || {
            ran.set(ran.get() + 1);
            Ok(fsio::write(&folder.join(output), input.as_bytes())?)
        };
        stage.run::<StageError>(&machine, work).map(drop)
    }

    #[test]
    fn a_stage_runs_exactly_when_something_changed() {
        let folder = tempfile::tempdir().unwrap();
        let ran = Cell::new(0);
        let run = |input: &str| run_once(folder.path(), input, "out.txt", &ran).unwrap();
        run("a");
        run("a");
        assert_eq!(ran.get(), 1, "unchanged");
        run("b");
        assert_eq!(ran.get(), 2, "input changed");
        fs::write(folder.path().join("out.txt"), "tampered").unwrap();
        run("b");
        assert_eq!(ran.get(), 3, "output changed");
        fs::remove_file(folder.path().join("out.txt")).unwrap();
        run("b");
        assert_eq!(ran.get(), 4, "output gone");
        fs::write(folder.path().join("stages/copy.json"), "{").unwrap();
        run("b");
        assert_eq!(ran.get(), 5, "record damaged");
    }

    #[test]
    fn a_stage_must_write_what_it_promises() {
        let folder = tempfile::tempdir().unwrap();
        let error = run_once(folder.path(), "a", "elsewhere.txt", &Cell::new(0)).unwrap_err();
        assert_eq!(error.to_string(), "stage `copy` did not write `out.txt`");
    }
}
