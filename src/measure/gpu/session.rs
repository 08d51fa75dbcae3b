//! The watch that asks NVML: the recorder of the log, and the lock of the clocks where it was asked for.

use super::watch::GpuWatch;
use crate::interrupt::Signal;
use crate::measure::clock::MonotonicClock;
use crate::measure::nvml::{
    ClockLock, GpuFacts, GpuLog, GpuRecorder, GpuWindow, LockError, RecorderOptions, still_locked,
};

/// How to watch a GPU.
#[derive(Clone, Debug)]
pub struct GpuOptions {
    /// Which device, and how often.
    pub recorder: RecorderOptions,
    /// The clock in MHz that the multiprocessors are locked to meanwhile; needs root.
    pub lock_mhz: Option<u32>,
}

/// Watches one GPU from its start to [`GpuWatch::end`] or its drop.
///
/// It is to be started before anything is allocated on the device, because what is in use then is taken off what NVML says is in use later.
#[derive(Debug)]
pub struct GpuSession {
    clock: MonotonicClock,
    recorder: GpuRecorder,
    log: Option<GpuLog>,
    lock: Option<ClockLock>,
    locked_mhz: Option<u32>,
    lock_notes: Vec<String>,
}

impl GpuSession {
    /// Starts sampling, and locks the clocks if that is asked for. Without NVML it starts all the same, unless it is to lock.
    ///
    /// # Errors
    /// Why the clocks cannot be locked.
    pub fn start(options: &GpuOptions) -> Result<Self, LockError> {
        let clock = MonotonicClock::new();
        let mut recorder = GpuRecorder::start(&options.recorder, clock);
        let lock = match options.lock_mhz {
            None => None,
            Some(mhz) => {
                recorder.mark(format!("the SM clock is being locked to {mhz} MHz"));
                let library = options.recorder.library.as_deref();
                let lock = ClockLock::lock(library, &options.recorder.uuid, mhz)?;
                recorder.mark(format!("the SM clock is locked to {mhz} MHz"));
                tracing::info!("the SM clock is locked to {mhz} MHz");
                Some(lock)
            }
        };
        Ok(Self {
            clock,
            recorder,
            log: None,
            locked_mhz: lock.as_ref().map(ClockLock::mhz),
            lock,
            lock_notes: Vec::new(),
        })
    }

    /// The clock of the log, on which the measurement must run too.
    pub fn clock(&self) -> MonotonicClock {
        self.clock
    }

    /// Gives the clocks back, with marks in the log.
    fn unlock(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        self.mark("the SM clock is being reset".to_owned());
        match lock.reset() {
            Ok(()) => {
                self.mark("the SM clock is reset".to_owned());
                tracing::info!("the SM clock is reset");
            }
            Err(reason) => {
                let note = still_locked(reason);
                self.mark(note.clone());
                self.lock_notes.push(note);
            }
        }
    }
}

impl GpuWatch for GpuSession {
    fn facts(&self) -> Option<GpuFacts> {
        self.recorder.device().ok().cloned()
    }

    fn locked_mhz(&self) -> Option<u32> {
        self.locked_mhz
    }

    fn mark(&mut self, label: String) -> u64 {
        self.recorder.mark(label)
    }

    fn window(&mut self, from_ns: u64, to_ns: u64) -> GpuWindow {
        match &self.log {
            Some(log) => log.window(from_ns, to_ns),
            None => self.recorder.window(from_ns, to_ns),
        }
    }

    fn stopped(&self) -> Option<Signal> {
        self.lock.as_ref().and_then(ClockLock::signal)
    }

    fn end(&mut self) -> &GpuLog {
        self.unlock();
        let recorder = &mut self.recorder;
        self.log.get_or_insert_with(|| recorder.end())
    }

    fn lock_notes(&self) -> Vec<String> {
        self.lock_notes.clone()
    }
}
