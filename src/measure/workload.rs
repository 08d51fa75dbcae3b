//! What is timed.

use serde::{Deserialize, Serialize};

/// An error of whatever is being timed.
pub type WorkloadError = Box<dyn std::error::Error + Send + Sync>;

/// One input of the workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The image's file stem, or `None` for an input that is no image (random or constant values of a given size).
    pub name: Option<String>,
    /// Input width in pixels.
    pub width: usize,
    /// Input height in pixels.
    pub height: usize,
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "`{name}` ({}x{})", self.width, self.height),
            None => write!(f, "an input of {}x{}", self.width, self.height),
        }
    }
}

/// Something with inputs that can be run on one of them at a time.
pub trait Workload {
    /// The inputs, in the order in which they are timed.
    fn items(&self) -> &[Item];

    /// Everything that must happen before input `item` can be run and that is not timed: decoding, conversion to
    /// floating point, the copy to the device.
    ///
    /// # Errors
    /// Whatever went wrong; the measurement stops with it.
    fn prepare(&mut self, item: usize) -> Result<(), WorkloadError> {
        let _ = item;
        Ok(())
    }

    /// One forward pass over input `item`: exactly the timed region. It returns only when the result is complete, so a
    /// device that works asynchronously has to be waited for here.
    ///
    /// # Errors
    /// Whatever went wrong; the measurement stops with it. An interruption is passed on this way too.
    fn run(&mut self, item: usize) -> Result<(), WorkloadError>;

    /// A digest of the output of the last [`Workload::run`], so that the timed path can be compared with the one whose
    /// quality was evaluated. `None` when the workload cannot tell.
    fn output_digest(&mut self) -> Option<String> {
        None
    }
}
