//! Sums, products, activations and copies, channel by channel.
//!
//! Everything that is not a convolution's epilogue already: an addition whose inputs both have other readers, a concatenation that cannot be laid out
//! in place, the gradients of products and activations. A channel range may begin anywhere; nothing outside it is written.

use super::BLOCK;
use super::epilogue::{RUN, Run, load_lanes};
use super::pointwise::Rows;
use super::simd::{Kernel, Simd};
use super::view::{Target, View};

/// What is computed from the inputs, before the target's epilogue.
///
/// LeakyReLU is a [`Combination::Sum`] of one input with an activation in the epilogue, its gradient one with a mask; a concatenation is a sum of one
/// input for each range; the gradient of a channel range is a sum of none for all channels, then a sum of one for the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combination {
    /// The sum, from the first to the last; zero of none.
    Sum,
    /// The product, from the first to the last; one of none.
    Product,
    /// `1 / (1 + exp(-x))` of the first input.
    Sigmoid,
    /// Sigmoid's gradient from its own value: `dy * (1 - y) * y` with the inputs `dy` and `y`, in PyTorch's order.
    SigmoidGradient,
}

/// One piece of an elementwise operation.
pub struct Combine<'a> {
    /// Width in pixels.
    pub width: usize,
    /// What is computed.
    pub combination: Combination,
    /// What is read; each has the target's channels.
    pub inputs: &'a [View],
    /// Where the result goes.
    pub target: Target,
    /// Floats from the base of every view, those of the epilogue too, that this kernel may read and write in each pixel: at least the target's
    /// channels, and more where padding follows them. Whole vectors are used only inside.
    pub room: usize,
    /// Which rows.
    pub piece: Rows,
}

impl Kernel for Combine<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        for y in self.piece.rows.0..self.piece.rows.1 {
            let mut x = 0;
            while x < self.width {
                let count = RUN.min(self.width - x);
                // SAFETY: the pixels exist in every view, and the channels up to `room`.
                unsafe {
                    let run = Run::at(&self.target, self.piece.image, y, x);
                    let mut channel = 0;
                    while channel < self.target.channels {
                        if channel + S::LANES <= self.room {
                            let values = self.values::<S>((y, x), channel, count, S::LANES);
                            run.finish::<S>(channel, values, count);
                        } else {
                            let lanes = S::LANES.min(self.target.channels - channel);
                            let values = self.values::<S>((y, x), channel, count, lanes);
                            run.finish_lanes::<S>(channel, values, count, lanes);
                        }
                        channel += S::LANES;
                    }
                }
                x += count;
            }
        }
    }
}

impl Combine<'_> {
    /// `lanes` channels of `count` adjacent pixels.
    ///
    /// # Safety
    /// The instruction set is enabled; the pixels and channels exist in every input.
    #[inline(always)]
    unsafe fn values<S: Simd>(
        &self,
        (y, x): (usize, usize),
        channel: usize,
        count: usize,
        lanes: usize,
    ) -> [S::V; RUN] {
        // SAFETY: the caller's promise.
        unsafe {
            let one = S::splat(1.0);
            let mut inputs = self.inputs.iter();
            let mut values = [S::splat(0.0); RUN];
            match inputs.next() {
                Some(view) => {
                    let from = view.at(self.piece.image, y, x).add(channel);
                    for (i, value) in values.iter_mut().enumerate().take(count) {
                        *value = load_lanes::<S>(from.add(i * view.pixel), lanes);
                    }
                }
                None if self.combination == Combination::Product => values = [one; RUN],
                None => {}
            }
            if self.combination == Combination::Sigmoid {
                for value in values.iter_mut().take(count) {
                    *value = sigmoid::<S>(*value);
                }
                return values;
            }
            for view in inputs {
                let from = view.at(self.piece.image, y, x).add(channel);
                for (i, value) in values.iter_mut().enumerate().take(count) {
                    let other = load_lanes::<S>(from.add(i * view.pixel), lanes);
                    *value = match self.combination {
                        Combination::Sum => S::add(*value, other),
                        Combination::Product => S::mul(*value, other),
                        _ => S::mul(S::mul(*value, S::sub(one, other)), other),
                    };
                }
            }
            values
        }
    }
}

/// Sigmoid of one vector.
#[inline(always)]
unsafe fn sigmoid<S: Simd>(v: S::V) -> S::V {
    let mut values = [0.0f32; BLOCK];
    // SAFETY: a block holds a vector.
    unsafe {
        S::store(values.as_mut_ptr(), v);
        for value in values.iter_mut().take(S::LANES) {
            *value = sigmoid_of(*value);
        }
        S::load(values.as_ptr())
    }
}

/// `1 / (1 + exp(-x))`, without branches or calls, so that the compiler makes vectors of it, and without fused operations, so that it has the same bits
/// everywhere.
///
/// exp(t) = 2ⁿ · exp(r) with n = round(t / ln 2) and |r| <= ln 2 / 2, where the Taylor polynomial of degree 7 is exact to 6e-9.
#[inline(always)]
fn sigmoid_of(x: f32) -> f32 {
    /// Adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts; the first has so few bits that its product with n is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Beyond these bounds 2ⁿ would not be a normal number; sigmoid is 1 there, or smaller than any normal number.
    let t = (-x).clamp(-87.0, 88.0);
    let shifted = t * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (t - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut tail = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        tail = tail * r + coefficient;
    }
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    // The largest terms come last, so that what the others round off is small.
    let exponential = (1.0 + (r + r * r * tail)) * f32::from_bits(power);
    1.0 / (1.0 + exponential)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Buffer, SIZES, cuts, numbers};
    use super::super::simd::{Isa, run};
    use super::super::view::Epilogue;
    use super::*;

    /// Runs a combination of the channel ranges that begin at `first` into that range of a buffer of zeros, and returns the whole buffer.
    fn combine(
        isa: Isa,
        combination: Combination,
        inputs: &[Vec<f32>],
        [batch, all, height, width]: [usize; 4],
        (first, channels, room): (usize, usize, usize),
        epilogue: impl Fn(&mut [Buffer]) -> Epilogue,
    ) -> Vec<f32> {
        let shape = [batch, all, height, width];
        let mut buffers: Vec<_> = inputs.iter().map(|values| Buffer::of(shape, values)).collect();
        let epilogue = epilogue(&mut buffers);
        let views: Vec<_> = buffers.iter_mut().map(|buffer| buffer.range(first)).collect();
        let mut out = Buffer::of(shape, &vec![0.0; shape.iter().product()]);
        for image in 0..batch {
            for rows in cuts(height) {
                let target = Target { view: out.range(first), channels, epilogue };
                let piece = Rows { image, rows };
                let mut kernel = Combine { width, combination, inputs: &views, target, room, piece };
                // SAFETY: the views are those of live buffers of one shape.
                unsafe { run(isa, &mut kernel) };
            }
        }
        out.nchw()
    }

    /// Checks a combination against its definition, in whole buffers and in ranges that no vector divides.
    fn check(
        combination: Combination,
        inputs: usize,
        epilogue: impl Fn(&mut [Buffer]) -> Epilogue + Copy,
        define: impl Fn(&[f32]) -> f32,
    ) {
        for isa in Isa::available() {
            for (height, width) in SIZES {
                for (all, first, channels, room) in [
                    (1, 0, 1, 16),
                    (25, 0, 25, 32),
                    (64, 0, 64, 64),
                    (50, 25, 25, 39),
                    (50, 3, 17, 17),
                    (75, 25, 25, 25),
                    (50, 49, 1, 1),
                ] {
                    let shape = [2, all, height, width];
                    let count = shape.iter().product();
                    let values: Vec<_> = (0..inputs).map(|seed| numbers(count, seed as u64)).collect();
                    let found = combine(isa, combination, &values, shape, (first, channels, room), epilogue);
                    for (index, found) in found.into_iter().enumerate() {
                        let channel = index / (height * width) % all;
                        let inputs: Vec<f32> = values.iter().map(|values| values[index]).collect();
                        let inside = (first..first + channels).contains(&channel);
                        let expected = if inside { define(&inputs) } else { 0.0 };
                        assert_eq!(found, expected, "{isa}, {combination:?}, {shape:?}, channel {channel}");
                    }
                }
            }
        }
    }

    #[test]
    fn combinations_are_their_definitions() {
        let none = |_: &mut [Buffer]| Epilogue::default();
        check(Combination::Sum, 0, none, |_| 0.0);
        check(Combination::Sum, 1, none, |v| v[0]);
        check(Combination::Sum, 2, none, |v| v[0] + v[1]);
        check(Combination::Sum, 3, none, |v| v[0] + v[1] + v[2]);
        check(Combination::Product, 2, none, |v| v[0] * v[1]);
        check(Combination::SigmoidGradient, 2, none, |v| v[0] * (1.0 - v[1]) * v[1]);
        check(Combination::Sigmoid, 1, none, |v| sigmoid_of(v[0]));
    }

    #[test]
    fn activations_and_their_gradients_are_epilogues() {
        let leaky = |_: &mut [Buffer]| Epilogue { activation: Some(0.05), ..Epilogue::default() };
        check(Combination::Sum, 1, leaky, |v| if v[0] > 0.0 { v[0] } else { v[0] * 0.05 });
        let relu = |_: &mut [Buffer]| Epilogue { activation: Some(0.0), ..Epilogue::default() };
        check(Combination::Sum, 2, relu, |v| (v[0] + v[1]).max(0.0));
    }

    /// The epilogue's views begin where the target's range does.
    #[test]
    fn masks_and_additions_stay_in_their_range() {
        let shape = [1, 50, 2, 7];
        let count = shape.iter().product();
        let (first, channels) = (13, 21);
        let values: Vec<_> = (0..3).map(|seed| numbers(count, seed)).collect();
        for isa in Isa::available() {
            let found = combine(isa, Combination::Sum, &values[..1], shape, (first, channels, 21), |_| {
                let mut other = Buffer::of(shape, &values[1]);
                let mut mask = Buffer::of(shape, &values[2]);
                let epilogue = Epilogue {
                    after: Some(other.range(first)),
                    mask: Some((mask.range(first), 0.5)),
                    ..Epilogue::default()
                };
                // The buffers must outlive the kernel's run; a test may leak.
                std::mem::forget((other, mask));
                epilogue
            });
            for (index, found) in found.into_iter().enumerate() {
                let sum = values[0][index] + values[1][index];
                let expected = match (first..first + channels).contains(&(index / 14)) {
                    true if values[2][index] > 0.0 => sum,
                    true => sum * 0.5,
                    false => 0.0,
                };
                assert_eq!(found, expected, "{isa}, {index}");
            }
        }
    }

    #[test]
    fn sigmoid_is_accurate_and_keeps_what_is_not_a_number() {
        let mut worst = 0.0f64;
        let mut x = -88.0f32;
        while x < 100.0 {
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            let ulp = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            worst = worst.max((f64::from(sigmoid_of(x)) - exact).abs() / ulp);
            x += 0.000_37;
        }
        // Measured: 2.3; the sum and the quotient alone can make 1.5 of them.
        assert!(worst <= 2.5, "{worst} ulp");
        assert_eq!(sigmoid_of(0.0), 0.5);
        assert_eq!(sigmoid_of(f32::INFINITY), 1.0);
        assert!(sigmoid_of(f32::NEG_INFINITY) < 1e-38);
        assert!(sigmoid_of(f32::NAN).is_nan());
    }
}
