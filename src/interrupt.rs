//! SIGINT and SIGTERM: the first asks for a clean end, the second ends the program at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// A signal that asks the program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: a scheduler or `kill`.
    Terminate,
}

/// Remembers whether a signal came.
#[derive(Clone, Debug)]
pub struct Interrupt {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
}

impl Interrupt {
    /// Catches both signals from now on. After the first one, the next ends the process at once with 128 + its number.
    ///
    /// # Errors
    /// When the operating system refuses the handlers.
    pub fn install() -> io::Result<Self> {
        let interrupt = Arc::new(AtomicBool::new(false));
        let terminate = Arc::new(AtomicBool::new(false));
        for (signal, seen) in [(SIGINT, &interrupt), (SIGTERM, &terminate)] {
            // Registered before the flags are set, so that the first signal finds them unset and only the next one ends the process.
            for armed in [&interrupt, &terminate] {
                flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(armed))?;
            }
            flag::register(signal, Arc::clone(seen))?;
        }
        Ok(Self { interrupt, terminate })
    }

    /// The signal that came, if any.
    pub fn signal(&self) -> Option<Signal> {
        if self.interrupt.load(Ordering::SeqCst) {
            Some(Signal::Interrupt)
        } else if self.terminate.load(Ordering::SeqCst) {
            Some(Signal::Terminate)
        } else {
            None
        }
    }
}
