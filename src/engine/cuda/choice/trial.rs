//! Runs every way that could compute a convolution, looks whether it computes what our own kernels compute, and times it.

use half::{bf16, f16};

use super::super::ways::{self, At, Way};
use super::Choices;
use super::compare::{Outcome, compared, difference, tolerance};
use super::question::{Question, Told};
use super::store::Answer;
use crate::engine::EngineError;
use crate::engine::cuda::kernels::Ready;
use crate::engine::cuda::launch::convolution::Family;
use crate::engine::cuda::launch::{self, Command, Work};
use crate::engine::cuda::layout::{Layout, Room};
use crate::engine::cuda::packed;
use crate::engine::cuda::params::{Convolution, Finish};
use crate::engine::cuda::rebase::Addresses;
use crate::engine::cuda::{Format, Kernels, Math, number, unsupported};
use crate::engine::plan::program::{Operation, Program};
use crate::gpu::device::{DeviceMemory, Event};
use crate::gpu::driver::GpuError;
use crate::random::Random;

/// Key of the random stream for what is computed on.
const STREAM: u64 = 0x7472_6961;
/// Values of the block that is repeated to fill memory.
const BLOCK_VALUES: usize = 1 << 20;
/// Magnitude of random weights: sums of a few hundred products are then about as large as the values.
const WEIGHT_SCALE: f32 = 0.05;
/// How often work is repeated in one recording, and how often that is timed.
const REPEATS: usize = 8;
const ROUNDS: usize = 5;
/// What another way has to take at most, as a share of our own kernels' time: less is within what clocks and neighbours change.
const WORTH_IT: f64 = 0.97;
/// The most memory that cuDNN may have besides.
const WORKSPACE_LIMIT_BYTES: u64 = 1 << 30;

/// Memory as a program lays it out, filled with random values, and weights for its largest convolution.
pub(super) struct Trial<'a> {
    kernels: &'a Kernels,
    math: Math,
    memory: DeviceMemory,
    arena_bytes: u64,
    places: At,
    /// Where a weight gradient and a bias' gradient go.
    gradients: [u64; 2],
    /// Random values, as they are stored.
    block: Vec<u8>,
    events: [Event; 2],
}

/// What a way starts.
struct Works {
    /// Brings the weights into its order.
    prepare: Vec<Work>,
    compute: Vec<Work>,
    outcomes: Vec<Outcome>,
}

impl<'a> Trial<'a> {
    /// Takes the memory.
    ///
    /// # Errors
    /// [`EngineError::Gpu`] where there is not enough.
    pub(super) fn new(
        kernels: &'a Kernels,
        program: &Program,
        layout: &Layout,
        math: Math,
    ) -> Result<Self, EngineError> {
        let gpu = kernels.gpu();
        let convolutions = program.steps.iter().filter_map(|step| match &step.operation {
            Operation::Conv { conv, .. } | Operation::WeightGradient { conv, .. } => Some(conv),
            _ => None,
        });
        let (mut weights, mut channels, mut largest_kernel) = (0, 0, 1);
        for conv in convolutions {
            weights = weights.max(conv.weight_shape().iter().product::<usize>());
            channels = channels.max(conv.out_channels.max(conv.in_channels));
            largest_kernel = largest_kernel.max(conv.kernel);
        }
        let float = size_of::<f32>() as u64;
        // cuDNN's fills up inputs and outputs to multiples of 8, and no filter is larger than all of ours together where ours is the larger one.
        let own = packed::Packed::of(program, layout, math, &Choices::default()).bytes;
        let packed_bytes = own.max((weights + 16 * (channels + 8) * largest_kernel.pow(2)) as u64 * float);
        let mut room = Room::behind(layout.bytes);
        let mut take = |bytes: u64| room.take(bytes);
        let offsets = [
            take(weights as u64 * float),
            take((channels + 64) as u64 * float),
            take(packed_bytes),
            take((channels + 64) as u64 * float),
            take(weights as u64 * float),
            take(channels as u64 * float),
        ];
        let mut memory = gpu.allocate(room.bytes())?;
        let [weight, bias, packed, packed_bias, gradient, bias_gradient] =
            offsets.map(|offset| memory.address() + offset);
        let mut random = Random::new(&[STREAM]);
        let mut value = |scale: f32| (random.uniform() as f32 * 2.0 - 1.0) * scale;
        let mut block = Vec::with_capacity(BLOCK_VALUES * math.format().bytes());
        for _ in 0..BLOCK_VALUES {
            match math.format() {
                Format::F32 => block.extend(value(1.0).to_le_bytes()),
                Format::F16 => block.extend(f16::from_f32(value(1.0)).to_le_bytes()),
                Format::Bf16 => block.extend(bf16::from_f32(value(1.0)).to_le_bytes()),
            }
        }
        let weights: Vec<f32> = (0..weights).map(|_| value(WEIGHT_SCALE)).collect();
        let biases: Vec<f32> = (0..channels).map(|_| value(1.0)).collect();
        memory.upload(weight - memory.address(), &weights)?;
        memory.upload(bias - memory.address(), &biases)?;
        let mut trial = Self {
            kernels,
            math,
            memory,
            arena_bytes: layout.bytes,
            places: At { weight, bias, packed, packed_bias, workspace: 0, workspace_bytes: 0 },
            gradients: [gradient, bias_gradient],
            block,
            events: [gpu.event()?, gpu.event()?],
        };
        trial.fill(0, trial.arena_bytes)?;
        Ok(trial)
    }

    /// The fastest way that is right.
    ///
    /// # Errors
    /// [`EngineError::Gpu`] where the device is lost; ways that the device or a library refuses are passed over.
    pub(super) fn fastest(&mut self, question: &Question<'_>) -> Result<Answer, EngineError> {
        let (expected, first_ms) = self.run(question, Way::Own, None, true)?;
        let mut best = (Way::Own, first_ms);
        for way in self.others(question) {
            let found = self.attempt(question, way, &expected, true)?;
            best = found.map(|ms| (way, ms)).filter(|(_, ms)| *ms < best.1).unwrap_or(best);
        }
        let (way, ms) = best;
        if way == Way::Own {
            return Ok(Answer { way, ms, own_ms: ms });
        }
        // Whoever came first may have met a device that was still asleep.
        let (_, again_ms) = self.run(question, Way::Own, None, true)?;
        let own_ms = first_ms.min(again_ms);
        match ms < own_ms * WORTH_IT {
            true => Ok(Answer { way, ms, own_ms }),
            false => Ok(Answer { way: Way::Own, ms: own_ms, own_ms }),
        }
    }

    /// Whether a way that was chosen before computes what our own kernels do. It has then been run once, so that it can be recorded: libraries load their code with the first call, which
    /// recordings do not allow.
    ///
    /// # Errors
    /// [`EngineError::Gpu`] where the device is lost.
    pub(super) fn is_right(&mut self, question: &Question<'_>, way: Way) -> Result<bool, EngineError> {
        let (expected, _) = self.run(question, Way::Own, None, false)?;
        Ok(self.attempt(question, way, &expected, false)?.is_some())
    }

    /// Every way but our own kernels that might do.
    fn others(&self, question: &Question<'_>) -> Vec<Way> {
        let capability = self.kernels.gpu().facts().compute_capability;
        let hopper = Family::Hopper.runs_on(capability) && question.fits(Family::Hopper);
        let algorithms = match (self.kernels.cudnn(), &question.asked) {
            (Some(_), Some(_)) => question.pass().algorithms(),
            _ => 0,
        };
        hopper.then_some(Way::Hopper).into_iter().chain((0..algorithms).map(Way::Cudnn)).collect()
    }

    /// How long a way takes, in milliseconds, or 0 where it is not timed; nothing where it is refused or wrong.
    fn attempt(
        &mut self,
        question: &Question<'_>,
        way: Way,
        expected: &[f32],
        timed: bool,
    ) -> Result<Option<f64>, EngineError> {
        let workspace = match (way, self.kernels.cudnn()) {
            (Way::Cudnn(algorithm), Some(cudnn)) => {
                let bytes = question.workspace_bytes(cudnn, algorithm);
                let Some(bytes) = bytes.filter(|bytes| *bytes <= WORKSPACE_LIMIT_BYTES) else {
                    return Ok(None);
                };
                // Not enough memory is a reason to pass it over like any other.
                let Ok(memory) = self.kernels.gpu().allocate(bytes) else { return Ok(None) };
                Some((memory, bytes))
            }
            _ => None,
        };
        let (found, ms) = match self.run(
            question,
            way,
            workspace.as_ref().map(|(memory, bytes)| (memory, *bytes)),
            timed,
        ) {
            Ok(done) => done,
            Err(EngineError::Gpu(lost @ GpuError::Lost { .. })) => return Err(lost.into()),
            Err(error) => {
                tracing::debug!("{}: {way} is passed over: {error}", question.key());
                return Ok(None);
            }
        };
        let apart = difference(expected, &found);
        if apart <= tolerance(self.math) {
            return Ok(Some(ms));
        }
        tracing::debug!(
            "{}: {way} is passed over: it is off by {apart:.1e} of the largest value",
            question.key()
        );
        Ok(None)
    }

    /// Runs a way, and returns its result and, if wanted, how long it takes.
    fn run(
        &mut self,
        question: &Question<'_>,
        way: Way,
        workspace: Option<(&DeviceMemory, u64)>,
        timed: bool,
    ) -> Result<(Vec<f32>, f64), EngineError> {
        let at = At {
            workspace: workspace.map_or(0, |(memory, _)| memory.address()),
            workspace_bytes: workspace.map_or(0, |(_, bytes)| bytes),
            bias: if question.conv.bias { self.places.bias } else { 0 },
            ..self.places
        };
        let Works { prepare, compute, outcomes } = self.works(question, way, &at)?;
        for result in &outcomes {
            self.fill(result.offset, (result.values * result.format.bytes()) as u64)?;
        }
        let prepare = self.ready(prepare)?;
        let compute = self.ready(compute)?;
        let start = |works: &[Ready]| {
            // SAFETY: all addresses are in this trial's memory and the workspace, which outlive the call of `synchronize`.
            unsafe { self.kernels.start(works) }
        };
        start(&prepare)?;
        start(&compute)?;
        self.kernels.gpu().synchronize()?;
        let mut found = Vec::new();
        for result in &outcomes {
            self.read(result, &mut found)?;
        }
        let ms = if timed { self.time(|| start(&compute))? } else { 0.0 };
        Ok((found, ms))
    }

    /// Milliseconds of the fastest of several rounds, for one of their repeats: what disturbs only ever slows down.
    fn time(&self, start: impl Fn() -> Result<(), GpuError>) -> Result<f64, EngineError> {
        let gpu = self.kernels.gpu();
        let recorded = gpu.capture(|| (0..REPEATS).try_for_each(|_| start()))?;
        let [from, to] = &self.events;
        let mut best = f64::INFINITY;
        gpu.start(&recorded)?;
        for _ in 0..ROUNDS {
            gpu.record(from)?;
            gpu.start(&recorded)?;
            gpu.record(to)?;
            best = best.min(gpu.elapsed_ms(from, to)? / REPEATS as f64);
        }
        gpu.synchronize()?;
        Ok(best)
    }

    /// What prepares the weights, what computes, and where the result goes.
    fn works(&self, question: &Question<'_>, way: Way, at: &At) -> Result<Works, EngineError> {
        let base = self.memory.address();
        let here = |address: u64| if address == 0 { 0 } else { address - Question::BASE + base };
        let refused = || unsupported(question.key());
        match question.told {
            Told::Convolution(mut told) => {
                let bias = told.bias;
                told.bias = 0;
                told.readdress(&here);
                let at = At { bias: if bias == 0 { 0 } else { at.bias }, ..*at };
                let packed = |family: Family| {
                    let pack = packed::pack(family, question.math, &told, &at);
                    (vec![pack], vec![ways::own(question.math, &told, &at, Some(family))])
                };
                let (prepare, compute) = match way {
                    Way::Own if question.fits(Family::Ampere) => packed(Family::Ampere),
                    Way::Own => (Vec::new(), vec![ways::own(question.math, &told, &at, None)]),
                    Way::Hopper if question.fits(Family::Hopper) => packed(Family::Hopper),
                    Way::Hopper => return Err(refused()),
                    Way::Cudnn(algorithm) => {
                        let asked = question.asked.as_ref().ok_or_else(refused)?;
                        let pack = ways::pack(question.math, asked, &at);
                        (vec![pack], ways::by_cudnn(question.math, &told, asked, algorithm, &at))
                    }
                };
                Ok(Works { prepare, compute, outcomes: self.target(question.math, &told) })
            }
            Told::WeightGradient(mut told, sums) => {
                told.readdress(&here);
                let [weight, bias] = self.gradients;
                let counts = [question.conv.weight_shape().iter().product(), question.conv.out_channels];
                let finish = |sums_at: u64, target: u64, count: usize| {
                    let told =
                        Finish { sums: sums_at, target, count: number(count), splits: number(sums.splits) };
                    let launch = launch::gradient::finish_gradient(&told, question.math);
                    Ok::<Work, EngineError>((launch.ok_or_else(refused)?, told).into())
                };
                let mut compute = match way {
                    Way::Hopper => return Err(refused()),
                    Way::Own => vec![
                        ways::own_weights(question.math, &told).ok_or_else(refused)?,
                        finish(told.sums, weight, counts[0])?,
                    ],
                    Way::Cudnn(algorithm) => {
                        let asked = question.asked.as_ref().ok_or_else(refused)?;
                        let mut works = ways::weights_by_cudnn(question.math, &told, asked, algorithm, at);
                        works.push(ways::unpack(question.math, asked, told.sums, weight));
                        works
                    }
                };
                let result = |address: u64, values: usize| Outcome {
                    offset: address - base,
                    values,
                    format: Format::F32,
                };
                let mut outcomes = vec![result(weight, counts[0])];
                if told.bias_sums != 0 {
                    compute.push(finish(told.bias_sums, bias, counts[1])?);
                    outcomes.push(result(bias, counts[1]));
                }
                Ok(Works { prepare: Vec::new(), compute, outcomes })
            }
        }
    }

    fn target(&self, math: Math, told: &Convolution) -> Vec<Outcome> {
        let extents = [told.images, told.height, told.width, told.target_pixel];
        let values = extents.into_iter().map(|extent| extent.unsigned_abs() as usize).product();
        let format = if told.target_f32 == 1 { Format::F32 } else { math.format() };
        compared(told.target - self.memory.address(), values, format)
    }

    fn ready(&self, works: Vec<Work>) -> Result<Vec<Ready>, GpuError> {
        let command = |work: Work| Command { label: String::new(), work, multiply_adds: 0 };
        self.kernels.ready(works.into_iter().map(command).collect())
    }

    /// Fills memory with random values.
    fn fill(&mut self, offset: u64, bytes: u64) -> Result<(), GpuError> {
        let mut at = offset;
        let end = offset + bytes;
        while at < end {
            // From the same place in the block wherever the filling begins, so that memory has the same values each time.
            let inside = (at % self.block.len() as u64) as usize;
            let length = (self.block.len() - inside).min((end - at) as usize);
            self.memory.upload(at, &self.block[inside..inside + length])?;
            at += length as u64;
        }
        Ok(())
    }

    fn read(&self, result: &Outcome, to: &mut Vec<f32>) -> Result<(), GpuError> {
        let mut bytes = vec![0u8; result.values * result.format.bytes()];
        self.memory.download(result.offset, &mut bytes)?;
        let two = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
        match result.format {
            Format::F32 => {
                let values = bytes.chunks_exact(4);
                to.extend(values.map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])));
            }
            Format::F16 => to.extend(bytes.chunks_exact(2).map(|bytes| f16::from_bits(two(bytes)).to_f32())),
            Format::Bf16 => {
                to.extend(bytes.chunks_exact(2).map(|bytes| bf16::from_bits(two(bytes)).to_f32()))
            }
        }
        Ok(())
    }
}
