//! Models as graphs, and everything that is true of every graph.
//!
//! A model is described once, as a list of nodes in order (static single assignment) with named weights; counting, collapsing, running and
//! dumping are walks over that list. No architecture is named here. The important invariant, kept by [`GraphBuilder`]: a node reads only nodes
//! before it, and channel counts fit. [`backward()`] extends a model to its training step, which is a graph too.

mod backward;
mod build;
pub mod collapse;
mod count;
mod dump;
pub mod fold;
mod folding;
pub mod inspection;
mod op;
mod shapes;
#[cfg(test)]
mod tests;

pub use backward::{Backward, BackwardError, backward};
pub use build::{BuildError, GraphBuilder, Value};
pub use collapse::{Collapsed, collapse};
pub use count::inspect;
pub use folding::Folding;
pub use op::{Conv2d, Graph, Node, NodeId, Op};
pub use shapes::{ShapeError, shapes};
