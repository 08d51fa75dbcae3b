//! The training log: one JSON object a line, appended and flushed as it happens.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fsio;

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Steps done, counted over all stages.
    pub step: u64,
    /// The stage, from 0.
    pub stage: usize,
    /// The epoch of the stage, from 0.
    pub epoch: u64,
    /// The learning rate of the last step.
    pub rate: f64,
    /// Mean loss of the steps since the line before.
    pub loss: f64,
    /// Patches zero-padded so far, because their image is smaller than the patch.
    pub padded_patches: u64,
    /// Mean PSNR over the validation images in dB, on the steps that evaluate them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub valid_psnr_rgb_db: Option<f64>,
}

/// The most bytes a log may have when it is read back: half a million steps stay far below.
const LIMIT_BYTES: u64 = 1 << 30;

/// An open log.
pub(super) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the log in `folder`, first dropping lines after `step`: they belong to steps that will be made again.
    pub(super) fn open(folder: &Path, step: u64) -> Result<Self, fsio::Error> {
        let path = folder.join("metrics.jsonl");
        let kept: Vec<LogRecord> = read(folder)?.into_iter().filter(|record| record.step <= step).collect();
        fsio::write_with(&path, |file| {
            for record in &kept {
                serde_json::to_writer(&mut *file, record)?;
                file.write_all(b"\n")?;
            }
            Ok(())
        })?;
        let file = fsio::io_context(OpenOptions::new().append(true).open(&path), "open", &path)?;
        Ok(Self { path, file })
    }

    /// Appends one line.
    pub(super) fn append(&mut self, record: &LogRecord) -> Result<(), fsio::Error> {
        let line = serde_json::to_string(record).map(|line| line + "\n");
        let written =
            line.map_err(std::io::Error::other).and_then(|line| self.file.write_all(line.as_bytes()));
        fsio::io_context(written, "append to", &self.path)
    }
}

/// The lines of the log in a training folder; none if there is no log. A last line cut short by a kill is dropped.
pub fn read(folder: &Path) -> Result<Vec<LogRecord>, fsio::Error> {
    let path = folder.join("metrics.jsonl");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = fsio::read_limited(&path, LIMIT_BYTES)?;
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    let mut records = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        match serde_json::from_slice(line) {
            Ok(record) => records.push(record),
            Err(_) if index + 1 == lines.len() => {}
            Err(source) => return Err(fsio::Error::Json { path, what: "training log", source }),
        }
    }
    Ok(records)
}
