//! The last step of every convolution: from sums in registers to values in memory.

use super::BLOCK;
use super::gemm::vectors;
use super::simd::Simd;
use super::view::{Epilogue, Target, View};

/// Pixels next to each other, along a row or down a column, that are finished together.
pub(super) const RUN: usize = 4;

/// The addresses that a run of pixels is written to and combined with; a channel offset is still to be added.
#[derive(Clone, Copy)]
pub(super) struct Run {
    out: Address,
    before: Option<Address>,
    after: Option<Address>,
    mask: Option<(Address, f32)>,
    activation: Option<f32>,
}

#[derive(Clone, Copy)]
struct Address {
    base: *mut f32,
    pixel: usize,
}

impl Address {
    /// # Safety
    /// The pixel must be inside the view.
    #[inline(always)]
    unsafe fn of(view: &View, image: usize, y: usize, x: usize) -> Self {
        // SAFETY: the caller promises that the pixel exists.
        Self { base: unsafe { view.at(image, y, x) }, pixel: view.pixel }
    }

    /// # Safety
    /// Pixel `x` of the run, and its channels from `channel` on, must exist.
    #[inline(always)]
    unsafe fn at(&self, x: usize, channel: usize) -> *mut f32 {
        // SAFETY: the caller promises that the pixel exists.
        unsafe { self.base.add(x * self.pixel + channel) }
    }
}

impl Run {
    /// The run that begins at a pixel.
    ///
    /// # Safety
    /// The pixel must be inside every view of the target.
    #[inline(always)]
    pub(super) unsafe fn at(target: &Target, image: usize, y: usize, x: usize) -> Self {
        let Epilogue { before, activation, after, mask } = target.epilogue;
        // SAFETY: the caller promises that the pixel exists in every view.
        unsafe {
            Self {
                out: Address::of(&target.view, image, y, x),
                before: before.map(|view| Address::of(&view, image, y, x)),
                after: after.map(|view| Address::of(&view, image, y, x)),
                mask: mask.map(|(view, slope)| (Address::of(&view, image, y, x), slope)),
                activation,
            }
        }
    }

    /// The run down a column that begins at a pixel.
    ///
    /// # Safety
    /// The pixel must be inside every view of the target, and the run's other pixels must lie below it in memory: no view begins anew between them.
    #[inline(always)]
    pub(super) unsafe fn down(target: &Target, image: usize, y: usize, x: usize) -> Self {
        // SAFETY: the caller's promise.
        let mut run = unsafe { Self::at(target, image, y, x) };
        let Epilogue { before, activation: _, after, mask } = target.epilogue;
        let turn = |address: &mut Address, view: View| address.pixel = view.row;
        turn(&mut run.out, target.view);
        run.before.iter_mut().zip(before).for_each(|(address, view)| turn(address, view));
        run.after.iter_mut().zip(after).for_each(|(address, view)| turn(address, view));
        run.mask.iter_mut().zip(mask).for_each(|((address, _), (view, _))| turn(address, view));
        run
    }

    /// Finishes one vector of each of the first `count` pixels.
    ///
    /// # Safety
    /// The instruction set is enabled, the pixels exist in every view, and have room for the vector at `channel`.
    #[inline(always)]
    pub(super) unsafe fn finish<S: Simd>(&self, channel: usize, values: [S::V; RUN], count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            // A constant number of pixels compiles to straight code.
            if count == RUN {
                self.finish_some::<S>(channel, values, RUN, S::LANES);
            } else {
                self.finish_some::<S>(channel, values, count, S::LANES);
            }
        }
    }

    /// [`Run::finish`] that reads and writes only the first `lanes` of each vector.
    ///
    /// # Safety
    /// The instruction set is enabled, and the pixels exist in every view with `lanes` channels from `channel` on.
    #[inline(always)]
    pub(super) unsafe fn finish_lanes<S: Simd>(
        &self,
        channel: usize,
        values: [S::V; RUN],
        count: usize,
        lanes: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe { self.finish_some::<S>(channel, values, count, lanes) }
    }

    #[inline(always)]
    unsafe fn finish_some<S: Simd>(
        &self,
        channel: usize,
        mut values: [S::V; RUN],
        count: usize,
        lanes: usize,
    ) {
        // SAFETY: the caller promises that the pixels and the channels exist in every view.
        unsafe {
            if let Some(before) = self.before {
                for (x, value) in values.iter_mut().enumerate().take(count) {
                    *value = S::add(*value, load_lanes::<S>(before.at(x, channel), lanes));
                }
            }
            if let Some(slope) = self.activation {
                let slope = S::splat(slope);
                for value in &mut values {
                    *value = S::where_positive(*value, *value, S::mul(*value, slope));
                }
            }
            if let Some(after) = self.after {
                for (x, value) in values.iter_mut().enumerate().take(count) {
                    *value = S::add(*value, load_lanes::<S>(after.at(x, channel), lanes));
                }
            }
            if let Some((mask, slope)) = self.mask {
                let slope = S::splat(slope);
                for (x, value) in values.iter_mut().enumerate().take(count) {
                    let forward = load_lanes::<S>(mask.at(x, channel), lanes);
                    *value = S::where_positive(forward, *value, S::mul(*value, slope));
                }
            }
            for (x, value) in values.into_iter().enumerate().take(count) {
                store_lanes::<S>(self.out.at(x, channel), value, lanes);
            }
        }
    }
}

/// Finishes the register tile of `N` adjacent pixels and the block of channels that begins at `channel`.
///
/// # Safety
/// The instruction set is enabled, and the pixels exist in every view of the target, with room for the whole block.
#[inline(always)]
pub(super) unsafe fn finish_tile<S: Simd, const N: usize>(
    target: &Target,
    (image, y, x): (usize, usize, usize),
    channel: usize,
    sums: &[S::Block; N],
) {
    // A copy, because what is indexed by a loop lies in memory, and the sums themselves must stay in registers while they grow.
    let sums = *sums;
    for (part, sums) in sums.chunks(RUN).enumerate() {
        // SAFETY: the caller promises that the pixels exist.
        unsafe {
            let run = Run::at(target, image, y, x + part * RUN);
            for v in 0..vectors::<S>() {
                let mut values = [S::splat(0.0); RUN];
                for (value, sum) in values.iter_mut().zip(sums) {
                    *value = sum[v];
                }
                run.finish::<S>(channel + v * S::LANES, values, sums.len());
            }
        }
    }
}

/// The first `lanes` values of a vector; the others are zero.
///
/// # Safety
/// The instruction set is enabled; `lanes` values are at `from`, and `lanes <= S::LANES`.
#[inline(always)]
pub(super) unsafe fn load_lanes<S: Simd>(from: *const f32, lanes: usize) -> S::V {
    // SAFETY: the caller promises as many values as are read.
    unsafe {
        if lanes == S::LANES {
            return S::load(from);
        }
        let mut values = [0.0f32; BLOCK];
        values.as_mut_ptr().copy_from_nonoverlapping(from, lanes);
        S::load(values.as_ptr())
    }
}

/// Writes the first `lanes` values of a vector.
///
/// # Safety
/// The instruction set is enabled; `lanes` values have room at `to`, and `lanes <= S::LANES`.
#[inline(always)]
pub(super) unsafe fn store_lanes<S: Simd>(to: *mut f32, v: S::V, lanes: usize) {
    // SAFETY: the caller promises room for as many values as are written.
    unsafe {
        if lanes == S::LANES {
            return S::store(to, v);
        }
        let mut values = [0.0f32; BLOCK];
        S::store(values.as_mut_ptr(), v);
        to.copy_from_nonoverlapping(values.as_ptr(), lanes);
    }
}
