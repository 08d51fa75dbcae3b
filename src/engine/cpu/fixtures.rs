//! Buffers and random values for the kernels' tests.

use super::BLOCK;
use super::view::{Epilogue, Source, Target, View};
use crate::random::Random;

/// Image sizes (height, width) that tiles do not divide.
pub(super) const SIZES: [(usize, usize); 3] = [(1, 1), (2, 7), (17, 9)];

/// Values in -1..1.
pub(super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(&[seed]);
    (0..count).map(|_| (random.uniform() * 2.0 - 1.0) as f32).collect()
}

/// A batch of images as kernels see it. Whatever is not written holds NaN, the padding above all.
pub(super) struct Buffer {
    data: Vec<f32>,
    shape: [usize; 4],
    pixel: usize,
}

impl Buffer {
    /// A batch of N×C×H×W that nobody has written.
    pub(super) fn new(shape: [usize; 4]) -> Self {
        let pixel = shape[1].div_ceil(BLOCK) * BLOCK;
        Self { data: vec![f32::NAN; shape[0] * shape[2] * shape[3] * pixel], shape, pixel }
    }

    /// A batch with NCHW values.
    pub(super) fn of(shape: [usize; 4], values: &[f32]) -> Self {
        let mut buffer = Self::new(shape);
        for (index, &value) in values.iter().enumerate() {
            let at = buffer.position(index);
            buffer.data[at] = value;
        }
        buffer
    }

    /// Where the value of an NCHW index lies.
    fn position(&self, index: usize) -> usize {
        let [_, c, h, w] = self.shape;
        let (x, y, channel, image) = (index % w, index / w % h, index / (w * h) % c, index / (w * h * c));
        ((image * h + y) * w + x) * self.pixel + channel
    }

    /// All channels.
    pub(super) fn view(&mut self) -> View {
        self.range(0)
    }

    /// The channels from `first` on.
    pub(super) fn range(&mut self, first: usize) -> View {
        let [_, _, h, w] = self.shape;
        View {
            base: self.data.as_mut_ptr().wrapping_add(first),
            pixel: self.pixel,
            row: w * self.pixel,
            image: h * w * self.pixel,
            rows: h,
        }
    }

    /// All channels as a source.
    pub(super) fn source(&mut self) -> Source {
        Source { view: self.view(), channels: self.shape[1] }
    }

    /// All channels as a target.
    pub(super) fn target(&mut self, epilogue: Epilogue) -> Target {
        Target { view: self.view(), channels: self.shape[1], epilogue }
    }

    /// The values in NCHW order.
    pub(super) fn nchw(&self) -> Vec<f32> {
        (0..self.shape.iter().product()).map(|index| self.data[self.position(index)]).collect()
    }
}

/// Cuts rows into pieces of uneven height.
pub(super) fn cuts(rows: usize) -> Vec<(usize, usize)> {
    let ends = [rows.div_ceil(3), rows.div_ceil(3) + 1, rows];
    let mut pieces = Vec::new();
    let mut start = 0;
    for end in ends.into_iter().map(|end| end.min(rows)) {
        if end > start {
            pieces.push((start, end));
            start = end;
        }
    }
    pieces
}

/// That values agree with f64 ones within `tolerance` of the largest.
pub(super) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-30f64, |most, value| most.max(value.abs()));
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= tolerance * scale, "{what}: {found} instead of {expected} at {index}");
    }
}

/// A convolution and its gradients by their definition, in f64.
pub(super) struct Naive {
    pub(super) output: Vec<f64>,
    pub(super) input_gradient: Vec<f64>,
    pub(super) weight_gradient: Vec<f64>,
    pub(super) bias_gradient: Vec<f64>,
}

impl Naive {
    /// `x`, `weights` and `gradient` (of the output) in PyTorch's layouts.
    pub(super) fn new(
        conv: &crate::graph::Conv2d,
        [batch, height, width]: [usize; 3],
        x: &[f32],
        weights: &[f32],
        bias: &[f32],
        gradient: &[f32],
    ) -> Self {
        let geometry = super::geometry::Geometry::of(conv, (height, width));
        let (oh, ow) = geometry.output();
        let (ig, og) = (conv.in_channels / conv.groups, conv.out_channels / conv.groups);
        let mut naive = Self {
            output: vec![0.0; batch * conv.out_channels * oh * ow],
            input_gradient: vec![0.0; x.len()],
            weight_gradient: vec![0.0; weights.len()],
            bias_gradient: vec![0.0; conv.out_channels],
        };
        for (index, &dy) in gradient.iter().enumerate() {
            let (ox, oy, o, n) = (
                index % ow,
                index / ow % oh,
                index / (ow * oh) % conv.out_channels,
                index / (ow * oh * conv.out_channels),
            );
            let dy = f64::from(dy);
            naive.bias_gradient[o] += dy;
            let mut sum = f64::from(bias[o]);
            for tap in 0..ig * conv.kernel * conv.kernel {
                let (kx, ky, i) =
                    (tap % conv.kernel, tap / conv.kernel % conv.kernel, tap / (conv.kernel * conv.kernel));
                let (iy, ix) = (oy * conv.stride + ky, ox * conv.stride + kx);
                if iy < conv.padding
                    || ix < conv.padding
                    || iy - conv.padding >= height
                    || ix - conv.padding >= width
                {
                    continue;
                }
                let channel = n * conv.in_channels + o / og * ig + i;
                let at = (channel * height + iy - conv.padding) * width + ix - conv.padding;
                let weight = o * ig * conv.kernel * conv.kernel + tap;
                sum += f64::from(x[at]) * f64::from(weights[weight]);
                naive.input_gradient[at] += dy * f64::from(weights[weight]);
                naive.weight_gradient[weight] += dy * f64::from(x[at]);
            }
            naive.output[index] = sum;
        }
        naive
    }
}
