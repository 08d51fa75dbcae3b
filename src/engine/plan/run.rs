//! A plan with its memory, run again and again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::bind::{Bound, bind};
use super::compile::Plan;
use super::executor;
use super::kernels::{HostInput, HostOutput, Machine, Parameters, scratch_floats};
use super::program::Step;
use super::region::Region;
use crate::engine::cpu::simd::Isa;

/// Memory that plans share, one after another: it grows to what the largest needs and is never given back.
#[derive(Default)]
pub(super) struct Arena {
    floats: Region,
    scratch: Vec<Mutex<Region>>,
}

/// How long threads worked on each step of a plan.
pub(super) struct StepTimes(Vec<AtomicU64>);

impl StepTimes {
    pub(super) fn of(plan: &Plan) -> Self {
        Self(plan.program.steps.iter().map(|_| AtomicU64::new(0)).collect())
    }

    fn add(&self, step: usize, time: Duration) {
        self.0[step].fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Milliseconds of all threads together, a step.
    pub(super) fn thread_ms(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|nanoseconds| nanoseconds.load(Ordering::Relaxed) as f64 / 1e6)
    }
}

/// A plan with addresses.
pub(super) struct Ready {
    pub(super) plan: Plan,
    bound: Vec<Bound>,
    isa: Isa,
    scratch_floats: usize,
}

impl Ready {
    /// Gives a plan its addresses in the arena; any other plan of the arena loses its own.
    ///
    /// # Safety
    /// What `packed` gives, and the arena, must live and stay where they are as long as the result.
    pub(super) unsafe fn new(
        plan: Plan,
        arena: &mut Arena,
        isa: Isa,
        packed: impl Fn(&Step) -> *const f32,
    ) -> Self {
        if arena.floats.len() < plan.memory.floats {
            // Freed first: both together need not fit.
            arena.floats = Region::default();
            arena.floats = Region::zeros(plan.memory.floats);
        }
        // SAFETY: the arena was made as long as the plan needs.
        let bound = unsafe { bind(&plan, arena.floats.as_mut_ptr(), packed) };
        let scratch_floats = scratch_floats(&plan);
        Self { plan, bound, isa, scratch_floats }
    }

    /// Runs the plan once.
    ///
    /// # Safety
    /// `arena` is the one that the plan was made for, and no other plan has used it since; input and output have the plan's size.
    pub(super) unsafe fn run(
        &self,
        arena: &mut Arena,
        input: HostInput,
        output: HostOutput,
        parameters: Option<&dyn Parameters>,
        times: Option<&StepTimes>,
    ) {
        let threads = rayon::current_num_threads();
        while arena.scratch.len() < threads {
            arena.scratch.push(Mutex::default());
        }
        let machine =
            Machine { plan: &self.plan, bound: &self.bound, isa: self.isa, input, output, parameters };
        let scratch = &arena.scratch;
        executor::run(&self.plan.tasks, threads, &|task, thread| {
            // Each thread has its own: the lock is never waited for.
            let mut scratch = scratch[thread].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if scratch.len() < self.scratch_floats {
                *scratch = Region::zeros(self.scratch_floats);
            }
            let start = times.map(|_| Instant::now());
            // SAFETY: the addresses are of this arena; the executor runs a task when what it reads is complete and nobody writes it.
            unsafe { machine.perform(task, &mut scratch) };
            if let (Some(times), Some(start)) = (times, start) {
                times.add(task.step, start.elapsed());
            }
        });
    }
}
