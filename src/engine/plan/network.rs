//! A network ready to run: a graph, its packed weights, and the plan for the size it has met last.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::breakdown::Breakdown;
use super::kernels::{HostInput, HostOutput};
use super::plan::Plan;
use super::program::{Algorithm, Operation, Step};
use super::run::{Arena, Ready, StepTimes};
use super::weights;
use crate::array::Array;
use crate::engine::EngineError;
use crate::engine::cpu::geometry::Direction;
use crate::engine::cpu::simd::Isa;
use crate::graph::Graph;
use crate::imaging::RgbImage;
use crate::weights::StateDict;

/// A network for inference.
pub struct Network {
    graph: Graph,
    weights: StateDict,
    channels: usize,
    isa: Isa,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By convolution: sizes may choose different algorithms.
    packed: BTreeMap<(String, Algorithm), Vec<f32>>,
    ready: Option<([usize; 3], Ready)>,
    arena: Arena,
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
            match weights.get(&key) {
                Some(array) if array.shape() == shape => own.insert(key, array.clone()),
                _ => return Err(EngineError::Weight { key, shape }),
            };
        }
        let isa = if Isa::available().contains(&isa) { isa } else { Isa::detect() };
        Ok(Self { channels: graph.input_channels(), graph, weights: own, isa, state: Mutex::default() })
    }

    /// The SR images of a batch of LR images, both NCHW in the model's data range.
    ///
    /// # Errors
    /// [`EngineError::Input`] or [`EngineError::Shape`] when the batch does not go through the model.
    pub fn forward(&self, lr: &Array<f32>) -> Result<Array<f32>, EngineError> {
        let error = || EngineError::Input { found: lr.shape().to_vec(), channels: self.channels };
        let &[images, channels, height, width] = lr.shape() else { return Err(error()) };
        if channels != self.channels || images == 0 {
            return Err(error());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { arena, ready, .. } = self.ready(&mut state, [images, height, width])?;
        let Some((_, ready)) = ready else { return Err(error()) };
        let [channels, height, width] = ready.plan.output;
        let shape = [images, channels, height, width];
        let mut sr = vec![0.0f32; shape.iter().product()];
        let (input, output) = (HostInput::Planes(lr.data().as_ptr()), HostOutput::Planes(sr.as_mut_ptr()));
        // SAFETY: the plan was made for this arena and shape, and the packed weights stay in the locked state.
        unsafe { ready.run(arena, input, output, None, None) };
        Array::new(shape, sr).map_err(|_| error())
    }

    /// Where the time of a forward pass goes: the median over `runs` of what the threads spent on each step.
    ///
    /// # Errors
    /// As for [`Network::forward`].
    pub fn breakdown(&self, lr: &Array<f32>, runs: usize) -> Result<Breakdown, EngineError> {
        self.forward(lr)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let error = || EngineError::Input { found: lr.shape().to_vec(), channels: self.channels };
        let State { arena, ready: Some(([images, ..], ready)), .. } = &mut *state else {
            return Err(error());
        };
        let mut sr = vec![0.0f32; *images * ready.plan.output.iter().product::<usize>()];
        let mut breakdown = Breakdown::of(&ready.plan, self.isa);
        for _ in 0..runs {
            let times = StepTimes::of(&ready.plan);
            let (input, output) =
                (HostInput::Planes(lr.data().as_ptr()), HostOutput::Planes(sr.as_mut_ptr()));
            let start = std::time::Instant::now();
            // SAFETY: as in `forward`, which has just made the plan for this shape.
            unsafe { ready.run(arena, input, output, None, Some(&times)) };
            breakdown.add(start.elapsed(), times.thread_ms());
        }
        Ok(breakdown)
    }

    /// The 8-bit SR image of an 8-bit LR image: divided, run, clamped and rounded half to even as the official script does, in one pass. `None` when
    /// a value of the output is not a number.
    ///
    /// # Errors
    /// As for [`Network::forward`]; also [`EngineError::Input`] when input or output are not RGB.
    pub fn upscale(&self, lr: &RgbImage) -> Result<Option<RgbImage>, EngineError> {
        let error =
            || EngineError::Input { found: vec![1, 3, lr.height(), lr.width()], channels: self.channels };
        if self.channels != 3 {
            return Err(error());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { arena, ready, .. } = self.ready(&mut state, [1, lr.height(), lr.width()])?;
        let Some((_, ready)) = ready else { return Err(error()) };
        let &[3, height, width] = &ready.plan.output else { return Err(error()) };
        let mut pixels = vec![0u8; 3 * height * width];
        let mut numbers = vec![true; height];
        let range = self.graph.data_range();
        let input = HostInput::Image(lr.pixels().as_ptr(), range);
        let output = HostOutput::Image(pixels.as_mut_ptr(), range, numbers.as_mut_ptr());
        // SAFETY: as in `forward`; there are at least as many flags as rows of LR pixels.
        unsafe { ready.run(arena, input, output, None, None) };
        Ok(numbers
            .iter()
            .all(|&number| number)
            .then(|| RgbImage::new(width, height, pixels))
            .and_then(Result::ok))
    }

    /// The state with a plan for the shape `[images, height, width]`.
    fn ready<'a>(&self, state: &'a mut State, shape: [usize; 3]) -> Result<&'a mut State, EngineError> {
        if state.ready.as_ref().is_none_or(|(known, _)| *known != shape) {
            state.ready = None;
            let plan = Plan::inference(&self.graph, shape)?;
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
            state.ready = Some((shape, ready));
        }
        Ok(state)
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
