//! Locking the clocks of a GPU, the one thing here that changes a device. Only when the user asks for it, and never for longer than the
//! [`ClockLock`] lives: it is given back when the lock is dropped, also by an error or a panic, and when the process is told to end.
//! Only a process that is killed (SIGKILL) leaves the clocks locked.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::enums::device::GpuLockedClocksSetting;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::library;
use super::refusal::Refusal;
use super::unavailable::Unavailable;
use crate::interrupt::Signal;

/// Why the clocks could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// There is no NVML or no such device.
    #[error("the clocks cannot be locked: {0}")]
    Unavailable(#[from] Unavailable),
    /// The device is a part of a GPU, and its neighbours did not ask for anything.
    #[error(
        "the clocks of `{uuid}` cannot be locked, because it is a MIG instance and shares them with its neighbours; \
         measure without --lock-clocks"
    )]
    Instance {
        /// The instance.
        uuid: String,
    },
    /// The device has no such clock.
    #[error(
        "the clocks cannot be locked to {asked_mhz} MHz: give one from 1 MHz to the device's highest of {max_mhz} MHz"
    )]
    Range {
        /// What was asked for.
        asked_mhz: u32,
        /// The highest clock of the multiprocessors.
        max_mhz: u32,
    },
    /// The user may not.
    #[error(
        "the clocks cannot be locked to {mhz} MHz, because that needs root: run as root, let an administrator run \
         `nvidia-smi --lock-gpu-clocks={mhz}` before, or measure without --lock-clocks"
    )]
    NoPermission {
        /// What was asked for.
        mhz: u32,
    },
    /// The driver refused for another reason.
    #[error("the clocks cannot be locked to {mhz} MHz: {reason}; measure without --lock-clocks")]
    Refused {
        /// What was asked for.
        mhz: u32,
        /// What the driver said.
        reason: Refusal,
    },
    /// The operating system refuses to tell of signals, under which the clocks would stay locked.
    #[error("the clocks are not locked, because no signal could be caught to reset them: {0}")]
    Signals(#[from] io::Error),
}

/// The clocks of a GPU, held at one value for as long as this lives.
#[derive(Debug)]
pub struct ClockLock {
    held: Arc<Held>,
    mhz: u32,
    signals: Handle,
    seen: Arc<AtomicU8>,
}

/// What is to be given back.
struct Held {
    nvml: Nvml,
    uuid: String,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Locked,
    Reset(Result<(), Refusal>),
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held {{ {}, {:?} }}", self.uuid, self.state)
    }
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the clocks. A driver that refuses changed nothing, and a reset could undo what an administrator had set, so none follows.
    fn lock(&self, mhz: u32) -> Result<Result<(), Refusal>, Unavailable> {
        // Held until the driver has answered, so that a signal meanwhile waits and then finds what is to be given back.
        let mut state = self.state();
        let setting = GpuLockedClocksSetting::Numeric { min_clock_mhz: mhz, max_clock_mhz: mhz };
        let answer = library::find(&self.nvml, &self.uuid)?.set_gpu_locked_clocks(setting);
        let answer = answer.map_err(|error| Refusal::of(&error));
        if answer.is_ok() {
            *state = State::Locked;
        }
        Ok(answer)
    }

    /// Gives the clocks back, once; later calls tell how that went.
    fn reset(&self) -> Result<(), Refusal> {
        let mut state = self.state();
        if let State::Reset(done) = *state {
            return done;
        }
        let done = match library::find(&self.nvml, &self.uuid) {
            Ok(mut device) => device.reset_gpu_locked_clocks().map_err(|error| Refusal::of(&error)),
            Err(Unavailable::Refused { reason, .. }) => Err(reason),
            Err(Unavailable::NoPermission) => Err(Refusal::NoPermission),
            Err(_) => Err(Refusal::NotFound),
        };
        *state = State::Reset(done);
        done
    }
}

impl ClockLock {
    /// Locks the multiprocessors of the device to `mhz`; the driver takes the nearest clock that the device has. From now on SIGINT, SIGTERM
    /// and SIGHUP no longer end the process: the first is told by [`ClockLock::signal`], the second gives the clocks back and ends it.
    ///
    /// # Errors
    /// Whatever speaks against it; then nothing is changed.
    pub fn lock(library: Option<&Path>, uuid: &str, mhz: u32) -> Result<Self, LockError> {
        let nvml = library::open(library)?;
        {
            let device = library::find(&nvml, uuid)?;
            if device.mig_is_mig_device_handle().unwrap_or(false) {
                return Err(LockError::Instance { uuid: uuid.to_owned() });
            }
            // Some drivers take any number and lock to the nearest clock, so that a slip of the finger would go unnoticed.
            let max_mhz = device.max_clock_info(Clock::SM).unwrap_or(u32::MAX);
            if mhz == 0 || mhz > max_mhz {
                return Err(LockError::Range { asked_mhz: mhz, max_mhz });
            }
        }
        // Before anything is changed, it is certain that it will be changed back.
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let state = Mutex::new(State::Reset(Ok(())));
        let lock = Self {
            held: Arc::new(Held { nvml, uuid: uuid.to_owned(), state }),
            mhz,
            signals: signals.handle(),
            seen: Arc::new(AtomicU8::new(0)),
        };
        let (held, seen) = (Arc::clone(&lock.held), Arc::clone(&lock.seen));
        let thread = std::thread::Builder::new().name("esr-clock-lock".to_owned());
        thread.spawn(move || {
            for signal in signals.forever() {
                let number = u8::try_from(signal).unwrap_or(u8::MAX);
                if seen.compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                    let _ = held.reset();
                    signal_hook::low_level::exit(128 + signal);
                }
            }
        })?;
        match lock.held.lock(mhz)? {
            Ok(()) => Ok(lock),
            Err(Refusal::NoPermission) => Err(LockError::NoPermission { mhz }),
            Err(reason) => Err(LockError::Refused { mhz, reason }),
        }
    }

    /// What the clocks were locked to.
    pub fn mhz(&self) -> u32 {
        self.mhz
    }

    /// The first signal that came since the lock, as the end that it asks for.
    pub fn signal(&self) -> Option<Signal> {
        match i32::from(self.seen.load(Ordering::SeqCst)) {
            0 => None,
            SIGINT => Some(Signal::Interrupt),
            _ => Some(Signal::Terminate),
        }
    }

    /// Gives the clocks back now; later calls, and the drop, do nothing more.
    ///
    /// # Errors
    /// What the driver said. The clocks may then still be locked.
    pub fn reset(&self) -> Result<(), Refusal> {
        self.held.reset()
    }
}

impl Drop for ClockLock {
    fn drop(&mut self) {
        if let Err(reason) = self.held.reset() {
            tracing::error!("{}", still_locked(reason));
        }
        self.signals.close();
    }
}

/// What a user must be told whose clocks could not be reset.
pub(in crate::measure) fn still_locked(reason: Refusal) -> String {
    format!(
        "the clocks of the GPU could not be reset ({reason}): as root run `nvidia-smi --reset-gpu-clocks`"
    )
}
