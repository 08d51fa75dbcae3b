//! The hand of the measuring thread on the thread that samples.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::facts::GpuFacts;
use super::library;
use super::log::{GpuLog, GpuLogFooter, GpuLogHeader, Mark, SamplerEnding, stale_ns};
use super::refusal::Lost;
use super::sample::as_ns;
use super::sampler::{Sampler, Seen, locked};
use super::schedule::SamplingPeriod;
use super::unavailable::Unavailable;
use super::window::GpuWindow;
use crate::measure::clock::{Clock, MonotonicClock};

/// How long to wait for NVML at the start. Without persistence mode it wakes every device of the machine, seconds each.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long to wait for the sampling thread at the end before it is left behind in a call that does not return.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What to sample and how.
#[derive(Clone, Debug)]
pub struct RecorderOptions {
    /// The NVML library, see [`super::library_path`]; `None` for the system's.
    pub library: Option<PathBuf>,
    /// The device, by the UUID that CUDA gives it.
    pub uuid: String,
    /// Time from one sample to the next.
    pub period: SamplingPeriod,
    /// How long the start waits for the library and the device.
    pub start_timeout: Duration,
    /// How long the end waits for a call that does not return.
    pub stop_timeout: Duration,
}

impl RecorderOptions {
    /// The device of that UUID, with the default period and [`super::library_path`]'s library.
    pub fn new(uuid: impl Into<String>) -> Self {
        Self {
            library: library::library_path(None),
            uuid: uuid.into(),
            period: SamplingPeriod::DEFAULT,
            start_timeout: START_TIMEOUT,
            stop_timeout: STOP_TIMEOUT,
        }
    }
}

/// Samples a device from its start until [`GpuRecorder::finish`]. It can always be started: without NVML it takes marks only and
/// the log says why.
#[derive(Debug)]
pub struct GpuRecorder {
    header: GpuLogHeader,
    clock: MonotonicClock,
    started: Duration,
    marks: Vec<Mark>,
    seen: Arc<Mutex<Seen>>,
    stop_timeout: Duration,
    sampling: Option<Sampling>,
}

/// The running thread.
#[derive(Debug)]
struct Sampling {
    stop: Arc<AtomicBool>,
    thread: Thread,
    ended: Receiver<()>,
}

impl GpuRecorder {
    /// Starts the thread, which opens NVML, finds the device and reads its facts, and waits until it has. `clock` is the one the measuring thread reads.
    pub fn start(options: &RecorderOptions, clock: MonotonicClock) -> Self {
        let started = clock.now();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let period_ms = as_ns(options.period.duration()) / 1_000_000;
        let mut recorder = Self {
            header: GpuLogHeader {
                schema: GpuLogHeader::SCHEMA,
                what: "GPU samples and marks, times in ns on one monotonic clock".to_owned(),
                started_unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
                started_ns: as_ns(started),
                period_ms,
                uuid: options.uuid.clone(),
                unavailable: None,
                facts: None,
            },
            clock,
            started,
            marks: Vec::new(),
            seen: Arc::new(Mutex::new(Seen::default())),
            stop_timeout: options.stop_timeout,
            sampling: None,
        };
        if let Err(why) = recorder.begin(options) {
            tracing::debug!("the GPU is not sampled: {why}");
            recorder.header.unavailable = Some(why);
        }
        recorder
    }

    fn begin(&mut self, options: &RecorderOptions) -> Result<(), Unavailable> {
        let stop = Arc::new(AtomicBool::new(false));
        let (opened_sender, opened) = channel();
        let (end_sender, ended) = channel();
        let sampler = Sampler {
            library: options.library.clone(),
            uuid: options.uuid.clone(),
            period: options.period,
            clock: self.clock,
            stop: Arc::clone(&stop),
            seen: Arc::clone(&self.seen),
        };
        let thread = std::thread::Builder::new().name("esr-nvml".to_owned());
        let handle = thread
            .spawn(move || sampler.run(&opened_sender, end_sender))
            .map_err(|error| Unavailable::NoThread { detail: error.to_string() })?;
        let sampling = Sampling { stop, thread: handle.thread().clone(), ended };
        match opened.recv_timeout(options.start_timeout) {
            Ok(facts) => {
                self.header.facts = Some(facts?);
                self.sampling = Some(sampling);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => {
                // Should the call return after all, the thread ends without a sample.
                sampling.signal();
                Err(Unavailable::NoAnswer { seconds: options.start_timeout.as_secs_f64() })
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(Unavailable::NoThread { detail: "it ended before it had begun".to_owned() })
            }
        }
    }

    /// The device, or why there is none.
    pub fn device(&self) -> Result<&GpuFacts, &Unavailable> {
        match (&self.header.facts, &self.header.unavailable) {
            (_, Some(why)) => Err(why),
            (Some(facts), None) => Ok(facts),
            // `start` sets one of the two.
            (None, None) => Err(&Unavailable::NoDriver),
        }
    }

    /// Notes that `label` happens now, and returns the time. Nothing is shared with the sampling thread here.
    pub fn mark(&mut self, label: impl Into<String>) -> u64 {
        let at_ns = as_ns(self.clock.now());
        self.marks.push(Mark { at_ns, label: label.into() });
        at_ns
    }

    /// How many samples there are so far.
    pub fn samples(&self) -> usize {
        locked(&self.seen).samples.len()
    }

    /// When the device was lost, if it was until now.
    pub fn lost(&self) -> Option<Lost> {
        locked(&self.seen).lost.clone()
    }

    /// What the samples between two times say together, to judge a timing while others are still to come. Not for use inside of
    /// what is timed: the sampling thread waits meanwhile.
    pub fn window(&self, from_ns: u64, to_ns: u64) -> GpuWindow {
        GpuWindow::of(&locked(&self.seen).samples, from_ns, to_ns, stale_ns(self.header.period_ms))
    }

    /// A hand on what is shared with the thread, to see when the thread lets go of it.
    #[cfg(test)]
    pub(super) fn seen_for_tests(&self) -> std::sync::Weak<impl Sized + use<>> {
        Arc::downgrade(&self.seen)
    }

    /// Takes a last sample, ends the thread and gives the log. A thread that does not end is left behind.
    pub fn finish(mut self) -> GpuLog {
        self.end()
    }

    /// The same for an owner that cannot give the recorder away. What is marked after it is in no log.
    pub(in crate::measure) fn end(&mut self) -> GpuLog {
        let ending = match (self.sampling.take(), &self.header.unavailable) {
            (Some(sampling), _) => {
                sampling.signal();
                match sampling.ended.recv_timeout(self.stop_timeout) {
                    Ok(()) => SamplerEnding::Ended,
                    Err(RecvTimeoutError::Timeout) => SamplerEnding::LeftBehind,
                    Err(RecvTimeoutError::Disconnected) => SamplerEnding::Failed,
                }
            }
            (None, Some(Unavailable::NoAnswer { .. })) => SamplerEnding::LeftBehind,
            (None, _) => SamplerEnding::Ended,
        };
        let wall = self.clock.now().saturating_sub(self.started);
        let mut seen = locked(&self.seen);
        let samples = std::mem::take(&mut seen.samples);
        let footer = GpuLogFooter {
            samples: samples.len() as u64,
            marks: self.marks.len() as u64,
            missed: seen.missed,
            not_kept: seen.not_kept,
            worst_late_ns: as_ns(seen.worst_late),
            cost: seen.cost.over(wall),
            refusals: seen.refusals.clone(),
            lost: seen.lost.clone(),
            changed_facts: seen.changed_facts.clone(),
            ending,
        };
        drop(seen);
        let header = self.header.clone();
        GpuLog { header, samples, marks: std::mem::take(&mut self.marks), footer }
    }
}

impl Drop for GpuRecorder {
    fn drop(&mut self) {
        // A run that fails half way does not wait for the thread, but does not leave it sampling either.
        if let Some(sampling) = &self.sampling {
            sampling.signal();
        }
    }
}

impl Sampling {
    fn signal(&self) {
        self.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}
