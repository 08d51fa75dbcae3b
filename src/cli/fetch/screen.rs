//! Bars and notes of `esr fetch` on standard error.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar};

use crate::cli::common::{self, bars};
use crate::cli::error::CliError;
use crate::cli::output;
use crate::fetch::acquire::Watch;
use crate::fetch::http::Progress;
use crate::interrupt::Interrupt;

/// Bars and notes on standard error.
pub(super) struct Screen {
    bars: MultiProgress,
    interrupt: Interrupt,
}

impl Screen {
    pub(super) fn new() -> Result<Self, CliError> {
        Ok(Self { bars: bars(), interrupt: Interrupt::install()? })
    }

    pub(super) fn stop_if_asked(&self) -> Result<(), CliError> {
        match self.interrupt.signal() {
            None => Ok(()),
            Some(signal) => {
                Err(common::interrupted(signal, "what came so far is kept: run the same command again"))
            }
        }
    }
}

impl Watch for Screen {
    fn note(&self, text: &str) {
        self.bars.suspend(|| output::note(text));
    }

    fn task(&self, title: &str) -> Box<dyn Progress + '_> {
        let bar = self.bars.add(common::bytes_bar(title));
        Box::new(Bar { bar, screen: self })
    }

    fn stopped(&self) -> bool {
        self.interrupt.signal().is_some()
    }
}

/// One piece of work on the screen; it vanishes when the work is over.
struct Bar<'a> {
    bar: ProgressBar,
    screen: &'a Screen,
}

impl Progress for Bar<'_> {
    fn started(&self, total_bytes: Option<u64>) {
        self.bar.reset();
        self.bar.set_position(0);
        if let Some(total) = total_bytes {
            self.bar.set_length(total);
        }
    }

    fn advanced(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn retrying(&self, reason: &str, wait: Duration) {
        self.screen.note(&format!("note: {reason}; trying again in {:.1} s", wait.as_secs_f64()));
    }

    fn stopped(&self) -> bool {
        self.screen.stopped()
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.screen.bars.remove(&self.bar);
    }
}
