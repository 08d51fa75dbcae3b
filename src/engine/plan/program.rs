//! What a plan is made of before it has addresses: steps that read and write channel ranges of buffers.

use crate::engine::cpu::geometry::Direction;
use crate::engine::cpu::winograd::{F2x2, F4x4, F4x6, Variant};
use crate::graph::Conv2d;

/// The number format of a buffer. Every buffer names its own, so that other formats can join without a second engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point.
    F32,
}

impl Precision {
    /// Its name in dumps and artefacts.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
        }
    }
}

/// The position of a buffer in its program.
pub(in crate::engine) type BufferId = usize;

/// A batch of images of one size, NHWC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Buffer {
    pub(in crate::engine) channels: usize,
    pub(in crate::engine) height: usize,
    pub(in crate::engine) width: usize,
    pub(in crate::engine) precision: Precision,
}

/// A range of a buffer's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Piece {
    pub(in crate::engine) buffer: BufferId,
    pub(in crate::engine) start: usize,
    pub(in crate::engine) channels: usize,
}

impl Piece {
    pub(in crate::engine) fn end(&self) -> usize {
        self.start + self.channels
    }
}

/// A value as its readers see it: channel ranges one after another. A split or a concatenation makes no step, only another list.
pub(in crate::engine) type Pieces = Vec<Piece>;

/// A range of a value's channels.
pub(in crate::engine) fn slice(pieces: &[Piece], start: usize, channels: usize) -> Pieces {
    let (mut offset, mut list) = (0, Pieces::new());
    for piece in pieces {
        let from = start.max(offset);
        let to = (start + channels).min(offset + piece.channels);
        if from < to {
            list.push(Piece { start: piece.start + from - offset, channels: to - from, ..*piece });
        }
        offset += piece.channels;
    }
    list
}

/// The only piece, if the value lies in one.
pub(in crate::engine) fn single(pieces: &[Piece]) -> Option<Piece> {
    match pieces {
        &[piece] => Some(piece),
        _ => None,
    }
}

/// What is done to a range of a step's output channels before it is stored, in this order: `before`, activation, `after`, mask.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) struct Part {
    /// First channel of the output buffer.
    pub(in crate::engine) start: usize,
    pub(in crate::engine) channels: usize,
    /// Added before the activation.
    pub(in crate::engine) before: Option<Piece>,
    /// LeakyReLU with this slope.
    pub(in crate::engine) activation: Option<f32>,
    /// Added after the activation.
    pub(in crate::engine) after: Option<Piece>,
    /// Multiplied by the slope where this value is not positive.
    pub(in crate::engine) mask: Option<(Piece, f32)>,
}

impl Part {
    pub(in crate::engine) fn plain(start: usize, channels: usize) -> Self {
        Self { start, channels, before: None, activation: None, after: None, mask: None }
    }

    pub(in crate::engine) fn end(&self) -> usize {
        self.start + self.channels
    }

    /// The values that it combines with.
    pub(in crate::engine) fn operands(&self) -> impl Iterator<Item = Piece> {
        [self.before, self.after, self.mask.map(|(piece, _)| piece)].into_iter().flatten()
    }
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// Winograd F(4×6, 3×3).
    Winograd4x6,
    /// Winograd F(4×4, 3×3).
    Winograd4x4,
    /// Winograd F(2×2, 3×3).
    Winograd2x2,
    /// A matrix product over pixels, for 1×1.
    Pointwise,
    /// Sums over the taps.
    Direct,
    /// The same for channels in groups.
    Grouped,
}

impl Algorithm {
    /// Rows and columns of output pixels of a Winograd tile.
    pub(in crate::engine) fn tile(self) -> Option<(usize, usize)> {
        match self {
            Self::Winograd4x6 => Some(F4x6::TILE),
            Self::Winograd4x4 => Some(F4x4::TILE),
            Self::Winograd2x2 => Some(F2x2::TILE),
            Self::Pointwise | Self::Direct | Self::Grouped => None,
        }
    }
}

/// What a step computes.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) enum Operation {
    /// Brings the LR batch from the host.
    Load,
    /// Prepares the weights of a convolution.
    Pack {
        name: String,
        conv: Conv2d,
        direction: Direction,
        algorithm: Algorithm,
    },
    /// A convolution (of `conv` itself, or its input gradient).
    Conv {
        name: String,
        conv: Conv2d,
        direction: Direction,
        algorithm: Algorithm,
    },
    /// Private sums of the weight and bias gradient. Inputs: x, dy.
    WeightGradient {
        conv: Conv2d,
        algorithm: Algorithm,
    },
    /// Adds them and writes the gradient.
    FinishGradient {
        name: String,
        conv: Conv2d,
        algorithm: Algorithm,
    },
    /// Sum of the inputs, as the parts say.
    Sum,
    /// Product of both inputs.
    Product,
    /// The logistic function.
    Sigmoid,
    /// dy · y · (1 − y). Inputs: dy, y.
    SigmoidGradient,
    /// The input in channels from `start` of a zero value.
    Place {
        start: usize,
    },
    MaxPool {
        kernel: usize,
        stride: usize,
    },
    /// Inputs: dy, x.
    MaxPoolGradient {
        kernel: usize,
        stride: usize,
    },
    ResizeBilinear,
    ResizeBilinearGradient,
    PixelShuffle {
        factor: usize,
    },
    PixelUnshuffle {
        factor: usize,
    },
    /// L1 loss and its gradient, both before a pixel shuffle by `factor`.
    Loss {
        factor: usize,
    },
    /// Takes the SR batch to the host, through a pixel shuffle by `factor`.
    Store {
        factor: usize,
    },
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) struct Step {
    /// The node it comes from, for people.
    pub(in crate::engine) label: String,
    pub(in crate::engine) operation: Operation,
    pub(in crate::engine) inputs: Vec<Pieces>,
    pub(in crate::engine) output: Option<BufferId>,
    pub(in crate::engine) parts: Vec<Part>,
    /// Multiply-adds by the definition of the operation, for one batch.
    pub(in crate::engine) multiply_adds: u64,
}

impl Step {
    /// Every channel range that it reads.
    pub(in crate::engine) fn reads(&self) -> impl Iterator<Item = Piece> {
        self.inputs.iter().flatten().copied().chain(self.parts.iter().flat_map(Part::operands))
    }

    /// How far above and below a row of output the rows that it reads lie, or `None` if rows do not correspond.
    pub(in crate::engine) fn reach(&self) -> Option<usize> {
        match &self.operation {
            Operation::Conv { conv, .. } if conv.is_plain_same() => Some(conv.kernel / 2),
            Operation::Load
            | Operation::Sum
            | Operation::Product
            | Operation::Sigmoid
            | Operation::SigmoidGradient
            | Operation::Place { .. }
            | Operation::Loss { .. }
            | Operation::Store { .. } => Some(0),
            _ => None,
        }
    }
}

/// Steps in an order in which every buffer is written before it is read.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) struct Program {
    pub(in crate::engine) batch: usize,
    pub(in crate::engine) steps: Vec<Step>,
    pub(in crate::engine) buffers: Vec<Buffer>,
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Winograd4x6 => "winograd F(4x6)",
            Self::Winograd4x4 => "winograd F(4x4)",
            Self::Winograd2x2 => "winograd F(2x2)",
            Self::Pointwise => "matrix product",
            Self::Direct => "direct",
            Self::Grouped => "grouped",
        })
    }
}
