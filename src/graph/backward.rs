//! Reverse mode: a model's graph extended by the nodes of its loss and of every weight's gradient.
//!
//! The forward nodes are walked from the last to the first. Each one whose value depends on a weight and reaches the SR image hands its gradient on to what it
//! read; no gradient of the LR image is made. What several readers hand on is summed as it arrives, so the order of a sum is that of the readers, last
//! first. Three invariants beside those of every graph: forward nodes keep their ids; a convolution's weight and bias gradients stand directly
//! before its input gradient, so that `dy` is needed no longer than it must be; and every node that is added is needed by the loss or by a gradient.

use std::collections::BTreeMap;

use super::{Graph, Node, NodeId, Op};

/// The graph of a training step, made by [`backward()`].
#[derive(Clone, Debug, PartialEq)]
pub struct Backward {
    /// The forward nodes with the ids they had, then the HR images, the loss and the gradients. Its output is the loss.
    pub graph: Graph,
    /// The SR images.
    pub sr: NodeId,
    /// The L1 loss of the SR images.
    pub loss: NodeId,
    /// The gradient of the loss with respect to every weight, by its key, in the order of [`Graph::parameters`].
    pub gradients: Vec<(String, NodeId)>,
}

impl Backward {
    /// The nodes whose values are results of the step: the loss, the SR images, then every gradient in the order of [`Backward::gradients`].
    pub fn roots(&self) -> Vec<NodeId> {
        [self.loss, self.sr].into_iter().chain(self.gradients.iter().map(|&(_, id)| id)).collect()
    }

    /// The nodes that a training step needs: the loss, then every gradient. The SR images stay inside.
    pub fn step_roots(&self) -> Vec<NodeId> {
        [self.loss].into_iter().chain(self.gradients.iter().map(|&(_, id)| id)).collect()
    }

    /// How often each node's value is read, each root counting as one reader.
    pub fn use_counts(&self) -> Vec<usize> {
        self.graph.use_counts_with(&self.roots())
    }
}

/// A graph without a training step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackwardError {
    /// An operation has no gradient. Bicubic upscaling is one wherever it stands: no engine computes it on a batch of values.
    #[error(
        "`{node}` cannot be trained through: `{op}` has no gradient; leave it out of the model to train it"
    )]
    NoGradient {
        /// The node.
        node: String,
        /// Its operation.
        op: String,
    },
    /// A convolution's weights do not change the SR image.
    #[error(
        "`{node}` has no gradient: its value does not reach the SR image; leave it out of the model to train it"
    )]
    Unreached {
        /// The convolution.
        node: String,
    },
}

/// The training step of a model: forward pass, L1 loss, and the gradient of every weight.
///
/// # Errors
/// [`BackwardError`] when an operation has no gradient (so has the graph of a training step) or a convolution does not contribute to the output.
pub fn backward(graph: &Graph) -> Result<Backward, BackwardError> {
    let channels = graph.channels();
    let needed = needed(graph);
    let tiled = tiled(graph, &channels, &needed);
    let count = graph.nodes().len();
    let mut sweep = Sweep {
        channels,
        needed,
        tiled,
        nodes: graph.nodes().to_vec(),
        sums: vec![None; count],
        pieces: vec![BTreeMap::new(); count],
        gradients: BTreeMap::new(),
    };
    let sr = graph.output();
    let target = sweep.push("target", Op::Target { channels: sweep.channels[sr.0] }, vec![]);
    let loss = sweep.push("loss", Op::L1Loss, vec![sr, target]);
    sweep.hand_on(sr, "loss", Op::L1LossGrad, vec![sr, target]);
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        sweep.visit(NodeId(index), node)?;
    }
    // None is missing: a convolution that no gradient arrives at is an error above.
    let parameters = graph.parameters().into_iter();
    let gradients = parameters.filter_map(|(key, _)| sweep.gradients.remove_entry(&key)).collect();
    let graph = Graph { nodes: sweep.nodes, output: loss, ..*graph };
    Ok(Backward { graph, sr, loss, gradients })
}

/// Whether each node's value depends on a weight and the SR image depends on that value.
fn needed(graph: &Graph) -> Vec<bool> {
    let values = |node: &Node| -> Vec<usize> {
        let inputs = node.inputs.iter().enumerate();
        inputs.filter(|&(at, _)| !node.op.reads_only_shape(at)).map(|(_, id)| id.0).collect()
    };
    let mut depends: Vec<bool> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        depends
            .push(matches!(node.op, Op::Conv2d(_)) || values(node).into_iter().any(|input| depends[input]));
    }
    let mut reaches = vec![false; graph.nodes().len()];
    reaches[graph.output().0] = true;
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        if reaches[index] {
            values(node).into_iter().for_each(|input| reaches[input] = true);
        }
    }
    depends.into_iter().zip(reaches).map(|(depends, reaches)| depends && reaches).collect()
}

/// Whether what each node's readers hand on are ranges of channels that fill it without overlap: then its gradient is one concatenation.
fn tiled(graph: &Graph, channels: &[usize], needed: &[bool]) -> Vec<bool> {
    // Of each node the ranges read, or `None` once something reads it whole. The output has no such readers: what is behind it does not reach it.
    let mut ranges: Vec<Option<Vec<[usize; 2]>>> = vec![Some(Vec::new()); graph.nodes().len()];
    let readers = graph.nodes().iter().zip(needed).filter(|&(_, &needed)| needed);
    for (node, _) in readers {
        for (at, input) in node.inputs.iter().enumerate() {
            match &node.op {
                op if op.reads_only_shape(at) => {}
                Op::Narrow { start, length } => {
                    if let Some(ranges) = &mut ranges[input.0] {
                        ranges.push([*start, start + length]);
                    }
                }
                _ => ranges[input.0] = None,
            }
        }
    }
    let fill = |ranges: Option<Vec<[usize; 2]>>, channels: usize| {
        let Some(mut ranges) = ranges else { return false };
        ranges.sort_unstable();
        let filled = ranges.iter().try_fold(0, |filled, &[start, end]| (start == filled).then_some(end));
        filled == Some(channels)
    };
    ranges.into_iter().zip(channels).map(|(ranges, &channels)| fill(ranges, channels)).collect()
}

/// The graph under construction and, of every forward node, what is known about its gradient.
struct Sweep {
    channels: Vec<usize>,
    needed: Vec<bool>,
    tiled: Vec<bool>,
    nodes: Vec<Node>,
    /// The sum of what has been handed to each forward node so far.
    sums: Vec<Option<NodeId>>,
    /// For a tiled node instead: what has been handed to it, by first channel.
    pieces: Vec<BTreeMap<usize, NodeId>>,
    /// By key.
    gradients: BTreeMap<String, NodeId>,
}

impl Sweep {
    fn push(&mut self, name: &str, op: Op, inputs: Vec<NodeId>) -> NodeId {
        self.nodes.push(Node { name: name.to_owned(), op, inputs });
        NodeId(self.nodes.len() - 1)
    }

    /// Hands the value of a new node on to the forward node `to`, unless that needs no gradient.
    fn hand_on(&mut self, to: NodeId, name: &str, op: Op, inputs: Vec<NodeId>) {
        if self.needed[to.0] {
            let gradient = self.push(name, op, inputs);
            self.add(to, gradient);
        }
    }

    /// Adds to the gradient of the forward node `to`.
    fn add(&mut self, to: NodeId, gradient: NodeId) {
        if self.needed[to.0] {
            let sum = match self.sums[to.0] {
                None => gradient,
                Some(sum) => self.push(&self.nodes[to.0].name.clone(), Op::Add, vec![sum, gradient]),
            };
            self.sums[to.0] = Some(sum);
        }
    }

    /// The whole gradient of a forward node, all of whose readers have been visited.
    fn gradient(&mut self, id: NodeId, name: &str) -> Option<NodeId> {
        let pieces: Vec<NodeId> = std::mem::take(&mut self.pieces[id.0]).into_values().collect();
        match pieces.as_slice() {
            [] => self.sums[id.0],
            &[all] => Some(all),
            _ => Some(self.push(name, Op::Concat, pieces)),
        }
    }

    /// Hands the gradient of a forward node on to what it read.
    fn visit(&mut self, id: NodeId, node: &Node) -> Result<(), BackwardError> {
        let no_gradient = || BackwardError::NoGradient { node: node.name.clone(), op: node.op.label() };
        let name = node.name.as_str();
        let Some(dy) = self.gradient(id, name) else {
            return match &node.op {
                Op::Conv2d(_) => Err(BackwardError::Unreached { node: node.name.clone() }),
                Op::UpscaleBicubic { .. } => Err(no_gradient()),
                // Made of the LR image alone, or read by nobody: nothing asks for its gradient.
                _ => Ok(()),
            };
        };
        // A graph gives every operation the inputs it takes: its builder has no other way to make one.
        let input = |at: usize| node.inputs[at];
        match &node.op {
            Op::Input { .. } => {}
            Op::Conv2d(conv) => {
                let weight = self.push(name, Op::ConvWeightGrad(conv.clone()), vec![input(0), dy]);
                self.gradients.insert(node.weight_key(), weight);
                if conv.bias {
                    let bias = self.push(name, Op::ConvBiasGrad, vec![dy]);
                    self.gradients.insert(node.bias_key(), bias);
                }
                self.hand_on(input(0), name, Op::ConvInputGrad(conv.clone()), vec![dy, input(0)]);
            }
            Op::LeakyRelu { slope } => {
                // A negative slope makes a positive output of a negative input; only the input tells them apart.
                let signs = if *slope >= 0.0 { id } else { input(0) };
                self.hand_on(input(0), name, Op::LeakyReluGrad { slope: *slope }, vec![dy, signs]);
            }
            Op::Relu => self.hand_on(input(0), name, Op::LeakyReluGrad { slope: 0.0 }, vec![dy, id]),
            Op::Sigmoid => self.hand_on(input(0), name, Op::SigmoidGrad, vec![dy, id]),
            Op::Add => node.inputs.iter().for_each(|&term| self.add(term, dy)),
            Op::Mul => {
                self.hand_on(input(0), name, Op::Mul, vec![dy, input(1)]);
                self.hand_on(input(1), name, Op::Mul, vec![dy, input(0)]);
            }
            Op::Concat => {
                let mut start = 0;
                for &part in &node.inputs {
                    let length = self.channels[part.0];
                    match length == self.channels[id.0] {
                        true => self.add(part, dy),
                        false => self.hand_on(part, name, Op::Narrow { start, length }, vec![dy]),
                    }
                    start += length;
                }
            }
            Op::Narrow { start, .. } if self.tiled[input(0).0] => {
                self.pieces[input(0).0].insert(*start, dy);
            }
            Op::Narrow { start, .. } => {
                let place = Op::Place { start: *start, total: self.channels[input(0).0] };
                self.hand_on(input(0), name, place, vec![dy]);
            }
            Op::MaxPool { kernel, stride } => {
                let pool = Op::MaxPoolGrad { kernel: *kernel, stride: *stride };
                self.hand_on(input(0), name, pool, vec![dy, input(0)]);
            }
            Op::ResizeBilinear => self.hand_on(input(0), name, Op::ResizeBilinearGrad, vec![dy, input(0)]),
            Op::PixelShuffle { factor } => {
                self.hand_on(input(0), name, Op::PixelUnshuffle { factor: *factor }, vec![dy]);
            }
            Op::UpscaleBicubic { .. }
            | Op::Target { .. }
            | Op::L1Loss
            | Op::L1LossGrad
            | Op::ConvInputGrad(_)
            | Op::ConvWeightGrad(_)
            | Op::ConvBiasGrad
            | Op::LeakyReluGrad { .. }
            | Op::SigmoidGrad
            | Op::MaxPoolGrad { .. }
            | Op::ResizeBilinearGrad
            | Op::PixelUnshuffle { .. }
            | Op::Place { .. } => return Err(no_gradient()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
