//! Models as graphs, and walks over them.

pub mod inspection;
