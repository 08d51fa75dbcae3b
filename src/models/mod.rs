//! Architectures: each builds a graph and reads like the paper's figure.

pub mod identity;

pub use identity::ModelIdentity;
