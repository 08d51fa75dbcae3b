//! A network ready to run: a graph, its packed weights, and a plan for each size it has met.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::executor;
use super::kernels::{self, Bound, HostInput, HostOutput, Machine};
use super::plan::Plan;
use super::program::{Algorithm, Operation};
use super::weights;
use crate::array::Array;
use crate::engine::EngineError;
use crate::engine::cpu::geometry::Direction;
use crate::engine::cpu::simd::Isa;
use crate::graph::{Graph, Op};
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
    packed: BTreeMap<(String, Algorithm), Vec<f32>>,
    ready: Option<Ready>,
    arena: Vec<f32>,
    scratch: Vec<Vec<f32>>,
}

struct Ready {
    shape: [usize; 3],
    plan: Plan,
    bound: Vec<Bound>,
}

impl Network {
    /// Binds weights to a graph.
    ///
    /// # Errors
    /// [`EngineError::Weight`] when one is missing or misshapen.
    pub fn new(graph: Graph, weights: &StateDict) -> Result<Self, EngineError> {
        for (key, shape) in graph.parameters() {
            if weights.get(&key).is_none_or(|array| array.shape() != shape) {
                return Err(EngineError::Weight { key, shape });
            }
        }
        let channels = graph.nodes().iter().find_map(|node| match node.op {
            Op::Input { channels } => Some(channels),
            _ => None,
        });
        Ok(Self {
            channels: channels.unwrap_or(3),
            graph,
            weights: weights.clone(),
            isa: Isa::detect(),
            state: Mutex::default(),
        })
    }

    /// The SR images of a batch of LR images, both NCHW in the model's data range.
    ///
    /// # Errors
    /// [`EngineError::Input`] or [`EngineError::Shape`] when the batch does not go through the model.
    pub fn forward(&self, lr: &Array<f32>) -> Result<Array<f32>, EngineError> {
        let &[n, c, height, width] = lr.shape() else { return Err(self.input_error(lr.shape())) };
        if c != self.channels || n == 0 {
            return Err(self.input_error(lr.shape()));
        }
        let scale = self.graph.scale();
        let shape = [n, 3, height * scale, width * scale];
        let mut sr = vec![0.0f32; shape.iter().product()];
        self.run([n, height, width], HostInput::Planes(lr.data()), HostOutput::Planes(sr.as_mut_ptr()))?;
        Array::new(shape, sr).map_err(|_| self.input_error(lr.shape()))
    }

    fn input_error(&self, found: &[usize]) -> EngineError {
        EngineError::Input { found: found.to_vec(), channels: self.channels }
    }

    fn run(&self, shape: [usize; 3], input: HostInput<'_>, output: HostOutput) -> Result<(), EngineError> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let state = &mut *state;
        if state.ready.as_ref().is_none_or(|ready| ready.shape != shape) {
            state.ready = None;
            let plan = Plan::inference(&self.graph, shape)?;
            self.pack(&plan, &mut state.packed);
            if state.arena.len() < plan.memory.floats {
                state.arena = vec![0.0; plan.memory.floats];
            }
            let packed = &state.packed;
            let address = |step: &super::program::Step| match &step.operation {
                Operation::Conv { name, algorithm, .. } => {
                    packed.get(&(name.clone(), *algorithm)).map_or(std::ptr::null(), |p| p.as_ptr())
                }
                _ => std::ptr::null(),
            };
            // SAFETY: the arena was made as long as the plan needs, and lives in this state beside the packed weights.
            let bound = unsafe { kernels::bind(&plan, state.arena.as_mut_ptr(), address) };
            state.ready = Some(Ready { shape, plan, bound });
        }
        let Some(Ready { plan, bound, .. }) = &state.ready else { return Ok(()) };
        let threads = rayon::current_num_threads();
        let floats = kernels::scratch_floats(plan);
        state.scratch.resize_with(threads.max(state.scratch.len()), Vec::new);
        for scratch in &mut state.scratch[..threads] {
            if scratch.len() < floats {
                *scratch = vec![0.0; floats];
            }
        }
        let scratch: Vec<Mutex<&mut Vec<f32>>> = state.scratch.iter_mut().map(Mutex::new).collect();
        let machine = Machine { plan, bound, isa: self.isa, input, output };
        executor::run(&plan.tasks, threads, &|task, thread| {
            let mut scratch = scratch[thread].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // SAFETY: addresses and scratch memory were made for this plan, and the executor keeps the plan's order.
            unsafe { machine.perform(task, &mut scratch) };
        });
        Ok(())
    }

    fn pack(&self, plan: &Plan, packed: &mut BTreeMap<(String, Algorithm), Vec<f32>>) {
        for step in &plan.program.steps {
            let Operation::Conv { name, conv, algorithm, .. } = &step.operation else { continue };
            packed.entry((name.clone(), *algorithm)).or_insert_with(|| {
                let of = |suffix: &str| {
                    self.weights.get(&format!("{name}.{suffix}")).map_or(&[][..], |array| array.data())
                };
                let floats = weights::packed_floats(conv, Direction::Forward, *algorithm)
                    + weights::bias_floats(conv, Direction::Forward);
                let mut memory = vec![0.0; floats];
                weights::pack(conv, Direction::Forward, *algorithm, of("weight"), of("bias"), &mut memory);
                memory
            });
        }
    }
}
