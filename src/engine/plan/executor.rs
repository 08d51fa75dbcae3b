//! Threads that take tasks from a list, in order.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use super::tasks::{Task, Tasks};
use crate::engine::cpu::denormals::Flushed;

/// Looks at a counter this often before letting another thread have the processor.
const SPINS: u32 = 1 << 12;

/// Runs every task once on up to `threads` threads; `work` gets the task and the number of the thread that runs it.
///
/// All counters are behind one fence each: what a task wrote is visible to every task that waited for it.
pub(super) fn run(tasks: &Tasks, threads: usize, work: &(dyn Fn(&Task, usize) + Sync)) {
    let state = State {
        tasks,
        next: AtomicUsize::new(0),
        completed: AtomicUsize::new(0),
        counters: (0..tasks.counters).map(|_| AtomicU32::new(0)).collect(),
        failed: AtomicBool::new(false),
    };
    if threads <= 1 {
        state.take_all(0, work);
        return;
    }
    rayon::scope(|scope| {
        for thread in 1..threads {
            let state = &state;
            scope.spawn(move |_| state.take_all(thread, work));
        }
        state.take_all(0, work);
    });
}

struct State<'a> {
    tasks: &'a Tasks,
    next: AtomicUsize,
    completed: AtomicUsize,
    counters: Vec<AtomicU32>,
    /// Whether a task panicked: the others must not wait for it for ever.
    failed: AtomicBool,
}

impl State<'_> {
    fn take_all(&self, thread: usize, work: &(dyn Fn(&Task, usize) + Sync)) {
        let _flushed = Flushed::now();
        let guard = Guard(&self.failed);
        while let Some(task) = self.tasks.list.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let waited = self.until(|| self.completed.load(Ordering::Acquire) >= task.after)
                && self.tasks.waits(task).iter().all(|wait| {
                    self.until(|| self.counters[wait.counter].load(Ordering::Acquire) >= wait.count)
                });
            if !waited {
                break;
            }
            work(task, thread);
            self.counters[task.counter].fetch_add(1, Ordering::AcqRel);
            self.completed.fetch_add(1, Ordering::AcqRel);
        }
        std::mem::forget(guard);
    }

    /// Waits; false if another thread failed.
    fn until(&self, ready: impl Fn() -> bool) -> bool {
        let mut spins = 0;
        while !ready() {
            if self.failed.load(Ordering::Relaxed) {
                return false;
            }
            spins += 1;
            match spins % SPINS {
                0 => std::thread::yield_now(),
                _ => std::hint::spin_loop(),
            }
        }
        true
    }
}

/// Marks the run as failed when it is dropped, i.e. when a task panics.
struct Guard<'a>(&'a AtomicBool);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
