//! From a program to launches: which kernel runs each step, and what it is told.
//!
//! A program is compiled when it has its memory: launches hold addresses. Splits, concatenations and everything fused are in the program already; which way
//! computes a convolution was chosen before.

use super::choice::Choices;
use super::choice::question::readable;
use super::launch::{self, Command, Work};
use super::layout::Layout;
use super::packed::{self, By, Packed, Packing};
use super::params::{self, Elementwise, Ends, Finish, Loss, MAX_INPUTS, Operand, Spatial, WeightGradient};
use super::places::{Places, weight_gradient};
use super::ways::{self, Asked, At, Way};
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
    /// Memory that cuDNN may overwrite.
    pub(super) workspace: u64,
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
    pub(super) choices: &'a Choices,
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
            let told = self.places().convolution(step, conv, *direction)?;
            let at = self.at(Some(&packing), name, conv, *direction)?;
            let work = match &packing.by {
                By::Own(family) => packed::pack(*family, self.math, &told, &at),
                By::Cudnn(asked) => ways::pack(self.math, asked, &at),
            };
            commands.push(Command { label: name.clone(), work, multiply_adds: 0 });
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
        let command = |step: &Step, work: Work| Command {
            label: step.label.clone(),
            work,
            multiply_adds: step.multiply_adds,
        };
        let steps = self.program.steps.iter().enumerate();
        steps
            .map(|(index, step)| {
                Ok(self.step(index, step)?.into_iter().map(|work| command(step, work)).collect())
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
        let work = (launch::ends::store_image(self.math, &told), told).into();
        Some(Command { label: step.label.clone(), work, multiply_adds: 0 })
    }

    fn step(&self, index: usize, step: &Step) -> Result<Vec<Work>, EngineError> {
        let math = self.math;
        let first = |input: usize| step.inputs.get(input).and_then(|pieces| pieces.first()).copied();
        let one = |work: Work| Ok(vec![work]);
        type Start = fn(Math, &Spatial) -> launch::Launch;
        let spatial = |start: Start, own: Spatial| -> Work {
            let told = self.spatial(step, own);
            (start(math, &told), told).into()
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
                one((launch::ends::load(math, &ends), ends).into())
            }
            Operation::Conv { name, conv, direction, .. } => {
                self.convolution(index, step, name, conv, *direction)
            }
            Operation::WeightGradient { conv, .. } => self.weight_gradient(index, step, conv),
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
                    (launch::ends::loss(math, &loss), loss).into(),
                    (launch::ends::loss_total(math, &loss), loss).into(),
                ])
            }
            &Operation::Store { factor } => {
                let Some(sr) = first(0) else { return Ok(Vec::new()) };
                self.f32_only(sr, step)?;
                match self.sites.end {
                    End::Planes(planes) => {
                        let ends = self.ends(sr, planes, factor);
                        one((launch::ends::store(math, &ends), ends).into())
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

    /// Where a convolution's weights lie, and what else it may need.
    fn at(
        &self,
        packing: Option<&Packing>,
        name: &str,
        conv: &Conv2d,
        direction: Direction,
    ) -> Result<At, EngineError> {
        let packed =
            |offset: fn(&Packing) -> u64| packing.map_or(0, |packing| self.sites.packed + offset(packing));
        Ok(At {
            weight: self.weight(name, conv)?,
            bias: self.bias(name, conv, direction)?,
            packed: packed(|packing| packing.offset),
            packed_bias: packed(|packing| packing.bias_offset),
            workspace: self.sites.workspace,
            workspace_bytes: self.choices.workspace_bytes,
        })
    }

    fn convolution(
        &self,
        index: usize,
        step: &Step,
        name: &str,
        conv: &Conv2d,
        direction: Direction,
    ) -> Result<Vec<Work>, EngineError> {
        let told = self.places().convolution(step, conv, direction)?;
        let packing = self.packed.of_step(index);
        let at = self.at(packing.as_ref(), name, conv, direction)?;
        Ok(match (packing.map(|packing| packing.by), self.choices.of_step(index)) {
            (Some(By::Cudnn(asked)), Way::Cudnn(algorithm)) => {
                ways::by_cudnn(self.math, &told, &asked, algorithm, &at)
            }
            (Some(By::Own(family)), _) => vec![ways::own(self.math, &told, &at, Some(family))],
            _ => vec![ways::own(self.math, &told, &at, None)],
        })
    }

    /// What a weight gradient is told, and how cuDNN is asked for it where it was chosen.
    fn told_of_weights(
        &self,
        index: usize,
        step: &Step,
        conv: &Conv2d,
    ) -> Option<(WeightGradient, Option<(Asked, u32)>)> {
        let sums = self.layout.sums(index)?;
        let told = weight_gradient(self.program, step, conv, |piece| self.places().address(piece))?;
        let told = WeightGradient {
            sums: self.sites.arena + sums.offset,
            bias_sums: if conv.bias { self.sites.arena + sums.bias_offset } else { 0 },
            splits: number(sums.splits),
            ..told
        };
        let asked = match (self.choices.of_step(index), step.inputs.as_slice()) {
            (Way::Cudnn(algorithm), [x, dy]) => {
                let readable = [x, dy].map(|pieces| readable(self.program, pieces));
                let asked = ways::asked_for_weights(self.math, &told, readable);
                asked.map(|asked| (asked, algorithm))
            }
            _ => None,
        };
        Some((told, asked))
    }

    fn weight_gradient(&self, index: usize, step: &Step, conv: &Conv2d) -> Result<Vec<Work>, EngineError> {
        let refused = || unsupported(format!("the weight gradient of {}", step.label));
        let (told, asked) = self.told_of_weights(index, step, conv).ok_or_else(refused)?;
        match asked {
            Some((asked, algorithm)) => {
                let at = At {
                    workspace: self.sites.workspace,
                    workspace_bytes: self.choices.workspace_bytes,
                    ..At::default()
                };
                Ok(ways::weights_by_cudnn(self.math, &told, &asked, algorithm, &at))
            }
            None => Ok(vec![ways::own_weights(self.math, &told).ok_or_else(refused)?]),
        }
    }

    fn finish_gradient(&self, index: usize, name: &str, conv: &Conv2d) -> Result<Vec<Work>, EngineError> {
        let refused = || unsupported(format!("the end of the weight gradient of {name}"));
        let before = index.checked_sub(1).and_then(|sums| Some((sums, self.program.steps.get(sums)?)));
        let (sums, step) = before.ok_or_else(refused)?;
        let (told, asked) = self.told_of_weights(sums, step, conv).ok_or_else(refused)?;
        let target = |suffix: &str, shape: Vec<usize>| {
            let key = format!("{name}.{suffix}");
            (self.sites.gradient)(&key).ok_or(EngineError::Weight { key, shape })
        };
        let finish = |sums: u64, target: u64, count: usize| {
            let told = Finish { sums, target, count: number(count), splits: told.splits };
            let launch = launch::gradient::finish_gradient(&told, self.math).ok_or_else(refused)?;
            Ok::<Work, EngineError>((launch, told).into())
        };
        let shape = conv.weight_shape();
        let weight = target("weight", shape.to_vec())?;
        let mut works = vec![match asked {
            Some((asked, _)) => ways::unpack(self.math, &asked, told.sums, weight),
            None => finish(told.sums, weight, shape.iter().product())?,
        }];
        if conv.bias {
            let bias = target("bias", vec![conv.out_channels])?;
            works.push(finish(told.bias_sums, bias, conv.out_channels)?);
        }
        Ok(works)
    }

    fn elementwise(
        &self,
        step: &Step,
        launch: impl Fn(Math, &Elementwise) -> launch::Launch,
    ) -> Result<Vec<Work>, EngineError> {
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
            Ok((launch(self.math, &told), told).into())
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
