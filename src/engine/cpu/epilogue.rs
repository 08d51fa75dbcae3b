//! The last step of every convolution: from sums in registers to values in memory.

use super::simd::Simd;
use super::view::{Epilogue, Target, View};

/// Adjacent pixels of a row that are finished together.
pub(super) const RUN: usize = 4;

/// The addresses that a run of adjacent pixels is written to and combined with; a channel offset is still to be added.
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
                self.finish_some::<S>(channel, values, RUN);
            } else {
                self.finish_some::<S>(channel, values, count);
            }
        }
    }

    #[inline(always)]
    unsafe fn finish_some<S: Simd>(&self, channel: usize, mut values: [S::V; RUN], count: usize) {
        // SAFETY: the caller promises that the pixels and the channels exist in every view.
        unsafe {
            if let Some(before) = self.before {
                for (x, value) in values.iter_mut().enumerate().take(count) {
                    *value = S::add(*value, S::load(before.at(x, channel)));
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
                    *value = S::add(*value, S::load(after.at(x, channel)));
                }
            }
            if let Some((mask, slope)) = self.mask {
                let slope = S::splat(slope);
                for (x, value) in values.iter_mut().enumerate().take(count) {
                    let forward = S::load(mask.at(x, channel));
                    *value = S::where_positive(forward, *value, S::mul(*value, slope));
                }
            }
            for (x, value) in values.into_iter().enumerate().take(count) {
                S::store(self.out.at(x, channel), value);
            }
        }
    }
}
