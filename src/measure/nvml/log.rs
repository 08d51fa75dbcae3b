//! The log `gpu-clocks.jsonl`: what the device said while something was timed on it.
//!
//! One JSON object a line: a header, samples and marks in the order of their times, a footer. A log without its footer is not
//! complete and is refused, so a truncated file cannot pass for a steady device.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cost::SamplerCost;
use super::facts::GpuFacts;
use super::refusal::{Lost, Refusals};
use super::sample::GpuSample;
use super::unavailable::Unavailable;
use super::window::GpuWindow;
use crate::fsio;
use crate::measure::error::Error;

/// Version of the format.
const SCHEMA: u64 = 1;

/// The most bytes such a log may have: about 450 a sample, at most [`super::sampler::MAX_SAMPLES`] of them, and the marks.
const LIMIT_BYTES: u64 = 512 << 20;

/// What the log is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuLogHeader {
    /// Version of the format.
    pub schema: u64,
    /// What the file is, for people.
    pub what: String,
    /// The wall clock at the start, in milliseconds since 1970, to find the same moment in other logs.
    pub started_unix_ms: u64,
    /// The monotonic clock at the start. All other times are on this clock.
    pub started_ns: u64,
    /// Time from one sample to the next.
    pub period_ms: u64,
    /// The UUID that was asked for.
    pub uuid: String,
    /// Why there are no samples, if there can be none.
    pub unavailable: Option<Unavailable>,
    /// The device.
    pub facts: Option<GpuFacts>,
}

/// Something that the measuring thread did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// When, on the clock of the samples.
    pub at_ns: u64,
    /// What, e.g. `window 3 begins`.
    pub label: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuLogFooter {
    /// How many samples the log has.
    pub samples: u64,
    /// How many marks the log has.
    pub marks: u64,
    /// Due times at which no sample was taken, because the one before took too long.
    pub missed: u64,
    /// Samples that were taken but not kept, because there were too many.
    pub not_kept: u64,
    /// The longest time from a due time to the start of its sample.
    pub worst_late_ns: u64,
    /// What the sampler itself cost.
    pub cost: SamplerCost,
    /// How often each field was refused, and why; the fields of the header begin with `facts.`.
    pub refusals: Refusals,
    /// When the device was lost, if it was.
    pub lost: Option<Lost>,
    /// Facts of the header that were no longer true at the end.
    pub changed_facts: Vec<String>,
    /// How the sampling thread ended.
    pub ending: SamplerEnding,
}

/// How the sampling thread ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerEnding {
    /// When it was asked to, or it never began.
    #[default]
    Ended,
    /// Not at all: a call of NVML did not return, and the thread was left behind in it.
    LeftBehind,
    /// By a fault of this program. The samples until then are good.
    Failed,
}

/// Everything that a [`super::GpuRecorder`] saw.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuLog {
    /// What the log is about.
    pub header: GpuLogHeader,
    /// In the order taken.
    pub samples: Vec<GpuSample>,
    /// In the order set.
    pub marks: Vec<Mark>,
    /// What came of it.
    pub footer: GpuLogFooter,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Header(Box<GpuLogHeader>),
    Sample(Box<GpuSample>),
    Mark(Mark),
    Footer(Box<GpuLogFooter>),
}

/// [`Line`] as it is written, without copies.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum LineRef<'a> {
    Header(&'a GpuLogHeader),
    Sample(&'a GpuSample),
    Mark(&'a Mark),
    Footer(&'a GpuLogFooter),
}

impl GpuLogHeader {
    pub(super) const SCHEMA: u64 = SCHEMA;
}

impl GpuLog {
    /// What the samples between two times say together; see [`GpuWindow::of`].
    pub fn window(&self, from_ns: u64, to_ns: u64) -> GpuWindow {
        GpuWindow::of(&self.samples, from_ns, to_ns, stale_ns(self.header.period_ms))
    }

    /// Energy used from the first to the last sample that has it, in millijoules; `None` with fewer than two.
    pub fn energy_mj(&self) -> Option<u64> {
        let mut known = self.samples.iter().filter_map(|sample| sample.energy_mj);
        let first = known.next()?;
        known.next_back()?.checked_sub(first)
    }

    /// Writes the log atomically.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        Ok(fsio::write_with(path, |file| self.write_lines(file))?)
    }

    /// Writes the lines to `out`.
    pub fn write_lines(&self, out: &mut impl Write) -> io::Result<()> {
        let mut put = |line: LineRef<'_>| {
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")
        };
        put(LineRef::Header(&self.header))?;
        let mut marks = self.marks.iter().peekable();
        for sample in &self.samples {
            while let Some(mark) = marks.next_if(|mark| mark.at_ns <= sample.at_ns) {
                put(LineRef::Mark(mark))?;
            }
            put(LineRef::Sample(sample))?;
        }
        for mark in marks {
            put(LineRef::Mark(mark))?;
        }
        put(LineRef::Footer(&self.footer))
    }

    /// Reads a complete log.
    ///
    /// # Errors
    /// [`Error::Log`] with the line at which it stops being one: unknown lines, a newer format, a missing or wrong footer.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = fsio::read_limited(path, LIMIT_BYTES)?;
        let wrong = |line: usize, what: String| Error::Log { path: path.to_path_buf(), line, what };
        let text = std::str::from_utf8(&bytes).map_err(|e| wrong(1, format!("the file is not text: {e}")))?;
        let (mut header, mut footer) = (None, None);
        let (mut samples, mut marks) = (Vec::new(), Vec::new());
        let mut last = 0;
        for (index, line) in text.lines().enumerate() {
            last = index + 1;
            if index == 0 {
                refuse_newer(line).map_err(|what| wrong(last, what))?;
            }
            let parsed = serde_json::from_str(line)
                .map_err(|e| wrong(last, format!("not a line of a GPU log: {e}")))?;
            match (parsed, index, &footer) {
                (Line::Header(found), 0, _) => header = Some(*found),
                (Line::Sample(sample), 1.., None) => samples.push(*sample),
                (Line::Mark(mark), 1.., None) => marks.push(mark),
                (Line::Footer(found), 1.., None) => footer = Some(*found),
                _ => return Err(wrong(last, "a line that does not belong here".to_owned())),
            }
        }
        let (Some(header), Some(footer)) = (header, footer) else {
            return Err(wrong(last, "the footer is missing, so the log is not complete".to_owned()));
        };
        if (footer.samples, footer.marks) != (samples.len() as u64, marks.len() as u64) {
            let what = format!(
                "the footer counts {} samples and {} marks, the log has {} and {}",
                footer.samples,
                footer.marks,
                samples.len(),
                marks.len()
            );
            return Err(wrong(last, what));
        }
        Ok(Self { header, samples, marks, footer })
    }
}

/// The age up to which a sample still stands for a moment after it.
pub(super) fn stale_ns(period_ms: u64) -> u64 {
    period_ms.saturating_mul(2_000_000)
}

/// Looks at the version before anything else: a newer header may have fields of another kind.
fn refuse_newer(line: &str) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Version {
        schema: u64,
    }
    match serde_json::from_str::<Version>(line) {
        Ok(Version { schema }) if schema > SCHEMA => {
            Err(format!("the log has schema {schema}, this program reads up to {SCHEMA}: use a newer esr"))
        }
        _ => Ok(()),
    }
}
