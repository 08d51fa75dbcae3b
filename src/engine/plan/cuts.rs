//! Elementwise steps, cut into ranges of channels in which every operand lies in one piece.

use super::program::{BufferId, Operation, Part, Piece, Program, Step, single, slice};

/// A range of an elementwise step's output channels.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) struct Cut {
    /// What is read; nothing where the value is zero.
    pub(in crate::engine) inputs: Vec<Piece>,
    /// The output channels and what is done to them.
    pub(in crate::engine) part: Part,
}

/// The ranges of an elementwise step, in order; none of any other.
pub(in crate::engine) fn cuts(program: &Program, step: &Step) -> Vec<Cut> {
    let Some(output) = step.output else { return Vec::new() };
    let channels = program.buffers[output].channels;
    match &step.operation {
        Operation::Place { start } => {
            let placed: usize = step.inputs.iter().flatten().map(|piece| piece.channels).sum();
            at_edges(step, &[0, *start, start + placed, channels], *start)
        }
        Operation::Sum | Operation::Product | Operation::Sigmoid | Operation::SigmoidGradient => {
            at_edges(step, &[0, channels], 0)
        }
        _ => Vec::new(),
    }
}

/// Whether a range ends its buffer.
pub(in crate::engine) fn ends(program: &Program, buffer: BufferId, range: &Part) -> bool {
    range.end() == program.buffers[buffer].channels
}

/// The output channels cut at `edges`, at every part, and where the inputs are cut; the inputs' channels begin at `start`.
fn at_edges(step: &Step, edges: &[usize], start: usize) -> Vec<Cut> {
    let mut edges = edges.to_vec();
    edges.extend(step.parts.iter().map(|part| part.start));
    for pieces in &step.inputs {
        let mut at = start;
        for piece in pieces {
            at += piece.channels;
            edges.push(at);
        }
    }
    edges.sort_unstable();
    edges.dedup();
    edges.windows(2).filter_map(|edge| cut(step, edge[0], edge[1] - edge[0], start)).collect()
}

fn cut(step: &Step, from: usize, channels: usize, start: usize) -> Option<Cut> {
    let part = step.parts.iter().find(|part| part.start <= from && from < part.end())?;
    let within = |piece: Piece| Piece { start: piece.start + from - part.start, channels, ..piece };
    let part = Part {
        start: from,
        channels,
        before: part.before.map(within),
        activation: part.activation,
        after: part.after.map(within),
        mask: part.mask.map(|(piece, slope)| (within(piece), slope)),
    };
    let inputs = step
        .inputs
        .iter()
        .filter_map(|pieces| single(&slice(pieces, from.checked_sub(start)?, channels)))
        .collect();
    Some(Cut { inputs, part })
}
