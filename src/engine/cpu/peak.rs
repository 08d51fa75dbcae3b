//! How many floating-point operations a second this machine can do at most: what a kernel's speed is set against.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::simd::{self, Isa, Kernel, Simd};
use crate::measure::Summary;

/// Sums that do not wait for each other. A fused multiply-add takes four or five cycles on processors that start two a cycle, so ten keep them busy; with the two factors,
/// twelve still fit the sixteen registers of AVX2.
const SUMS: usize = 12;

/// Multiply-adds of each sum between two looks at the clock: some tens of microseconds, far less than a scheduler's time slice.
const REPEATS: usize = 1 << 14;

/// The peak rate of multiply-adds in f32 of the rayon pool's threads together, all running at once for `duration`, in GFLOP/s (two operations a multiply-add).
///
/// A thread's rate is the median of many short ones, so that what else runs on the machine shows little. `isa` must be one of [`Isa::available`]; any other becomes the detected one.
pub fn gflops(isa: Isa, duration: Duration) -> f64 {
    let isa = if Isa::available().contains(&isa) { isa } else { Isa::detect() };
    rayon::broadcast(|_| thread_gflops(isa, duration)).iter().sum()
}

/// The rate of one thread.
fn thread_gflops(isa: Isa, duration: Duration) -> f64 {
    let (start, mut rates) = (Instant::now(), Vec::new());
    while start.elapsed() < duration {
        let mut kernel = MultiplyAdds { start: black_box(0.5), operations: 0 };
        let before = Instant::now();
        // SAFETY: the caller made sure that the processor has the instruction set.
        unsafe { simd::run(isa, &mut kernel) };
        black_box(kernel.start);
        rates.push(kernel.operations as f64 / before.elapsed().as_secs_f64() / 1e9);
    }
    Summary::of(&rates).map_or(0.0, |summary| summary.median)
}

/// A sequence of multiply-adds on registers.
struct MultiplyAdds {
    /// A value that the compiler does not know; afterwards one that depends on all sums.
    start: f32,
    /// Floating-point operations done.
    operations: u64,
}

impl Kernel for MultiplyAdds {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        // SAFETY: the instruction set is enabled, and a block holds at least one vector.
        unsafe {
            // s ← s/2 + 1/2 tends to 1: neither infinite nor denormal.
            let factor = S::splat(self.start);
            let mut sums = [factor; SUMS];
            for _ in 0..REPEATS {
                for sum in &mut sums {
                    *sum = S::fma(*sum, factor, factor);
                }
            }
            let mut total = sums[0];
            for sum in &sums[1..] {
                total = S::add(total, *sum);
            }
            let mut lanes = [0.0f32; super::BLOCK];
            S::store(lanes.as_mut_ptr(), total);
            self.start = lanes.iter().sum();
            self.operations = (2 * SUMS * REPEATS * S::LANES) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_computed() {
        for isa in Isa::available() {
            let mut kernel = MultiplyAdds { start: 0.5, operations: 0 };
            // SAFETY: the instruction set is available.
            unsafe { simd::run(isa, &mut kernel) };
            let lanes = kernel.operations / (2 * SUMS * REPEATS) as u64;
            // Every lane of every sum has tended to 1.
            assert_eq!(kernel.start, (SUMS as u64 * lanes) as f32, "{isa}");
        }
    }

    #[test]
    fn the_rate_is_that_of_a_processor_of_this_century() {
        let rate = gflops(Isa::detect(), Duration::from_millis(5));
        assert!(rate > 0.1 && rate < 1e6, "{rate} GFLOP/s");
    }
}
