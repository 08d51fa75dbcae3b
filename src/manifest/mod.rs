//! Facts as data: the typed view of the files under `manifest/`.
//!
//! Every key must be known and every reference must resolve, so a misspelt fact is an error and never a silent default. The files
//! are part of the program (embedded when it is built), so a binary and its facts cannot drift apart.

pub mod error;
pub mod paper;

pub use error::Error;
