//! Exact tiling of images that are too large: strips of columns, computed one after another.
//!
//! A strip is computed together with as many columns on both sides as its values depend on, layer by layer. A Winograd tile's rounding depends on every
//! value it reads, so whole tiles are counted, and strips begin where tiles of the whole image do: results are the same bits as without strips.
//! Rows need no such halo: the wave of a streaming plan goes through them from top to bottom.

use super::program::{Operation, Program};

/// Strips begin at multiples of it, where tiles of every width begin: 2, 4 and 6.
pub(super) const GRID: usize = 12;

/// A range of columns to keep, and the range that must be computed for it. Both in LR pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strip {
    pub(super) core: (usize, usize),
    pub(super) whole: (usize, usize),
}

/// Cuts an image into strips whose cores are `core` columns wide, a multiple of [`GRID`]. `None` if some step is not local: then no part of the image can be computed
/// alone.
pub(super) fn strips(program: &Program, width: usize, core: usize) -> Option<Vec<Strip>> {
    let starts = (0..width).step_by(core.max(GRID));
    starts.map(|start| strip(program, width, (start, (start + core).min(width)))).collect()
}

fn strip(program: &Program, width: usize, core: (usize, usize)) -> Option<Strip> {
    // The columns of each buffer that are needed, from the last step to the first.
    let mut needed: Vec<Option<(usize, usize)>> = vec![None; program.buffers.len()];
    let mut whole = core;
    for step in program.steps.iter().rev() {
        let reach = step.reach()?;
        let wanted = match step.output {
            Some(output) => needed.get(output).copied().flatten(),
            None => Some(core),
        };
        let Some((mut from, mut to)) = wanted else { continue };
        if let Operation::Conv { algorithm, .. } = step.operation
            && let Some((_, tile)) = algorithm.tile()
        {
            (from, to) = (from / tile * tile, to.next_multiple_of(tile).min(width));
        }
        let (from, to) = (from.saturating_sub(reach), (to + reach).min(width));
        whole = (whole.0.min(from), whole.1.max(to));
        for piece in step.reads() {
            let range = needed[piece.buffer].get_or_insert((from, to));
            *range = (range.0.min(from), range.1.max(to));
        }
    }
    Some(Strip { core, whole: (whole.0 / GRID * GRID, whole.1.next_multiple_of(GRID).min(width)) })
}
