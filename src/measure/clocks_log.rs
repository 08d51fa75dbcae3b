//! The log `clocks.jsonl`: what the host said between windows.
//!
//! One JSON object a line: a header, samples, a footer with their number. A log without its footer is not complete and is
//! refused, so a truncated file cannot pass for a quiet machine.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::lane::Role;
use crate::fsio;

/// Version of the format.
const SCHEMA: u64 = 1;

/// The most bytes such a log may have: about 200 a sample, at most two samples a second.
const LIMIT_BYTES: u64 = 64 << 20;

/// What had just happened when a sample was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing yet.
    Start,
    /// A window of the warm-up.
    WarmUp,
    /// A window that counts.
    Window,
}

/// One look at the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockSample {
    /// Time since the start of the measurement.
    pub elapsed_ms: f64,
    /// What had just happened.
    pub phase: Phase,
    /// Whose window it was; `None` at the start.
    pub role: Option<Role>,
    /// Mean time of a forward in that window; `None` at the start.
    pub forward_ms: Option<f64>,
    /// Mean frequency of the processors.
    pub cpu_mhz: Option<f64>,
    /// Load average over one minute.
    pub load_average: Option<f64>,
    /// Share of all CPU time that others used since the sample before, 0 to 1.
    pub other_cpu_share: Option<f64>,
}

/// All samples of one measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClocksLog {
    /// In the order taken.
    pub samples: Vec<ClockSample>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Header { schema: u64, what: String },
    Sample(ClockSample),
    Footer { samples: usize },
}

impl ClocksLog {
    /// The log as text.
    pub fn to_jsonl(&self) -> Result<String, Error> {
        let header = Line::Header { schema: SCHEMA, what: "clock samples between windows".to_owned() };
        let samples = self.samples.iter().cloned().map(Line::Sample);
        let footer = Line::Footer { samples: self.samples.len() };
        let mut text = String::new();
        for line in std::iter::once(header).chain(samples).chain(std::iter::once(footer)) {
            let json = serde_json::to_string(&line).map_err(|source| fsio::Error::Json {
                path: "clocks.jsonl".into(),
                what: "clock log",
                source,
            })?;
            text.push_str(&json);
            text.push('\n');
        }
        Ok(text)
    }

    /// Writes the log atomically.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        Ok(fsio::write(path, self.to_jsonl()?.as_bytes())?)
    }

    /// Reads a complete log.
    ///
    /// # Errors
    /// [`Error::Log`] with the line at which it stops being one: unknown lines, a newer format, a missing or wrong footer.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = fsio::read_limited(path, LIMIT_BYTES)?;
        let text = String::from_utf8_lossy(&bytes);
        let wrong = |line: usize, what: String| Error::Log { path: path.to_path_buf(), line, what };
        let mut samples = Vec::new();
        let mut footer = None;
        let mut last = 0;
        for (index, line) in text.lines().enumerate() {
            last = index + 1;
            let parsed =
                serde_json::from_str(line).map_err(|e| wrong(last, format!("not a clock log line: {e}")))?;
            match (parsed, index, footer) {
                (Line::Header { schema, .. }, 0, _) if schema <= SCHEMA => {}
                (Line::Header { schema, .. }, 0, _) => {
                    let what = format!("the log has schema {schema}, this program reads up to {SCHEMA}");
                    return Err(wrong(last, what));
                }
                (Line::Sample(sample), 1.., None) => samples.push(sample),
                (Line::Footer { samples }, 1.., None) => footer = Some(samples),
                _ => return Err(wrong(last, "a line that does not belong here".to_owned())),
            }
        }
        match footer {
            Some(n) if n == samples.len() => Ok(Self { samples }),
            Some(n) => {
                Err(wrong(last, format!("the footer counts {n} samples, the log has {}", samples.len())))
            }
            None => Err(wrong(last, "the footer is missing, so the log is not complete".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> ClocksLog {
        let start = ClockSample {
            elapsed_ms: 0.0,
            phase: Phase::Start,
            role: None,
            forward_ms: None,
            cpu_mhz: Some(2250.0),
            load_average: None,
            other_cpu_share: None,
        };
        let window = ClockSample {
            elapsed_ms: 512.5,
            phase: Phase::Window,
            role: Some(Role::Baseline),
            forward_ms: Some(51.25),
            ..start.clone()
        };
        ClocksLog { samples: vec![start, window] }
    }

    #[test]
    fn a_log_survives_the_file_and_a_truncated_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clocks.jsonl");
        log().write(&path).unwrap();
        assert_eq!(ClocksLog::read(&path).unwrap(), log());
        let text = log().to_jsonl().unwrap();
        insta::assert_snapshot!(text, @r#"
        {"kind":"header","schema":1,"what":"clock samples between windows"}
        {"kind":"sample","elapsed_ms":0.0,"phase":"start","role":null,"forward_ms":null,"cpu_mhz":2250.0,"load_average":null,"other_cpu_share":null}
        {"kind":"sample","elapsed_ms":512.5,"phase":"window","role":"baseline","forward_ms":51.25,"cpu_mhz":2250.0,"load_average":null,"other_cpu_share":null}
        {"kind":"footer","samples":2}
        "#);
        // Every prefix of lines, and a footer that counts wrongly, must be refused.
        let lines: Vec<&str> = text.lines().collect();
        for keep in 0..lines.len() {
            fsio::write(&path, lines[..keep].join("\n").as_bytes()).unwrap();
            assert!(ClocksLog::read(&path).is_err(), "{keep} lines");
        }
        fsio::write(&path, text.replace("\"samples\":2", "\"samples\":3").as_bytes()).unwrap();
        let message = ClocksLog::read(&path).unwrap_err().to_string();
        assert!(message.contains("line 4: the footer counts 3 samples, the log has 2"), "{message}");
        fsio::write(&path, text.replace("\"schema\":1", "\"schema\":2").as_bytes()).unwrap();
        assert!(ClocksLog::read(&path).unwrap_err().to_string().contains("reads up to 1"));
    }
}
