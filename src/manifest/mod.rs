//! Facts as data: typed views of the files under `manifest/`, which are compiled into the program.
//!
//! Nothing here computes; a key that is not known is an error, so a fact that is misspelt cannot be overlooked.

mod challenge;
mod error;

pub use challenge::{
    BaselineFigures, Challenge, Check, Count, CountingInput, ImageSet, Rule, challenge, challenge_years,
};
pub use error::Error;
