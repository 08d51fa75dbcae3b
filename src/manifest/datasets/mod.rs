//! The data that can be fetched, as data: the typed view of `manifest/datasets.toml`.
//!
//! It says where archives and files are, what is known of them and who said so; it fetches and checks nothing (see [`crate::fetch`]). Its
//! invariants: every key is known, every name is unique and resolves, no path leads out of the data folder, every figure has evidence or is
//! honestly unknown.

mod check;
mod error;
mod list;
mod members;
mod place;
mod raw;
#[cfg(test)]
mod tests;
mod types;
mod value;

pub use error::Error;
pub use list::Datasets;
pub use members::{Glob, MAX_FILES, Members, Pattern};
pub use types::{
    Archive, Dataset, FileFacts, Format, Group, Layout, Likeness, LooseFile, Role, Source, Split, Terms,
};
