//! Where the values of a program lie on the device, and in which format.

use super::places::weight_gradient;
use super::{Format, Math, launch};
use crate::engine::plan::places::{Item, places};
use crate::engine::plan::program::{BufferId, Operation, Piece, Program, Step};

/// Channels of a vector: buffers hold multiples of it.
const VECTOR: usize = 8;

/// What the driver aligns allocations to, and we everything inside them.
const ALIGNMENT_BYTES: usize = 256;

/// Room in one allocation for things that are all needed at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room(u64);

impl Room {
    /// Room behind what takes so many bytes.
    pub(super) fn behind(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Where the next thing goes.
    pub(super) fn take(&mut self, bytes: u64) -> u64 {
        let offset = self.0.next_multiple_of(ALIGNMENT_BYTES as u64);
        self.0 = offset + bytes;
        offset
    }

    /// Bytes of everything so far.
    pub(super) fn bytes(&self) -> u64 {
        self.0
    }
}

/// The sums that a weight gradient leaves to the step after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sums {
    /// Where they begin, in bytes of the arena: those of the weight, then those of the bias.
    pub(super) offset: u64,
    pub(super) bias_offset: u64,
    /// How many parts of the pixels have sums of their own.
    pub(super) splits: usize,
}

/// The arena of a program.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    formats: Vec<Format>,
    offsets: Vec<u64>,
    /// For each weight gradient.
    sums: Vec<Option<Sums>>,
    /// Where the loss of each LR row goes.
    pub(super) row_sums: u64,
    /// Bytes in all.
    pub(super) bytes: u64,
}

impl Layout {
    /// Lays out a program whose steps run one after another, on a device of so many multiprocessors.
    pub(super) fn of(program: &Program, math: Math, multiprocessors: usize) -> Self {
        let formats = formats(program, math);
        let steps = program.steps.len();
        let mut items = Vec::new();
        let mut hosts = vec![None; program.buffers.len()];
        let last_read = |buffer: BufferId| {
            let reads = |step: &Step| step.reads().any(|piece| piece.buffer == buffer);
            program.steps.iter().rposition(reads)
        };
        let last: Vec<Option<usize>> = (0..program.buffers.len()).map(last_read).collect();
        for (index, step) in program.steps.iter().enumerate() {
            let Some(buffer) = step.output else { continue };
            let until = last[buffer].unwrap_or(index).max(index);
            let item = match dying_operand(program, &formats, &last, index) {
                // Its memory becomes this buffer's.
                Some(operand) => hosts[operand],
                None => None,
            };
            hosts[buffer] = Some(match item {
                Some(item) => {
                    let host: &mut Item = &mut items[item];
                    host.live.1 = host.live.1.max(until);
                    item
                }
                None => {
                    items.push(Item { live: (index, until), size: bytes(program, buffer, formats[buffer]) });
                    items.len() - 1
                }
            });
        }
        let mut sums = vec![None; steps];
        for (index, step) in program.steps.iter().enumerate() {
            let Some(size) = sums_of(program, step, math, multiprocessors) else { continue };
            let SumsOf { splits, weight_values, bias_values } = size;
            let weight_bytes = (weight_values * size_of::<f32>()).next_multiple_of(ALIGNMENT_BYTES);
            // They are read by the next step, which finishes the gradient.
            items
                .push(Item { live: (index, index + 1), size: weight_bytes + bias_values * size_of::<f32>() });
            sums[index] = Some((items.len() - 1, weight_bytes, splits));
        }
        let rows = program.batch * program.buffers.iter().map(|buffer| buffer.height).max().unwrap_or(0);
        items.push(Item { live: (0, steps), size: rows * size_of::<f64>() });
        let (offsets, all) = places(&items, ALIGNMENT_BYTES);
        let at = |item: usize| offsets[item] as u64;
        Self {
            offsets: hosts.iter().map(|host| host.map_or(0, at)).collect(),
            sums: sums
                .into_iter()
                .map(|sums| {
                    let (item, weight_bytes, splits) = sums?;
                    Some(Sums { offset: at(item), bias_offset: at(item) + weight_bytes as u64, splits })
                })
                .collect(),
            row_sums: at(items.len() - 1),
            bytes: all as u64,
            formats,
        }
    }

    /// The format of a buffer's values.
    pub(super) fn format(&self, buffer: BufferId) -> Format {
        self.formats[buffer]
    }

    /// The first byte of a range of a buffer's channels, from the beginning of the arena.
    pub(super) fn offset(&self, piece: Piece) -> u64 {
        self.offsets[piece.buffer] + (piece.start * self.formats[piece.buffer].bytes()) as u64
    }

    /// The sums of a weight gradient.
    pub(super) fn sums(&self, step: usize) -> Option<Sums> {
        self.sums.get(step).copied().flatten()
    }
}

/// Elements from one pixel to the next.
pub(super) fn pixel(program: &Program, buffer: BufferId) -> usize {
    program.buffers[buffer].channels.next_multiple_of(VECTOR)
}

fn bytes(program: &Program, buffer: BufferId, format: Format) -> usize {
    let shape = &program.buffers[buffer];
    program.batch * shape.height * shape.width * pixel(program, buffer) * format.bytes()
}

/// What leaves the network stays in f32: its rounding to fewer bits would be the last thing that happens to an image.
fn formats(program: &Program, math: Math) -> Vec<Format> {
    let mut formats = vec![math.format(); program.buffers.len()];
    for step in &program.steps {
        if let Operation::Store { .. } | Operation::Loss { .. } = step.operation {
            step.inputs.iter().flatten().for_each(|piece| formats[piece.buffer] = Format::F32);
        }
    }
    formats
}

/// What a weight gradient's sums need: parts of the pixels, and values of all of them.
struct SumsOf {
    splits: usize,
    weight_values: usize,
    bias_values: usize,
}

/// Enough for our own kernels, and for cuDNN's one gradient, whose channels are filled up to vectors.
fn sums_of(program: &Program, step: &Step, math: Math, multiprocessors: usize) -> Option<SumsOf> {
    /// Where a buffer might begin.
    const SOMEWHERE: u64 = ALIGNMENT_BYTES as u64;
    let Operation::WeightGradient { conv, .. } = &step.operation else { return None };
    // Of addresses, only what they are multiples of decides.
    let address = |piece: Piece| SOMEWHERE + (piece.start * math.format().bytes()) as u64;
    let told = weight_gradient(program, step, conv, address)?;
    let splits = launch::gradient::splits(&told, math, u32::try_from(multiprocessors).ok()?)?;
    let splits = usize::try_from(splits).ok()?;
    let [outputs, inputs, ..] = conv.weight_shape().map(|extent| extent.next_multiple_of(VECTOR));
    let weight: usize = conv.weight_shape().iter().product();
    let filled_up = outputs * inputs * conv.kernel * conv.kernel;
    Some(SumsOf {
        splits,
        weight_values: (splits * weight).max(filled_up),
        bias_values: if conv.bias { splits * conv.out_channels } else { 0 },
    })
}

/// The buffer of a value that the step adds, if the step may write its result over it: nothing else needs it any more, and it lies value for value where the result
/// goes.
fn dying_operand(
    program: &Program,
    formats: &[Format],
    last: &[Option<usize>],
    index: usize,
) -> Option<BufferId> {
    let step = &program.steps[index];
    let output = step.output?;
    let [part] = step.parts.as_slice() else { return None };
    let reads_input = |buffer: BufferId| step.inputs.iter().flatten().any(|piece| piece.buffer == buffer);
    [part.before, part.after].into_iter().flatten().map(|piece| (piece.start, piece.buffer)).find_map(
        |(start, buffer)| {
            let same = start == 0
                && program.buffers[buffer] == program.buffers[output]
                && formats[buffer] == formats[output];
            (same && last[buffer] == Some(index) && !reads_input(buffer)).then_some(buffer)
        },
    )
}
