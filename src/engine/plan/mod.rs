//! The planned engine: a graph compiled, for one shape and mode, into a fixed list of kernel calls over one arena.
//!
//! The way of the data: `lower` turns the graph into steps (what is fused, what is free, which algorithm); `stages` decides which steps run together; `memory` gives
//! everything its place; `tasks` cuts the steps and orders the pieces; `bind` turns places into addresses; `kernels` calls what `engine::cpu` computes; `executor` runs the tasks on threads.
//! No memory for values is allocated between the first task and the last, and results are the same bits for any number of threads.

mod algorithm;
mod bind;
mod breakdown;
mod compile;
pub(in crate::engine) mod cuts;
pub(in crate::engine) mod dump;
mod executor;
mod kernels;
pub(in crate::engine) mod lower;
mod memory;
mod network;
pub(in crate::engine) mod places;
pub(in crate::engine) mod program;
mod readers;
mod region;
mod run;
mod stages;
mod strips;
mod tasks;
#[cfg(test)]
mod tests;
mod training;
mod weights;

pub use breakdown::{Breakdown, StepCost, gflops};
pub use compile::{Layout, Plan};
pub use network::Network;
pub use program::{Algorithm, Precision};
pub use training::Trainer;
