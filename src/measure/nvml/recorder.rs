//! The thread that samples, and the hand of the measuring thread on it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nvml_wrapper::Nvml;

use super::cost::{CostSum, thread_cpu_ns};
use super::facts::GpuFacts;
use super::library;
use super::log::{GpuLog, GpuLogFooter, GpuLogHeader, Mark, stale_ns};
use super::refusal::{Asking, Lost, Refusals};
use super::sample::{GpuSample, Reader, as_ns};
use super::schedule::{SamplingPeriod, Schedule};
use super::unavailable::Unavailable;
use super::window::GpuWindow;
use crate::measure::clock::{Clock, MonotonicClock};

/// The most samples kept: about 100 minutes at 10 ms and 17 hours at 100 ms, some 100 MB of memory. Later ones are counted.
pub(super) const MAX_SAMPLES: usize = 600_000;

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

/// What the sampling thread has seen so far.
#[derive(Debug, Default)]
struct Seen {
    samples: Vec<GpuSample>,
    not_kept: u64,
    missed: u64,
    worst_late: Duration,
    cost: CostSum,
    refusals: Refusals,
    lost: Option<Lost>,
    changed_facts: Vec<String>,
}

impl GpuRecorder {
    /// Opens NVML, finds the device, reads its facts and starts the thread. `clock` is the one the measuring thread reads.
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
        let nvml = library::open(options.library.as_deref())?;
        let facts = {
            let device = library::find(&nvml, &options.uuid)?;
            let mut asking = Asking::default();
            let facts = GpuFacts::read(&nvml, &device, &mut asking);
            asking.add_to(&mut locked(&self.seen).refusals);
            facts
        };
        self.header.facts = Some(facts.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let (end, ended) = channel();
        let work = Work {
            nvml,
            uuid: options.uuid.clone(),
            facts,
            period: options.period,
            clock: self.clock,
            stop: Arc::clone(&stop),
            seen: Arc::clone(&self.seen),
        };
        let spawned = std::thread::Builder::new().name("esr-nvml".to_owned()).spawn(move || work.run(end));
        let handle = spawned.map_err(|error| Unavailable::NoThread { detail: error.to_string() })?;
        self.sampling = Some(Sampling { stop, thread: handle.thread().clone(), ended });
        Ok(())
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
        let mut abandoned = false;
        if let Some(sampling) = self.sampling.take() {
            sampling.signal();
            // A disconnected channel is a thread that ended as well.
            let answer = sampling.ended.recv_timeout(self.stop_timeout);
            abandoned = matches!(answer, Err(std::sync::mpsc::RecvTimeoutError::Timeout));
        }
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
            abandoned,
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

/// What the thread owns.
struct Work {
    nvml: Nvml,
    uuid: String,
    facts: GpuFacts,
    period: SamplingPeriod,
    clock: MonotonicClock,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
}

impl Work {
    fn run(self, end: Sender<()>) {
        self.sample_until_stopped();
        locked(&self.seen).cost.thread_cpu_ns = thread_cpu_ns();
        // NVML is closed before the end is told, so that nothing of it runs on afterwards.
        drop(self.nvml);
        // Nobody may be waiting any more.
        let _ = end.send(());
    }

    fn sample_until_stopped(&self) {
        let device = match library::find(&self.nvml, &self.uuid) {
            Ok(device) => device,
            Err(Unavailable::Refused { reason, .. }) if reason.is_loss() => {
                let at_ns = as_ns(self.clock.now());
                locked(&self.seen).lost = Some(Lost { at_ns, field: "handle".into(), reason });
                return;
            }
            Err(_) => {
                locked(&self.seen).refusals.note("handle", super::Refusal::NotFound);
                return;
            }
        };
        let reader = Reader::new(device);
        let mut schedule = Schedule::new(self.clock.now(), self.period);
        loop {
            // Read before the sample, so that the last one is taken after the signal.
            let stopping = self.stop.load(Ordering::Acquire);
            let mut asking = Asking::default();
            let began = self.clock.now();
            let sample = reader.read(&self.clock, &mut asking);
            if !self.keep(sample, &asking, &schedule) {
                return;
            }
            if stopping {
                break;
            }
            self.wait_until(schedule.next_due(began, self.clock.now()));
        }
        self.compare_facts();
    }

    /// Adds a sample; `false` if the device is lost.
    fn keep(&self, sample: GpuSample, asking: &Asking, schedule: &Schedule) -> bool {
        let mut seen = locked(&self.seen);
        seen.cost.add(sample.read_ns);
        asking.add_to(&mut seen.refusals);
        seen.worst_late = schedule.worst_late;
        seen.missed = schedule.missed;
        if let Some((field, reason)) = asking.loss() {
            seen.lost = Some(Lost { at_ns: sample.at_ns, field: field.into(), reason });
        }
        if seen.samples.len() < MAX_SAMPLES {
            seen.samples.push(sample);
        } else {
            seen.not_kept += 1;
        }
        seen.lost.is_none()
    }

    fn wait_until(&self, due: Duration) {
        while !self.stop.load(Ordering::Acquire) {
            let now = self.clock.now();
            if now >= due {
                return;
            }
            std::thread::park_timeout(due - now);
        }
    }

    fn compare_facts(&self) {
        let Ok(device) = library::find(&self.nvml, &self.uuid) else { return };
        let mut asking = Asking::default();
        let now = GpuFacts::read(&self.nvml, &device, &mut asking);
        locked(&self.seen).changed_facts = self.facts.changed_until(&now);
    }
}

/// The lock, also when a thread that held it panicked: what it guards is whole after every statement.
fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
