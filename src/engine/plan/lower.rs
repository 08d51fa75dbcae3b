//! From a graph to steps: what is fused, what is free, and how each convolution is computed.
//!
//! Splits and concatenations vanish: a value is a list of channel ranges. A LeakyReLU, a sum or the derivative of a LeakyReLU vanishes into the step
//! that made its operand when nothing else reads that operand.

use super::algorithm::{choose, choose_gradient};
use super::program::{
    Algorithm, Buffer, BufferId, Operation, Part, Piece, Pieces, Precision, Program, Step, single, slice,
};
use super::readers::Readers;
use crate::engine::EngineError;
use crate::engine::cpu::BLOCK;
use crate::engine::cpu::geometry::Direction;
use crate::graph::{Conv2d, Graph, Node, NodeId, Op, shapes};

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Mode {
    /// Weights are prepared once; the SR batch goes to the host.
    Infer,
    /// Weights change from run to run and are prepared in each; the loss and the gradients go to the host.
    Train,
}

/// Lowers a graph for a batch of LR images. `roots` are the nodes whose values are wanted; of the value of the graph's output only its image
/// (when inferring) or its loss (when training) leaves the program.
///
/// Images may be strips of images `part_of` pixels wide: algorithms are chosen as for those, so that the bits are the same.
///
/// # Errors
/// [`EngineError::Shape`] when the images do not go through the model, [`EngineError::Unsupported`] for what a plan does not run.
pub(in crate::engine) fn lower(
    graph: &Graph,
    mode: Mode,
    roots: &[NodeId],
    [batch, height, width]: [usize; 3],
    part_of: usize,
) -> Result<Program, EngineError> {
    let shapes = shapes(graph, width, height)?;
    let readers = Readers::of(graph, roots, &shapes);
    let mut lowering = Lowering {
        graph,
        mode,
        width,
        part_of,
        values: vec![Pieces::new(); graph.nodes().len()],
        writer: Vec::new(),
        program: Program { batch, steps: Vec::new(), buffers: Vec::new() },
        readers,
        shapes,
    };
    for index in 0..graph.nodes().len() {
        if lowering.readers.needed(index) {
            lowering.node(index)?;
        }
    }
    if mode == Mode::Infer {
        lowering.store();
    }
    Ok(lowering.program)
}

struct Lowering<'a> {
    graph: &'a Graph,
    mode: Mode,
    /// Width of the LR images, and of those that they are part of.
    width: usize,
    part_of: usize,
    shapes: Vec<[usize; 3]>,
    readers: Readers,
    /// Where the value of each node lies.
    values: Vec<Pieces>,
    /// The step that writes each buffer.
    writer: Vec<usize>,
    program: Program,
}

/// A fusable operation's place in a step's last stage.
#[derive(Clone, Copy)]
enum Fused {
    Activation(f32),
    Sum(Piece),
    Mask(Piece, f32),
}

impl Lowering<'_> {
    fn node(&mut self, index: usize) -> Result<(), EngineError> {
        let node = &self.graph.nodes()[index];
        let value = match &node.op {
            Op::Input { .. } => self.step(index, Operation::Load, Vec::new()),
            // The HR batch stays on the host, where the loss reads it.
            Op::Target { .. } => Pieces::new(),
            Op::Conv2d(conv) => self.convolution(index, conv, Direction::Forward),
            Op::ConvInputGrad(conv) => self.convolution(index, conv, Direction::InputGradient),
            Op::ConvWeightGrad(conv) => self.weight_gradient(index, conv),
            // Made together with the weight gradient, in the same pass over the same values.
            Op::ConvBiasGrad => Pieces::new(),
            Op::Narrow { start, length } => slice(&self.values[node.inputs[0].index()], *start, *length),
            Op::Concat => merged(node.inputs.iter().flat_map(|id| self.values[id.index()].iter().copied())),
            Op::LeakyRelu { slope } => self.activation(index, *slope),
            Op::Relu => self.activation(index, 0.0),
            Op::LeakyReluGrad { slope } => self.mask(index, *slope),
            Op::Add => self.sum(index),
            Op::Mul => self.step_of(index, Operation::Product),
            Op::Sigmoid => self.step_of(index, Operation::Sigmoid),
            Op::SigmoidGrad => self.step_of(index, Operation::SigmoidGradient),
            Op::Place { start, .. } => self.step_of(index, Operation::Place { start: *start }),
            &Op::MaxPool { kernel, stride } => {
                self.step_of_whole(index, Operation::MaxPool { kernel, stride })
            }
            &Op::MaxPoolGrad { kernel, stride } => {
                self.step_of_whole(index, Operation::MaxPoolGradient { kernel, stride })
            }
            Op::ResizeBilinear => self.step_of_whole(index, Operation::ResizeBilinear),
            Op::ResizeBilinearGrad => self.step_of_whole(index, Operation::ResizeBilinearGradient),
            &Op::PixelShuffle { factor } => self.pixel_shuffle(index, factor),
            &Op::PixelUnshuffle { factor } => self.pixel_unshuffle(index, factor),
            Op::L1LossGrad => self.loss(index),
            // Comes with its gradient.
            Op::L1Loss => Pieces::new(),
            Op::UpscaleBicubic { .. } => {
                return Err(EngineError::Unsupported { engine: "plan", op: node.op.label() });
            }
        };
        self.values[index] = value;
        Ok(())
    }

    fn inputs(&self, index: usize) -> Vec<Pieces> {
        let node = &self.graph.nodes()[index];
        let read = |(position, id): (usize, &NodeId)| {
            (!node.op.reads_only_shape(position)).then(|| self.values[id.index()].clone())
        };
        node.inputs.iter().enumerate().filter_map(read).collect()
    }

    fn buffer(&mut self, [channels, height, width]: [usize; 3]) -> BufferId {
        self.program.buffers.push(Buffer { channels, height, width, precision: Precision::F32 });
        self.writer.push(self.program.steps.len());
        self.program.buffers.len() - 1
    }

    /// Appends a step whose output is the node's value, in a buffer of its own.
    fn step(&mut self, index: usize, operation: Operation, inputs: Vec<Pieces>) -> Pieces {
        let shape = self.shapes[index];
        let output = self.buffer(shape);
        let outputs = (self.program.batch * shape[0] * shape[1] * shape[2]) as u64;
        let multiply_adds = match &operation {
            Operation::Conv { conv, direction, .. } => {
                let (taps, values) = match direction {
                    Direction::Forward => (conv.in_channels / conv.groups, outputs),
                    Direction::InputGradient => {
                        let dy: usize = inputs.iter().flatten().map(|piece| piece.channels).sum();
                        let size = inputs[0].first().map_or(0, |piece| {
                            let buffer = &self.program.buffers[piece.buffer];
                            buffer.height * buffer.width
                        });
                        (conv.in_channels / conv.groups, (self.program.batch * dy * size) as u64)
                    }
                };
                (taps * conv.kernel * conv.kernel) as u64 * values
            }
            _ => 0,
        };
        self.program.steps.push(Step {
            label: self.graph.nodes()[index].name.clone(),
            operation,
            inputs,
            output: Some(output),
            parts: vec![Part::plain(0, shape[0])],
            multiply_adds,
        });
        vec![Piece { buffer: output, start: 0, channels: shape[0] }]
    }

    fn step_of(&mut self, index: usize, operation: Operation) -> Pieces {
        let inputs = self.inputs(index);
        self.step(index, operation, inputs)
    }

    /// A step of a kernel that reads one range of one buffer only: what is scattered is gathered first.
    fn step_of_whole(&mut self, index: usize, operation: Operation) -> Pieces {
        let inputs = self.inputs(index).into_iter().map(|pieces| self.gathered(index, pieces)).collect();
        self.step(index, operation, inputs)
    }

    fn gathered(&mut self, index: usize, pieces: Pieces) -> Pieces {
        let Some(first) = pieces.first().filter(|_| pieces.len() > 1) else { return pieces };
        let channels = pieces.iter().map(|piece| piece.channels).sum();
        let Buffer { height, width, .. } = self.program.buffers[first.buffer];
        let output = self.buffer([channels, height, width]);
        self.program.steps.push(Step {
            label: self.graph.nodes()[index].name.clone(),
            operation: Operation::Sum,
            inputs: vec![pieces],
            output: Some(output),
            parts: vec![Part::plain(0, channels)],
            multiply_adds: 0,
        });
        vec![Piece { buffer: output, start: 0, channels }]
    }

    fn convolution(&mut self, index: usize, conv: &Conv2d, direction: Direction) -> Pieces {
        let name = self.graph.nodes()[index].name.clone();
        let [_, height, width] = self.shapes[index];
        let width = if width == self.width { self.part_of } else { width };
        let algorithm = choose(conv, direction, [height, width], self.mode);
        if self.mode == Mode::Train {
            self.program.steps.push(Step {
                label: name.clone(),
                operation: Operation::Pack { name: name.clone(), conv: conv.clone(), direction, algorithm },
                inputs: Vec::new(),
                output: None,
                parts: Vec::new(),
                multiply_adds: 0,
            });
        }
        let operation = Operation::Conv { name, conv: conv.clone(), direction, algorithm };
        match algorithm {
            Algorithm::Grouped => self.step_of_whole(index, operation),
            _ => self.step_of(index, operation),
        }
    }

    fn weight_gradient(&mut self, index: usize, conv: &Conv2d) -> Pieces {
        let name = self.graph.nodes()[index].name.clone();
        let mut inputs = self.inputs(index);
        let size = inputs.get(1).and_then(|dy| dy.first()).map_or([0, 0], |piece| {
            let buffer = &self.program.buffers[piece.buffer];
            [buffer.height, buffer.width]
        });
        let algorithm = choose_gradient(conv, size);
        let on_blocks = |pieces: &Pieces| pieces.iter().all(|piece| piece.channels.is_multiple_of(BLOCK));
        if algorithm == Algorithm::Grouped || algorithm == Algorithm::Direct && !inputs.iter().all(on_blocks)
        {
            inputs = inputs.into_iter().map(|pieces| self.gathered(index, pieces)).collect();
        }
        let per_output = conv.in_channels / conv.groups * conv.kernel * conv.kernel * conv.out_channels;
        let multiply_adds = (self.program.batch * per_output * size[0] * size[1]) as u64;
        let mut push = |operation, inputs, multiply_adds| {
            self.program.steps.push(Step {
                label: name.clone(),
                operation,
                inputs,
                output: None,
                parts: Vec::new(),
                multiply_adds,
            });
        };
        let (name, conv) = (name.clone(), conv.clone());
        push(Operation::WeightGradient { conv: conv.clone(), algorithm }, inputs, multiply_adds);
        push(Operation::FinishGradient { name, conv, algorithm }, Vec::new(), 0);
        Pieces::new()
    }

    fn activation(&mut self, index: usize, slope: f32) -> Pieces {
        let input = self.graph.nodes()[index].inputs[0].index();
        match self.fuse(index, input, |_, _| Some(Fused::Activation(slope))) {
            Some(value) => value,
            None => {
                let value = self.step_of(index, Operation::Sum);
                self.last_part().activation = Some(slope);
                value
            }
        }
    }

    fn mask(&mut self, index: usize, slope: f32) -> Pieces {
        let &[dy, y] = self.graph.nodes()[index].inputs.as_slice() else { return Pieces::new() };
        let forward = self.values[y.index()].clone();
        let mask = |offset, channels| {
            single(&slice(&forward, offset, channels)).map(|piece| Fused::Mask(piece, slope))
        };
        if let Some(value) = self.fuse(index, dy.index(), mask) {
            return value;
        }
        let forward = self.gathered(index, forward);
        let value = self.step(index, Operation::Sum, vec![self.values[dy.index()].clone()]);
        self.last_part().mask = forward.first().map(|&piece| (piece, slope));
        value
    }

    fn sum(&mut self, index: usize) -> Pieces {
        let &[a, b] = self.graph.nodes()[index].inputs.as_slice() else { return Pieces::new() };
        // The later of both is more likely to find the other one finished.
        for (carrier, other) in [(b, a), (a, b)] {
            let addend = self.values[other.index()].clone();
            let sum = |offset, channels| single(&slice(&addend, offset, channels)).map(Fused::Sum);
            if carrier != other
                && let Some(value) = self.fuse(index, carrier.index(), sum)
            {
                return value;
            }
        }
        self.step_of(index, Operation::Sum)
    }

    #[expect(clippy::expect_used, reason = "called directly after a step with one part was appended")]
    fn last_part(&mut self) -> &mut Part {
        self.program.steps.last_mut().and_then(|step| step.parts.last_mut()).expect("a step was appended")
    }

    /// Puts the operation of node `index` into the steps that write its operand, the value of node `operand`, if each of them can take it.
    /// `operation` gives what is fused for the channels from an offset on.
    fn fuse(
        &mut self,
        index: usize,
        operand: usize,
        operation: impl Fn(usize, usize) -> Option<Fused>,
    ) -> Option<Pieces> {
        if !self.readers.only(index, operand) {
            return None;
        }
        let pieces = self.values[operand].clone();
        let mut changes = Vec::new();
        let mut offset = 0;
        for piece in &pieces {
            let fused = operation(offset, piece.channels)?;
            let writer = self.writer[piece.buffer];
            let step = &self.program.steps[writer];
            let takes = match step.operation {
                // Grouped convolutions finish all their channels alike.
                Operation::Conv { algorithm: Algorithm::Grouped, .. } => {
                    piece.channels == self.program.buffers[piece.buffer].channels
                }
                Operation::Conv { .. } | Operation::Sum => true,
                _ => false,
            };
            let width = self.program.buffers[piece.buffer].channels;
            let on_blocks = piece.start.is_multiple_of(BLOCK)
                && (piece.end().is_multiple_of(BLOCK) || piece.end() == width);
            let made_before = match fused {
                Fused::Activation(_) => true,
                Fused::Sum(other) | Fused::Mask(other, _) => self.writer[other.buffer] < writer,
            };
            if !takes || !on_blocks || !made_before {
                return None;
            }
            let mut parts = step.parts.clone();
            split(&mut parts, piece.start);
            split(&mut parts, piece.end());
            for part in &mut parts {
                if part.start >= piece.start && part.end() <= piece.end() {
                    apply(part, fused, piece.start)?;
                }
            }
            changes.push((writer, parts));
            offset += piece.channels;
        }
        // A writer that occurs twice would lose the first change.
        let distinct = changes.iter().map(|(writer, _)| writer).collect::<std::collections::BTreeSet<_>>();
        if distinct.len() != changes.len() {
            return None;
        }
        for (writer, parts) in changes {
            self.program.steps[writer].parts = parts;
        }
        Some(pieces)
    }

    fn pixel_shuffle(&mut self, index: usize, factor: usize) -> Pieces {
        // The end of a network: the shuffle is made on the way to the host, or by the loss.
        if self.readers.only_ends(self.graph, index) {
            return Pieces::new();
        }
        self.step_of_whole(index, Operation::PixelShuffle { factor })
    }

    /// The value before the pixel shuffle that ends the network, and the shuffle's factor; of a network without, its output and 1.
    fn before_shuffle(&self, output: NodeId) -> (Pieces, usize) {
        let node = self.graph.node(output);
        match node.op {
            Op::PixelShuffle { factor } if self.values[output.index()].is_empty() => {
                (self.values[node.inputs[0].index()].clone(), factor)
            }
            _ => (self.values[output.index()].clone(), 1),
        }
    }

    fn pixel_unshuffle(&mut self, index: usize, factor: usize) -> Pieces {
        let input = self.graph.nodes()[index].inputs[0];
        let sr = self.loss_input(self.graph.node(input));
        match sr.map(|sr| self.before_shuffle(sr)) {
            // The loss has written its gradient as it was before the shuffle.
            Some((_, shuffled)) if shuffled == factor => self.values[input.index()].clone(),
            _ => self.step_of_whole(index, Operation::PixelUnshuffle { factor }),
        }
    }

    fn loss_input(&self, node: &Node) -> Option<NodeId> {
        matches!(node.op, Op::L1LossGrad).then(|| node.inputs[0])
    }

    fn loss(&mut self, index: usize) -> Pieces {
        let Some(sr) = self.loss_input(&self.graph.nodes()[index]) else { return Pieces::new() };
        let (pieces, factor) = self.before_shuffle(sr);
        let pieces = self.gathered(index, pieces);
        let [channels, height, width] = self.shapes[index];
        let shape = [channels * factor * factor, height / factor, width / factor];
        let output = self.buffer(shape);
        self.program.steps.push(Step {
            label: "loss".into(),
            operation: Operation::Loss { factor },
            inputs: vec![pieces],
            output: Some(output),
            parts: vec![Part::plain(0, shape[0])],
            multiply_adds: 0,
        });
        vec![Piece { buffer: output, start: 0, channels: shape[0] }]
    }

    fn store(&mut self) {
        let output = self.graph.output();
        let (pieces, factor) = self.before_shuffle(output);
        let pieces = self.gathered(output.index(), pieces);
        self.program.steps.push(Step {
            label: "output".into(),
            operation: Operation::Store { factor },
            inputs: vec![pieces],
            output: None,
            parts: Vec::new(),
            multiply_adds: 0,
        });
    }
}

/// Adds an operation to a part whose channels begin at `part.start`; `piece_start` is where the operation's channels begin.
fn apply(part: &mut Part, fused: Fused, piece_start: usize) -> Option<()> {
    let shifted = |other: Piece| Piece {
        buffer: other.buffer,
        start: other.start + part.start - piece_start,
        channels: part.channels,
    };
    let (acts, ends) = (part.activation.is_some(), part.after.is_some());
    let masked = part.mask.is_some();
    match fused {
        Fused::Activation(slope) if !acts && !ends && !masked => part.activation = Some(slope),
        Fused::Sum(other) if !acts && !ends && !masked && part.before.is_none() => {
            part.before = Some(shifted(other));
        }
        Fused::Sum(other) if !ends && !masked => part.after = Some(shifted(other)),
        Fused::Mask(other, slope) if !masked => part.mask = Some((shifted(other), slope)),
        _ => return None,
    }
    Some(())
}

/// Cuts the part that contains channel `at`, so that one begins there.
fn split(parts: &mut Vec<Part>, at: usize) {
    let Some(index) = parts.iter().position(|part| part.start < at && at < part.end()) else { return };
    let cut = at - parts[index].start;
    let mut second = parts[index].clone();
    second.start = at;
    second.channels -= cut;
    let shift = |piece: &mut Piece| {
        piece.start += cut;
        piece.channels -= cut;
    };
    second.before.iter_mut().for_each(shift);
    second.after.iter_mut().for_each(shift);
    second.mask.iter_mut().for_each(|(piece, _)| shift(piece));
    let first = &mut parts[index];
    first.channels = cut;
    first.before.iter_mut().for_each(|piece| piece.channels = cut);
    first.after.iter_mut().for_each(|piece| piece.channels = cut);
    first.mask.iter_mut().for_each(|(piece, _)| piece.channels = cut);
    parts.insert(index + 1, second);
}

/// Neighbouring ranges of one buffer become one.
fn merged(pieces: impl Iterator<Item = Piece>) -> Pieces {
    let mut list = Pieces::new();
    for piece in pieces {
        match list.last_mut() {
            Some(last) if last.buffer == piece.buffer && last.end() == piece.start => {
                last.channels += piece.channels;
            }
            _ => list.push(piece),
        }
    }
    list
}
