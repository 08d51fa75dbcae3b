//! The L1 loss and its gradient in one pass.

use super::ends::with_factor;
use super::pointwise::Rows;
use super::simd::{Kernel, Simd};
use super::view::View;

/// One piece of the L1 loss between a network's output before its last pixel shuffle and HR planes.
pub struct L1<'a> {
    /// Height and width of the output before the shuffle in pixels.
    pub size: (usize, usize),
    /// The upscaling factor of the shuffle; 1 for none.
    pub factor: usize,
    /// Channels after the shuffle.
    pub channels: usize,
    /// The output before the shuffle: `channels * factor * factor` channels.
    pub sr: View,
    /// The HR batch: the first value of its NCHW planes.
    pub hr: *const f32,
    /// The gradient of a value that is too large: one over the number of values in the batch, in f32. As PyTorch's, the gradient is 0 where the
    /// values are equal; so it is where one is not a number.
    pub unit: f32,
    /// Where the gradient goes, laid out as `sr`. It may be `sr`.
    pub gradient: View,
    /// Where the sums of absolute differences go: one for each row of the piece, so that their total does not depend on the cut.
    pub sums: &'a mut [f64],
    /// Which rows before the shuffle.
    pub piece: Rows,
}

impl Kernel for L1<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        debug_assert_eq!(self.sums.len(), self.piece.rows.1 - self.piece.rows.0);
        // SAFETY: the caller's promise.
        with_factor!(self.factor, |FACTOR| unsafe { self.run_factor::<FACTOR>() });
    }
}

impl L1<'_> {
    /// # Safety
    /// The views and the planes hold the whole batch; `FACTOR` is the factor or 0.
    #[inline(always)]
    unsafe fn run_factor<const FACTOR: usize>(&mut self) {
        /// Sums side by side, so that an addition need not wait for the one before.
        const SUMS: usize = 4;
        let factor = if FACTOR == 0 { self.factor } else { FACTOR };
        let ((height, width), image) = (self.size, self.piece.image);
        let (fine_row, plane) = (width * factor, width * height * factor * factor);
        let (first, end) = self.piece.rows;
        for (y, total) in (first..end).zip(self.sums.iter_mut()) {
            let mut sums = [0.0f64; SUMS];
            // SAFETY: the caller's promise.
            unsafe {
                let sr = self.sr.at(image, y, 0).cast_const();
                let gradient = self.gradient.at(image, y, 0);
                let hr = self.hr.add(image * self.channels * plane + y * factor * fine_row);
                for x in 0..width {
                    let sr = sr.add(x * self.sr.pixel);
                    let gradient = gradient.add(x * self.gradient.pixel);
                    for line in 0..self.channels * factor {
                        let (channel, i) = (line / factor, line % factor);
                        let hr = hr.add(channel * plane + i * fine_row + x * factor);
                        for j in 0..factor {
                            let (sr, hr) = (*sr.add(line * factor + j), *hr.add(j));
                            sums[j % SUMS] += (f64::from(sr) - f64::from(hr)).abs();
                            let up = if sr > hr { self.unit } else { 0.0 };
                            *gradient.add(line * factor + j) = if sr < hr { -self.unit } else { up };
                        }
                    }
                }
            }
            *total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Buffer, SIZES, numbers};
    use super::super::simd::{Isa, run};
    use super::*;

    #[test]
    fn the_loss_and_its_gradient_are_the_definition() {
        for size in SIZES {
            let (height, width) = size;
            for (factor, channels) in [(1, 3), (2, 3), (3, 1), (4, 3), (5, 2)] {
                let shape = [2, channels * factor * factor, height, width];
                let count: usize = shape.iter().product();
                let unit = (1.0 / count as f64) as f32;
                let mut values = numbers(count, 1);
                let hr = numbers(count, 2);
                let (fine_height, fine_width) = (height * factor, width * factor);
                let source = |index: usize| {
                    let (x, y) = (index % fine_width, index / fine_width % fine_height);
                    let plane = index / (fine_width * fine_height);
                    let channel = (plane * factor + y % factor) * factor + x % factor;
                    (channel * height + y / factor) * width + x / factor
                };
                values[source(0)] = hr[0];
                let (mut sum, mut expected) = (0.0, vec![0.0; count]);
                for (index, &hr) in hr.iter().enumerate() {
                    let sr = values[source(index)];
                    sum += (f64::from(sr) - f64::from(hr)).abs();
                    expected[source(index)] = match sr.partial_cmp(&hr) {
                        Some(std::cmp::Ordering::Greater) => unit,
                        Some(std::cmp::Ordering::Less) => -unit,
                        _ => 0.0,
                    };
                }
                for isa in Isa::available() {
                    let mut results = Vec::new();
                    for pieces in [vec![(0, height)], super::super::fixtures::cuts(height)] {
                        let mut sr = Buffer::of(shape, &values);
                        let mut gradient = Buffer::new(shape);
                        let mut sums = vec![f64::NAN; 2 * height];
                        for image in 0..2 {
                            for &rows in &pieces {
                                let mut kernel = L1 {
                                    size,
                                    factor,
                                    channels,
                                    sr: sr.view(),
                                    hr: hr.as_ptr(),
                                    unit,
                                    gradient: gradient.view(),
                                    sums: &mut sums[image * height + rows.0..image * height + rows.1],
                                    piece: Rows { image, rows },
                                };
                                // SAFETY: the buffers are live and hold the batch.
                                unsafe { run(isa, &mut kernel) };
                            }
                        }
                        assert_eq!(gradient.nchw(), expected, "{isa}, {factor}");
                        results.push(sums.iter().sum::<f64>());
                    }
                    assert!((results[0] - sum).abs() <= 1e-13 * sum, "{isa}: {} and {sum}", results[0]);
                    assert_eq!(results[0], results[1], "{isa}");
                }
            }
        }
    }
}
