//! The command line: one file a subcommand, each turning raw arguments into checked settings, calling the library and rendering.

pub mod error;
pub mod output;
pub mod validate;

pub use error::{CliError, ExitCode};
