//! Whether an HR folder and an LR folder belong together: every pair by its sizes, some by their pixels.
//!
//! Which file belongs to which is for [`crate::dataset::pair_folders`] to say. Here the sizes of every pair are compared (of the headers alone), and a
//! sample of LR images with the bicubic shrink of their HR images, bit for bit, under both border rules the field's datasets follow. Nothing is fetched,
//! and nothing is changed. The important invariant: what is found holds for the files as they are, so that a rule that was never published is settled by
//! data.

mod error;
mod finding;
mod inspect;
#[cfg(test)]
mod tests;

pub use error::{Error, Problem};
pub use finding::{BorderRule, Comparison, Difference, Finding, Sampled};
pub use inspect::{Sample, Wanted, inspect};
