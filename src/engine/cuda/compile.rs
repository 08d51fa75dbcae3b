//! From a program to launches: which kernel runs each step, and what it is told.
//!
//! A program is compiled when it has its memory: launches hold addresses. Splits, concatenations and everything fused are in the program already; what is decided here is
//! only which of our kernels takes a convolution.

use super::launch::convolution::Family;
use super::launch::{self, Command};
use super::layout::Layout;
use super::packed::Packed;
use super::params::{
    self, Elementwise, Ends, Finish, Loss, MAX_INPUTS, Operand, Pack, Spatial, WeightGradient,
};
use super::places::{Places, channels, weight_gradient};
use super::{Format, Math, number, unsupported};
use crate::engine::EngineError;
use crate::engine::cpu::geometry::Direction;
use crate::engine::plan::cuts::{Cut, cuts};
use crate::engine::plan::program::{BufferId, Operation, Piece, Program, Step};
use crate::graph::Conv2d;

/// Where what a program works on lies on the device.
pub(super) struct Sites<'a> {
    /// The first byte of the arena.
    pub(super) arena: u64,
    /// The first byte of the packed weights.
    pub(super) packed: u64,
    /// A weight by its key.
    pub(super) weight: &'a dyn Fn(&str) -> Option<u64>,
    /// The place of a weight's gradient by its key.
    pub(super) gradient: &'a dyn Fn(&str) -> Option<u64>,
    /// The LR batch: f32, NCHW.
    pub(super) lr: u64,
    /// What the SR batch becomes, or is compared with.
    pub(super) end: End,
}

/// What happens to the SR batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    /// It is written as f32, NCHW.
    Planes(u64),
    /// It is compared with the HR batch (f32, NCHW); the mean difference goes to an f64.
    Loss { hr: u64, total: u64 },
}

/// A program with its places.
pub(super) struct Compiler<'a> {
    pub(super) program: &'a Program,
    pub(super) layout: &'a Layout,
    pub(super) packed: &'a Packed,
    pub(super) math: Math,
    pub(super) sites: Sites<'a>,
}

impl Compiler<'_> {
    /// The launches that prepare all weights.
    ///
    /// # Errors
    /// [`EngineError`] when a weight is missing.
    pub(super) fn prepare(&self) -> Result<Vec<Command>, EngineError> {
        let mut commands = Vec::new();
        for (index, step) in self.program.steps.iter().enumerate() {
            let Operation::Conv { name, conv, direction, .. } = &step.operation else { continue };
            let Some(packing) = self.packed.of_step(index) else { continue };
            let (inputs, outputs) = channels(conv, *direction);
            let block = launch::convolution::block(number(outputs));
            let mut pack = Pack {
                weight: self.weight(name, conv)?,
                bias: self.bias(name, conv, *direction)?,
                packed: self.sites.packed + packing.offset,
                packed_bias: self.sites.packed + packing.bias_offset,
                in_channels: number(inputs),
                out_channels: number(outputs),
                kernel: number(conv.kernel),
                input_gradient: i32::from(*direction == Direction::InputGradient),
                block,
                blocks: launch::convolution::blocks(number(outputs), block),
                ..Pack::default()
            };
            let pieces = step.inputs.first().map_or(&[][..], Vec::as_slice);
            pack.source_count = number(pieces.len());
            for (channels, piece) in pack.source_channels.iter_mut().zip(pieces) {
                *channels = number(piece.channels);
            }
            let launch = launch::convolution::pack(Family::Ampere, self.math, &pack);
            commands.push(Command { label: name.clone(), launch, params: pack.into(), multiply_adds: 0 });
        }
        Ok(commands)
    }

    /// The launches of all steps, in order.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for what our kernels do not run, [`EngineError::Weight`] when a weight is missing.
    pub(super) fn run(&self) -> Result<Vec<Command>, EngineError> {
        Ok(self.by_step()?.into_iter().flatten().collect())
    }

    /// The launches of each step.
    ///
    /// # Errors
    /// As for [`Compiler::run`].
    pub(super) fn by_step(&self) -> Result<Vec<Vec<Command>>, EngineError> {
        let command = |step: &Step, (launch, params): launch::Told| Command {
            label: step.label.clone(),
            launch,
            params,
            multiply_adds: step.multiply_adds,
        };
        let steps = self.program.steps.iter().enumerate();
        steps
            .map(|(index, step)| {
                Ok(self.step(index, step)?.into_iter().map(|told| command(step, told)).collect())
            })
            .collect()
    }

    /// The launch that makes interleaved 8-bit RGB of the values that the program stores, which are there until the next run. The u32 at `finite` becomes 0 where a value is
    /// not a number.
    pub(super) fn image(&self, pixels: u64, finite: u64, data_range: f32) -> Option<Command> {
        let stores = |step: &&Step| matches!(step.operation, Operation::Store { .. });
        let step = self.program.steps.iter().find(stores)?;
        let Operation::Store { factor } = step.operation else { return None };
        let sr = *step.inputs.first()?.first()?;
        let told = Ends { finite, data_range, ..self.ends(sr, pixels, factor) };
        let launch = launch::ends::store_image(self.math, &told);
        Some(Command { label: step.label.clone(), launch, params: told.into(), multiply_adds: 0 })
    }

    fn step(&self, index: usize, step: &Step) -> Result<Vec<launch::Told>, EngineError> {
        let math = self.math;
        let first = |input: usize| step.inputs.get(input).and_then(|pieces| pieces.first()).copied();
        let one = |told: launch::Told| Ok(vec![told]);
        type Start = fn(Math, &Spatial) -> launch::Launch;
        let spatial = |start: Start, own: Spatial| -> launch::Told {
            let told = self.spatial(step, own);
            (start(math, &told), told.into())
        };
        let pool = |start: Start, kernel: usize, stride: usize| {
            spatial(start, Spatial { kernel: number(kernel), stride: number(stride), ..Spatial::default() })
        };
        let shuffle = |start: Start, factor: usize| {
            spatial(start, Spatial { factor: number(factor), ..Spatial::default() })
        };
        match &step.operation {
            Operation::Pack { .. } => Ok(Vec::new()),
            Operation::Load => {
                let Some(buffer) = step.output else { return Ok(Vec::new()) };
                let ends = self.ends(self.places().whole(buffer), self.sites.lr, 1);
                one((launch::ends::load(math, &ends), ends.into()))
            }
            Operation::Conv { name, conv, direction, .. } => {
                one(self.convolution(index, step, name, conv, *direction)?)
            }
            Operation::WeightGradient { conv, .. } => one(self.weight_gradient(index, step, conv)?),
            Operation::FinishGradient { name, conv, .. } => self.finish_gradient(index, name, conv),
            Operation::Sum | Operation::Place { .. } => self.elementwise(step, launch::elementwise::sum),
            Operation::Product => self.elementwise(step, launch::elementwise::product),
            Operation::Sigmoid => self.elementwise(step, launch::elementwise::sigmoid),
            Operation::SigmoidGradient => self.elementwise(step, launch::elementwise::sigmoid_gradient),
            &Operation::MaxPool { kernel, stride } => one(pool(launch::spatial::max_pool, kernel, stride)),
            &Operation::MaxPoolGradient { kernel, stride } => {
                one(pool(launch::spatial::max_pool_gradient, kernel, stride))
            }
            Operation::ResizeBilinear => one(spatial(launch::spatial::resize_bilinear, Spatial::default())),
            Operation::ResizeBilinearGradient => {
                one(spatial(launch::spatial::resize_bilinear_gradient, Spatial::default()))
            }
            &Operation::PixelShuffle { factor } => one(shuffle(launch::spatial::pixel_shuffle, factor)),
            &Operation::PixelUnshuffle { factor } => one(shuffle(launch::spatial::pixel_unshuffle, factor)),
            &Operation::Loss { factor } => {
                let (Some(sr), Some(gradient)) = (first(0), step.output) else { return Ok(Vec::new()) };
                self.f32_only(sr, step)?;
                let loss = self.loss(sr, gradient, factor);
                Ok(vec![
                    (launch::ends::loss(math, &loss), loss.into()),
                    (launch::ends::loss_total(math, &loss), loss.into()),
                ])
            }
            &Operation::Store { factor } => {
                let Some(sr) = first(0) else { return Ok(Vec::new()) };
                self.f32_only(sr, step)?;
                match self.sites.end {
                    End::Planes(planes) => {
                        let ends = self.ends(sr, planes, factor);
                        one((launch::ends::store(math, &ends), ends.into()))
                    }
                    End::Loss { .. } => Ok(Vec::new()),
                }
            }
        }
    }

    /// What leaves the network must be written as f32, which only convolutions do where values are stored in fewer bits.
    fn f32_only(&self, piece: Piece, step: &Step) -> Result<(), EngineError> {
        let writes = |other: &&Step| other.output == Some(piece.buffer);
        let by_convolution = self
            .program
            .steps
            .iter()
            .find(writes)
            .is_some_and(|writer| matches!(writer.operation, Operation::Conv { .. }));
        let others = |other: &&Step| other.reads().any(|read| read.buffer == piece.buffer);
        let readers = self.program.steps.iter().filter(others).count();
        match self.math.format() {
            Format::F32 => Ok(()),
            _ if by_convolution && readers == 1 => Ok(()),
            _ => Err(unsupported(format!(
                "{} in {}, because its input is not the output of a convolution that nothing else reads",
                step.label,
                self.math.name()
            ))),
        }
    }

    fn weight(&self, name: &str, conv: &Conv2d) -> Result<u64, EngineError> {
        let key = format!("{name}.weight");
        (self.sites.weight)(&key)
            .ok_or_else(|| EngineError::Weight { key, shape: conv.weight_shape().to_vec() })
    }

    /// The address of the bias that a direction adds, 0 for none.
    fn bias(&self, name: &str, conv: &Conv2d, direction: Direction) -> Result<u64, EngineError> {
        if !conv.bias || direction == Direction::InputGradient {
            return Ok(0);
        }
        let key = format!("{name}.bias");
        (self.sites.weight)(&key).ok_or_else(|| EngineError::Weight { key, shape: vec![conv.out_channels] })
    }

    fn convolution(
        &self,
        index: usize,
        step: &Step,
        name: &str,
        conv: &Conv2d,
        direction: Direction,
    ) -> Result<launch::Told, EngineError> {
        let mut told = self.places().convolution(step, conv, direction)?;
        Ok(match self.packed.of_step(index) {
            Some(packing) => {
                told.weights = self.sites.packed + packing.offset;
                told.bias = self.sites.packed + packing.bias_offset;
                (launch::convolution::packed(Family::Ampere, self.math, &told), told.into())
            }
            None => {
                told.weights = self.weight(name, conv)?;
                told.bias = self.bias(name, conv, direction)?;
                (launch::convolution::direct(self.math, &told), told.into())
            }
        })
    }

    fn weight_gradient(&self, index: usize, step: &Step, conv: &Conv2d) -> Result<launch::Told, EngineError> {
        let refused = || unsupported(format!("the weight gradient of {}", step.label));
        let Some(sums) = self.layout.sums(index) else { return Err(refused()) };
        let told = weight_gradient(self.program, step, conv, |piece| self.places().address(piece))
            .ok_or_else(refused)?;
        let told = WeightGradient {
            sums: self.sites.arena + sums.offset,
            bias_sums: if conv.bias { self.sites.arena + sums.bias_offset } else { 0 },
            splits: number(sums.splits),
            ..told
        };
        let launch = match launch::gradient::fits(&told, self.math) {
            true => launch::gradient::weight_gradient(&told, self.math),
            false => launch::gradient::weight_gradient_direct(&told, self.math),
        };
        Ok((launch.ok_or_else(refused)?, told.into()))
    }

    fn finish_gradient(
        &self,
        index: usize,
        name: &str,
        conv: &Conv2d,
    ) -> Result<Vec<launch::Told>, EngineError> {
        let sums = index.checked_sub(1).and_then(|sums| self.layout.sums(sums));
        let Some(sums) = sums else { return Err(unsupported(name.to_owned())) };
        let weight_shape = conv.weight_shape();
        let mut tensors = vec![("weight", sums.offset, weight_shape.to_vec())];
        if conv.bias {
            tensors.push(("bias", sums.bias_offset, vec![conv.out_channels]));
        }
        let finish = |(suffix, offset, shape): (&str, u64, Vec<usize>)| {
            let key = format!("{name}.{suffix}");
            let count = number(shape.iter().product());
            let target = (self.sites.gradient)(&key).ok_or(EngineError::Weight { key, shape })?;
            let told = Finish { sums: self.sites.arena + offset, target, count, splits: number(sums.splits) };
            let launch = launch::gradient::finish_gradient(&told, self.math);
            Ok((launch.ok_or_else(|| unsupported(name.to_owned()))?, told.into()))
        };
        tensors.into_iter().map(finish).collect()
    }

    fn elementwise(
        &self,
        step: &Step,
        launch: impl Fn(Math, &Elementwise) -> launch::Launch,
    ) -> Result<Vec<launch::Told>, EngineError> {
        let Some(buffer) = step.output else { return Ok(Vec::new()) };
        let shape = &self.program.buffers[buffer];
        let pixels = (self.program.batch * shape.height * shape.width) as u64;
        let range = |Cut { inputs, part }: Cut| {
            if inputs.len() > MAX_INPUTS {
                return Err(unsupported(format!("{}: {} values at once", step.label, inputs.len())));
            }
            let target = Piece { buffer, start: part.start, channels: part.channels };
            let mut told = Elementwise {
                part: params::Part { start: 0, ..self.places().part(buffer, &part) },
                target: self.places().address(target),
                target_pixel: self.places().pixel(buffer),
                input_count: number(inputs.len()),
                pixels,
                ..Elementwise::default()
            };
            for (place, piece) in told.inputs.iter_mut().zip(&inputs) {
                *place = self.places().operand(*piece);
            }
            Ok((launch(self.math, &told), told.into()))
        };
        cuts(self.program, step).into_iter().map(range).collect()
    }

    /// What a step that changes height or width is told; `own` has what is the operation's own.
    fn spatial(&self, step: &Step, own: Spatial) -> Spatial {
        let first = |input: usize| step.inputs.get(input).and_then(|pieces| pieces.first()).copied();
        let output = step.output.map(|buffer| self.places().whole(buffer));
        let (height, width) = self.places().size(output);
        let (input_height, input_width) = self.places().size(first(0));
        Spatial {
            input: first(0).map_or_else(Operand::default, |piece| self.places().operand(piece)),
            other: first(1).map_or_else(Operand::default, |piece| self.places().operand(piece)),
            target: output.map_or(0, |piece| self.places().address(piece)),
            target_pixel: output.map_or(0, |piece| self.places().pixel(piece.buffer)),
            images: number(self.program.batch),
            input_height,
            input_width,
            height,
            width,
            channels: output.map_or(0, |piece| number(piece.channels)),
            ..own
        }
    }

    fn ends(&self, values: Piece, planes: u64, factor: usize) -> Ends {
        let (height, width) = self.places().size(Some(values));
        Ends {
            planes,
            values: self.places().address(values),
            finite: 0,
            pixel: self.places().pixel(values.buffer),
            images: number(self.program.batch),
            channels: number(values.channels / factor.pow(2).max(1)),
            height,
            width,
            factor: number(factor),
            data_range: 0.0,
            unused: 0,
        }
    }

    fn loss(&self, sr: Piece, gradient: BufferId, factor: usize) -> Loss {
        let (height, width) = self.places().size(Some(sr));
        let (hr, total) = match self.sites.end {
            End::Loss { hr, total } => (hr, total),
            _ => (0, 0),
        };
        let shape = &self.program.buffers[sr.buffer];
        let count = self.program.batch * shape.channels * shape.height * shape.width;
        Loss {
            sr: self.places().address(sr),
            hr,
            gradient: self.places().address(self.places().whole(gradient)),
            row_sums: self.sites.arena + self.layout.row_sums,
            total,
            sr_pixel: self.places().pixel(sr.buffer),
            gradient_pixel: self.places().pixel(gradient),
            images: number(self.program.batch),
            channels: number(sr.channels / factor.pow(2).max(1)),
            height,
            width,
            factor: number(factor),
            unit: 1.0 / count as f32,
        }
    }

    fn places(&self) -> Places<'_> {
        Places { program: self.program, layout: self.layout, arena: self.sites.arena }
    }
}
