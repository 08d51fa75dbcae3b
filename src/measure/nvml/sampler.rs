//! The thread that samples.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nvml_wrapper::Nvml;

use super::cost::{CostSum, thread_cpu_ns};
use super::facts::GpuFacts;
use super::library;
use super::refusal::{Asking, Lost, Refusals};
use super::sample::{GpuSample, Reader};
use super::schedule::{SamplingPeriod, Schedule};
use super::unavailable::Unavailable;
use crate::measure::clock::{Clock, MonotonicClock};

/// The most samples kept: about 100 minutes at 10 ms and 17 hours at 100 ms, some 100 MB of memory. Later ones are counted.
pub(super) const MAX_SAMPLES: usize = 600_000;

/// What the thread has seen so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) samples: Vec<GpuSample>,
    pub(super) not_kept: u64,
    pub(super) missed: u64,
    pub(super) worst_late: Duration,
    pub(super) cost: CostSum,
    pub(super) refusals: Refusals,
    pub(super) lost: Option<Lost>,
    pub(super) changed_facts: Vec<String>,
}

/// The lock, also when a thread that held it panicked: what it guards is whole after every statement.
pub(super) fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread is given.
pub(super) struct Sampler {
    pub(super) library: Option<PathBuf>,
    pub(super) uuid: String,
    pub(super) period: SamplingPeriod,
    pub(super) clock: MonotonicClock,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) seen: Arc<Mutex<Seen>>,
}

impl Sampler {
    /// Everything that the thread does. All of NVML happens here, because any call of it may fail to return.
    pub(super) fn run(self, opened: &Sender<Result<GpuFacts, Unavailable>>, end: Sender<()>) {
        match library::open(self.library.as_deref()) {
            Ok(nvml) => self.with_library(&nvml, opened),
            // Nobody may be waiting any more, here and below.
            Err(why) => drop(opened.send(Err(why))),
        }
        // NVML is closed by now, so that nothing of it runs on after the end is told.
        locked(&self.seen).cost.thread_cpu_ns = thread_cpu_ns();
        drop(self);
        let _ = end.send(());
    }

    fn with_library(&self, nvml: &Nvml, opened: &Sender<Result<GpuFacts, Unavailable>>) {
        let device = match library::find(nvml, &self.uuid) {
            Ok(device) => device,
            Err(why) => return drop(opened.send(Err(why))),
        };
        let mut asking = Asking::default();
        let facts = GpuFacts::read(nvml, &device, &mut asking);
        asking.add_to(&mut locked(&self.seen).refusals);
        if opened.send(Ok(facts.clone())).is_err() {
            return;
        }
        let reader = Reader::new(device);
        if self.sample_until_stopped(&reader) {
            let now = GpuFacts::read(nvml, reader.device(), &mut Asking::default());
            locked(&self.seen).changed_facts = facts.changed_until(&now);
        }
    }

    /// Samples until the end is asked for; `false` if the device was lost before.
    fn sample_until_stopped(&self, reader: &Reader<'_>) -> bool {
        let mut schedule = Schedule::new(self.clock.now(), self.period);
        loop {
            // Read before the sample, so that the last one is taken after the signal.
            let stopping = self.stop.load(Ordering::Acquire);
            let mut asking = Asking::default();
            let began = self.clock.now();
            let sample = reader.read(&self.clock, &mut asking);
            if !self.keep(sample, &asking, &schedule) {
                return false;
            }
            if stopping {
                return true;
            }
            self.wait_until(schedule.next_due(began, self.clock.now()));
        }
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
}
