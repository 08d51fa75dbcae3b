//! Architectures: each is described once, as a function that builds a graph and reads like the paper's figure.
//!
//! [`Architecture`] is the closed list of them: it is parsed from the command line (`imdn:blocks=7,branches=1x1`), printed back in the same
//! form, built, and recognised from a checkpoint's tensor names and shapes.

mod architecture;
mod bicubic;
mod identity;
mod imdn;
mod loaded;
mod recognise;
mod rfdn;
mod rlfn;
#[cfg(test)]
mod tests;

pub use architecture::{Architecture, ParseError};
pub use identity::ModelIdentity;
pub use imdn::{Branches, CollapsibleLayers, ImdnConfig};
pub use loaded::{LoadError, Model, save};
pub use recognise::{UnknownModel, recognise};
pub use rfdn::RfdnConfig;
pub use rlfn::RlfnConfig;
