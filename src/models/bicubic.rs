//! Bicubic upscaling as a model without weights: the baseline below every network.

use crate::graph::{BuildError, Graph, GraphBuilder};

/// Bicubic upscaling by `scale`.
pub(super) fn bicubic(scale: usize) -> Result<Graph, BuildError> {
    let mut g = GraphBuilder::new();
    let lr = g.input(3);
    let sr = g.upscale_bicubic(lr, scale);
    g.finish(sr, scale)
}
