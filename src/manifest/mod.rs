//! Facts as data: typed views of the files under `manifest/`, which are compiled into the program.
//!
//! Nothing here computes. Every key must be known and every reference must resolve, so a misspelt fact is an error and never a silent default; a
//! binary and its facts cannot drift apart.

mod challenge;
pub mod datasets;
mod error;
pub mod paper;

pub use challenge::{
    BaselineFigures, Challenge, Check, Count, CountingInput, ImageSet, Rule, challenge, challenge_years,
};
pub use error::Error;
