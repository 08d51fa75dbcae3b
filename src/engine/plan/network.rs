//! A network ready to run: a graph, its packed weights, and the plan for the size it has met last.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::breakdown::Breakdown;
use super::compile::{Layout, Plan};
use super::kernels::{HostInput, HostOutput, scratch_floats};
use super::program::{Algorithm, Operation, Step};
use super::run::{Arena, Ready, StepTimes};
use super::strips::{GRID, Strip, strips};
use super::weights;
use crate::array::Array;
use crate::engine::EngineError;
use crate::engine::cpu::geometry::Direction;
use crate::engine::cpu::peak;
use crate::engine::cpu::simd::Isa;
use crate::graph::{Graph, shapes};
use crate::imaging::RgbImage;
use crate::measure::Input;
use crate::models::ModelIdentity;
use crate::weights::StateDict;

/// What values may take when nobody says how much: an image that needs more is computed in parts, which is no slower (a wave of rows so long does not fit
/// a cache), and keeps large images from needing all of a machine's memory.
const COMFORTABLE_BYTES: usize = 1 << 30;
/// How long the machine's peak rate is looked for.
const PEAK_TIME: Duration = Duration::from_millis(200);

/// A network for inference.
pub struct Network {
    graph: Graph,
    weights: StateDict,
    channels: usize,
    isa: Isa,
    memory_limit_bytes: Option<usize>,
    /// As many as were ever in use at the same time. A call takes one for itself rather than waiting for another call to finish: it may have been made by
    /// the very thread that must go on for that call to end.
    idle: Mutex<Vec<State>>,
}

/// How a batch is computed.
#[derive(Clone)]
enum Way {
    /// At once.
    Whole(Layout),
    /// Image by image, and each in these strips.
    Parts(Vec<Strip>),
}

#[derive(Default)]
struct State {
    /// By convolution: sizes may choose different algorithms.
    packed: BTreeMap<(String, Algorithm), Vec<f32>>,
    ready: Option<([usize; 3], Layout, Ready)>,
    way: Option<([usize; 3], Way)>,
    /// A plan that was made to be weighed, and will be run.
    planned: Option<([usize; 3], Layout, Plan)>,
    arena: Arena,
}

/// A state in use, which goes back to the idle ones.
struct Lent<'a> {
    idle: &'a Mutex<Vec<State>>,
    state: State,
}

impl Deref for Lent<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let state = std::mem::take(&mut self.state);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(state);
    }
}

impl Network {
    /// Binds weights to a graph.
    ///
    /// # Errors
    /// [`EngineError::Weight`] when one is missing or misshapen.
    pub fn new(graph: Graph, weights: &StateDict) -> Result<Self, EngineError> {
        Self::with_isa(graph, weights, Isa::detect())
    }

    /// [`Network::new`] for an instruction set of choice, which must be one of [`Isa::available`]; any other becomes the detected one.
    ///
    /// # Errors
    /// As for [`Network::new`].
    pub fn with_isa(graph: Graph, weights: &StateDict, isa: Isa) -> Result<Self, EngineError> {
        let mut own = StateDict::new();
        for (key, shape) in graph.parameters() {
            let array = crate::engine::weight(weights, &key, &shape)?.clone();
            own.insert(key, array);
        }
        let isa = if Isa::available().contains(&isa) { isa } else { Isa::detect() };
        Ok(Self {
            channels: graph.input_channels(),
            graph,
            weights: own,
            isa,
            memory_limit_bytes: None,
            idle: Mutex::default(),
        })
    }

    /// The same network in at most about `bytes` of memory for values; images and weights are not counted. What needs more is computed in parts, with
    /// the same bits. `None` for 1 GiB, and for more where not even parts can do with that.
    #[must_use]
    pub fn with_memory_limit(mut self, bytes: Option<usize>) -> Self {
        self.memory_limit_bytes = bytes;
        self
    }

    /// The SR images of a batch of LR images, both NCHW in the model's data range.
    ///
    /// # Errors
    /// [`EngineError::Input`] or [`EngineError::Shape`] when the batch does not go through the model, [`EngineError::Memory`] when it does not within
    /// the limit.
    pub fn forward(&self, lr: &Array<f32>) -> Result<Array<f32>, EngineError> {
        self.forward_into(lr, Vec::new())
    }

    /// [`Network::forward`] into memory that is there already: what a new allocation costs is a visible part of a pass.
    ///
    /// # Errors
    /// As for [`Network::forward`].
    pub fn forward_into(&self, lr: &Array<f32>, memory: Vec<f32>) -> Result<Array<f32>, EngineError> {
        let &[images, channels, height, width] = lr.shape() else {
            return Err(self.input_error(lr.shape()));
        };
        if channels != self.channels || images == 0 {
            return Err(self.input_error(lr.shape()));
        }
        let [sr_channels, sr_height, sr_width] = self.output([height, width])?;
        let mut sr = memory;
        sr.resize(images * sr_channels * sr_height * sr_width, 0.0);
        let mut state = self.state();
        match self.way(&mut state, [images, height, width])? {
            Way::Whole(layout) => {
                let (input, output) = (lr.data().as_ptr(), sr.as_mut_ptr());
                // SAFETY: both have the batch's size.
                unsafe {
                    self.run(
                        &mut state,
                        [images, height, width],
                        layout,
                        HostInput::Planes(input),
                        HostOutput::Planes(output),
                    )
                }?;
            }
            Way::Parts(strips) => {
                let inputs = lr.data().chunks_exact(channels * height * width);
                for (lr, sr) in inputs.zip(sr.chunks_exact_mut(sr_channels * sr_height * sr_width)) {
                    for strip in &strips {
                        let input = cropped(lr, width, strip.whole);
                        let across = strip.whole.1 - strip.whole.0;
                        let mut output = vec![0.0; sr.len() / sr_width * across * self.graph.scale()];
                        let (from, to) =
                            (HostInput::Planes(input.as_ptr()), HostOutput::Planes(output.as_mut_ptr()));
                        let layout = Layout::Streaming { part_of: width };
                        // SAFETY: both have the strip's size.
                        unsafe { self.run(&mut state, [1, height, across], layout, from, to) }?;
                        paste(&output, *strip, self.graph.scale(), sr, sr_width);
                    }
                }
            }
        }
        Array::new([images, sr_channels, sr_height, sr_width], sr).map_err(|_| self.input_error(lr.shape()))
    }

    /// The 8-bit SR image of an 8-bit LR image: divided, run, clamped and rounded half to even as the official script does, in one pass. `None` when
    /// a value of the output is not a number.
    ///
    /// # Errors
    /// As for [`Network::forward`]; also [`EngineError::Input`] when input or output are not RGB.
    pub fn upscale(&self, lr: &RgbImage) -> Result<Option<RgbImage>, EngineError> {
        let (height, width) = (lr.height(), lr.width());
        let (range, scale) = (self.graph.data_range(), self.graph.scale());
        let [channels, sr_height, sr_width] = self.output([height, width])?;
        if (self.channels, channels) != (3, 3) {
            return Err(self.input_error(&[1, 3, height, width]));
        }
        let mut pixels = vec![0u8; 3 * sr_height * sr_width];
        let mut numbers = vec![true; height];
        let mut state = self.state();
        match self.way(&mut state, [1, height, width])? {
            Way::Whole(layout) => {
                let input = HostInput::Image(lr.pixels().as_ptr(), range);
                let output = HostOutput::Image(pixels.as_mut_ptr(), range, numbers.as_mut_ptr());
                // SAFETY: both have the image's size, and there is a flag for each row.
                unsafe { self.run(&mut state, [1, height, width], layout, input, output) }?;
            }
            Way::Parts(strips) => {
                for strip in &strips {
                    let across = strip.whole.1 - strip.whole.0;
                    let input = cropped(lr.pixels(), 3 * width, (3 * strip.whole.0, 3 * strip.whole.1));
                    let mut output = vec![0u8; 3 * sr_height * across * scale];
                    let mut own = vec![true; height];
                    let from = HostInput::Image(input.as_ptr(), range);
                    let to = HostOutput::Image(output.as_mut_ptr(), range, own.as_mut_ptr());
                    let layout = Layout::Streaming { part_of: width };
                    // SAFETY: both have the strip's size, and there is a flag for each row.
                    unsafe { self.run(&mut state, [1, height, across], layout, from, to) }?;
                    paste(&output, *strip, 3 * scale, &mut pixels, 3 * sr_width);
                    numbers.iter_mut().zip(own).for_each(|(all, own)| *all &= own);
                }
            }
        }
        Ok(numbers
            .iter()
            .all(|&number| number)
            .then(|| RgbImage::new(sr_width, sr_height, pixels))
            .and_then(Result::ok))
    }

    /// Where the time of a forward pass of an input of `width` x `height` goes: what the threads spent on each step in each of `runs` runs. `model` is
    /// whose network this is.
    ///
    /// # Errors
    /// As for [`Network::forward`].
    pub fn breakdown(
        &self,
        model: ModelIdentity,
        [width, height]: [usize; 2],
        runs: usize,
    ) -> Result<Breakdown, EngineError> {
        // Any values take the same time, unless they are denormal.
        let lr = Array::filled([1, self.channels, height, width], self.graph.data_range() / 2.0);
        let mut sr = Array::filled(self.output([height, width])?, 0.0f32);
        let input = HostInput::Planes(lr.data().as_ptr());
        let output = HostOutput::Planes(sr.data_mut().as_mut_ptr());
        let mut state = self.state();
        // The plan is made, and memory is mapped, before anything is timed.
        // SAFETY: both have the image's size.
        unsafe { self.run(&mut state, [1, height, width], Layout::Fast, input, output) }?;
        let State { arena, ready: Some((_, _, ready)), .. } = &mut *state else {
            return Err(self.input_error(lr.shape()));
        };
        let mut breakdown = Breakdown::of(&ready.plan, self.isa, model, Input::Size { width, height });
        for _ in 0..runs {
            let times = StepTimes::of(&ready.plan);
            let start = Instant::now();
            // SAFETY: as above.
            unsafe { ready.run(arena, input, output, None, Some(&times)) };
            breakdown.add(start.elapsed(), times.thread_ms());
        }
        Ok(breakdown.finish(peak::gflops(self.isa, PEAK_TIME)))
    }

    fn state(&self) -> Lent<'_> {
        let state = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        Lent { idle: &self.idle, state }
    }

    fn input_error(&self, found: &[usize]) -> EngineError {
        EngineError::Input { found: found.to_vec(), channels: self.channels }
    }

    /// Channels, height and width of the SR image of an LR image of this height and width.
    fn output(&self, [height, width]: [usize; 2]) -> Result<[usize; 3], EngineError> {
        Ok(shapes(&self.graph, width, height)?[self.graph.output().index()])
    }

    /// How a batch is computed within the limit.
    fn way(&self, state: &mut State, shape: [usize; 3]) -> Result<Way, EngineError> {
        if let Some((_, way)) = state.way.as_ref().filter(|(known, _)| *known == shape) {
            return Ok(way.clone());
        }
        let way = match self.way_within(self.memory_limit_bytes.unwrap_or(COMFORTABLE_BYTES), shape) {
            Err(EngineError::Memory { .. }) if self.memory_limit_bytes.is_none() => Way::Whole(Layout::Fast),
            found => {
                let (way, plan) = found?;
                if let (&Way::Whole(layout), Some(plan)) = (&way, plan) {
                    state.planned = Some((shape, layout, plan));
                }
                way
            }
        };
        state.way = Some((shape, way.clone()));
        Ok(way)
    }

    /// The fastest way that fits a limit, and the plan for it if that is one for the whole batch.
    fn way_within(
        &self,
        limit: usize,
        [images, height, width]: [usize; 3],
    ) -> Result<(Way, Option<Plan>), EngineError> {
        let mut least = usize::MAX;
        let mut fits = |plan: &Plan| {
            let bytes =
                plan.arena_bytes() + rayon::current_num_threads() * scratch_floats(plan) * size_of::<f32>();
            least = least.min(bytes);
            bytes <= limit
        };
        let plan = Plan::inference(&self.graph, [images, height, width], Layout::Fast)?;
        if fits(&plan) {
            return Ok((Way::Whole(Layout::Fast), Some(plan)));
        }
        let streaming = Layout::Streaming { part_of: width };
        let plan = Plan::inference(&self.graph, [1, height, width], streaming)?;
        let program = plan.program.clone();
        let whole = Strip { core: (0, width), whole: (0, width) };
        if fits(&plan) {
            return Ok(match images {
                1 => (Way::Whole(streaming), Some(plan)),
                _ => (Way::Parts(vec![whole]), None),
            });
        }
        let mut core = width.next_multiple_of(GRID) / 2;
        while core >= GRID {
            core = core.next_multiple_of(GRID);
            let Some(strips) = strips(&program, width, core) else { break };
            let widest = strips.iter().map(|strip| strip.whole.1 - strip.whole.0).max().unwrap_or(width);
            if fits(&Plan::inference(&self.graph, [1, height, widest], streaming)?) {
                return Ok((Way::Parts(strips), None));
            }
            core /= 2;
        }
        Err(EngineError::Memory { width, height, needed_bytes: least, limit_bytes: limit })
    }

    /// # Safety
    /// Input and output have the size of the batch.
    unsafe fn run(
        &self,
        state: &mut State,
        shape: [usize; 3],
        layout: Layout,
        input: HostInput,
        output: HostOutput,
    ) -> Result<(), EngineError> {
        if state.ready.as_ref().is_none_or(|(known, like, _)| (*known, *like) != (shape, layout)) {
            state.ready = None;
            let plan = match state.planned.take() {
                Some((known, like, plan)) if (known, like) == (shape, layout) => plan,
                _ => Plan::inference(&self.graph, shape, layout)?,
            };
            self.pack(&plan, &mut state.packed);
            let packed = &state.packed;
            let address = |step: &Step| match &step.operation {
                Operation::Conv { name, algorithm, .. } => {
                    packed.get(&(name.clone(), *algorithm)).map_or(std::ptr::null(), |packed| packed.as_ptr())
                }
                _ => std::ptr::null(),
            };
            // SAFETY: arena and packed weights are kept in the same state, and nothing packed is ever removed or changed.
            let ready = unsafe { Ready::new(plan, &mut state.arena, self.isa, address) };
            state.ready = Some((shape, layout, ready));
        }
        if let State { ready: Some((_, _, ready)), arena, .. } = state {
            // SAFETY: the plan was made for this arena and shape; the caller promises input and output.
            unsafe { ready.run(arena, input, output, None, None) };
        }
        Ok(())
    }

    fn pack(&self, plan: &Plan, packed: &mut BTreeMap<(String, Algorithm), Vec<f32>>) {
        for step in &plan.program.steps {
            let Operation::Conv { name, conv, algorithm, .. } = &step.operation else { continue };
            packed.entry((name.clone(), *algorithm)).or_insert_with(|| {
                let of = |suffix: &str| {
                    self.weights.get(&format!("{name}.{suffix}")).map_or(&[][..], |array| array.data())
                };
                let layer = (conv, Direction::Forward, *algorithm);
                let floats = weights::packed_floats(conv, Direction::Forward, *algorithm)
                    + weights::bias_floats(conv, Direction::Forward);
                let mut memory = vec![0.0; floats];
                let blocks = (0, weights::blocks(conv, Direction::Forward));
                // SAFETY: the memory is as long as it must be, and `new` has checked the weight's shape.
                unsafe {
                    weights::pack(self.isa, layer, of("weight"), of("bias"), blocks, memory.as_mut_ptr());
                }
                memory
            });
        }
    }
}

/// A range of columns of rows of `width` values.
fn cropped<T: Copy>(values: &[T], width: usize, (from, to): (usize, usize)) -> Vec<T> {
    values.chunks_exact(width.max(1)).flat_map(|row| &row[from..to]).copied().collect()
}

/// Writes the core of a strip's result into rows of `width` values; an LR column is `unit` values wide in them.
fn paste<T: Copy>(strip_values: &[T], strip: Strip, unit: usize, values: &mut [T], width: usize) {
    let Strip { core, whole } = strip;
    let across = (whole.1 - whole.0) * unit;
    let from = (core.0 - whole.0) * unit..(core.1 - whole.0) * unit;
    let rows = strip_values.chunks_exact(across.max(1)).zip(values.chunks_exact_mut(width.max(1)));
    for (source, target) in rows {
        target[core.0 * unit..core.1 * unit].copy_from_slice(&source[from.clone()]);
    }
}
