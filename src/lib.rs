//! `esr`: a reproducibility and compliance harness for the NTIRE Efficient Super-Resolution challenge.
//!
//! The library does everything; the binary only parses arguments. Data walks one way: images and datasets, models as
//! graphs, engines that run them, training, quality and cost, rules, submission, report. See `docs/architecture.md`.

pub mod array;
pub mod cli;
pub mod compliance;
pub mod dataset;
pub mod doctor;
pub mod engine;
pub mod evaluate;
pub mod fault;
pub mod fetch;
pub mod fsio;
pub mod gpu;
pub mod graph;
pub mod imaging;
pub mod interrupt;
pub mod manifest;
pub mod measure;
pub mod metrics;
pub mod models;
pub mod overlap;
pub mod pipeline;
pub mod random;
pub mod report;
pub mod space;
pub mod submission;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
pub mod train;
pub mod weights;
