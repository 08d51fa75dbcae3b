//! Who reads which channels of a value, seen through splits and concatenations: what decides whether an operation may overwrite its operand.

use crate::graph::{Graph, NodeId, Op};

/// A range of a node's channels.
#[derive(Clone, Copy)]
struct Range {
    node: usize,
    start: usize,
    channels: usize,
}

/// Someone who reads a range.
#[derive(Clone, Copy)]
struct Reader {
    /// A node, or `None` for the world outside.
    node: Option<usize>,
    start: usize,
    channels: usize,
}

/// The readers of every value of a graph.
pub(super) struct Readers {
    needed: Vec<bool>,
    /// For each node, the ranges of real values (neither splits nor concatenations) that its value consists of.
    origins: Vec<Vec<Range>>,
    readers: Vec<Vec<Reader>>,
}

impl Readers {
    /// Finds them. `roots` are read by the world outside; what they do not depend on has no readers.
    pub(super) fn of(graph: &Graph, roots: &[NodeId], shapes: &[[usize; 3]]) -> Self {
        let needed = needed(graph, roots);
        let mut origins: Vec<Vec<Range>> = Vec::with_capacity(graph.nodes().len());
        let mut readers = vec![Vec::new(); graph.nodes().len()];
        for (index, node) in graph.nodes().iter().enumerate() {
            let own = match &node.op {
                Op::Narrow { start, length } => slice(&origins[node.inputs[0].index()], *start, *length),
                Op::Concat => node.inputs.iter().flat_map(|input| origins[input.index()].clone()).collect(),
                _ => {
                    let read = node.inputs.iter().enumerate();
                    let read =
                        read.filter(|&(position, _)| needed[index] && !node.op.reads_only_shape(position));
                    for origin in read.flat_map(|(_, input)| &origins[input.index()]) {
                        let Range { node, start, channels } = *origin;
                        readers[node].push(Reader { node: Some(index), start, channels });
                    }
                    vec![Range { node: index, start: 0, channels: shapes[index][0] }]
                }
            };
            origins.push(own);
        }
        for root in roots {
            for &Range { node, start, channels } in &origins[root.index()] {
                readers[node].push(Reader { node: None, start, channels });
            }
        }
        Self { needed, origins, readers }
    }

    /// Whether any root depends on the node.
    pub(super) fn needed(&self, node: usize) -> bool {
        self.needed[node]
    }

    /// Whether `reader` is the only one to read the channels that `value` consists of, and reads them once.
    pub(super) fn only(&self, reader: usize, value: usize) -> bool {
        self.origins[value].iter().all(|range| {
            let overlapping = self.readers[range.node].iter().filter(|other| {
                other.start < range.start + range.channels && range.start < other.start + other.channels
            });
            overlapping.map(|other| other.node).eq([Some(reader)])
        })
    }

    /// Whether the value is read by nothing but the world outside and the loss.
    pub(super) fn only_ends(&self, graph: &Graph, value: usize) -> bool {
        let ends = |reader: &Reader| {
            reader.node.is_none_or(|node| matches!(graph.nodes()[node].op, Op::L1Loss | Op::L1LossGrad))
        };
        self.readers[value].iter().all(ends)
    }
}

fn needed(graph: &Graph, roots: &[NodeId]) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes().len()];
    for root in roots {
        needed[root.index()] = true;
    }
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        if needed[index] {
            for (position, input) in node.inputs.iter().enumerate() {
                needed[input.index()] |= !node.op.reads_only_shape(position);
            }
        }
    }
    needed
}

fn slice(ranges: &[Range], start: usize, channels: usize) -> Vec<Range> {
    let (mut offset, mut list) = (0, Vec::new());
    for range in ranges {
        let (from, to) = (start.max(offset), (start + channels).min(offset + range.channels));
        if from < to {
            list.push(Range { start: range.start + from - offset, channels: to - from, ..*range });
        }
        offset += range.channels;
    }
    list
}
