//! Maximum over square windows and its gradient.

use super::BLOCK;
use super::pointwise::Rows;
use super::simd::{Kernel, Simd};
use super::view::View;

/// Windows over one image, without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Side in pixels.
    pub kernel: usize,
    /// Step from one to the next in pixels.
    pub stride: usize,
    /// Height and width of the input in pixels.
    pub size: (usize, usize),
}

impl Windows {
    /// Height and width of the output in pixels; 0 where no window fits.
    pub fn output(&self) -> (usize, usize) {
        let side = |side: usize| match side.checked_sub(self.kernel) {
            Some(steps) => steps / self.stride.max(1) + 1,
            None => 0,
        };
        (side(self.size.0), side(self.size.1))
    }

    /// The maxima of one vector of a window, and where they are: `row * kernel + column`, the first in row order where several are equal.
    ///
    /// # Safety
    /// The instruction set is enabled, and the window is inside the view.
    #[inline(always)]
    unsafe fn maximum<S: Simd>(
        &self,
        view: &View,
        image: usize,
        (y, x): (usize, usize),
        channel: usize,
    ) -> (S::V, S::V) {
        // SAFETY: the caller's promise.
        unsafe {
            let corner = view.at(image, y * self.stride, x * self.stride).add(channel);
            let (mut best, mut place) = (S::load(corner), S::splat(0.0));
            for row in 0..self.kernel {
                let line = view.at(image, y * self.stride + row, x * self.stride).add(channel);
                for column in 0..self.kernel {
                    let value = S::load(line.add(column * view.pixel));
                    // Where it is greater, the difference is positive, because differences are not flushed to zero.
                    let gain = S::sub(value, best);
                    best = S::where_positive(gain, value, best);
                    place = S::where_positive(gain, S::splat((row * self.kernel + column) as f32), place);
                }
            }
            (best, place)
        }
    }
}

/// One piece of a maximum over windows.
pub struct MaxPool {
    /// The windows.
    pub windows: Windows,
    /// What is read.
    pub input: View,
    /// Where the maxima go.
    pub output: View,
    /// How many channels; whole vectors are read and written.
    pub channels: usize,
    /// Which rows of the output.
    pub piece: Rows,
}

impl Kernel for MaxPool {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let image = self.piece.image;
        for y in self.piece.rows.0..self.piece.rows.1 {
            for x in 0..self.windows.output().1 {
                for channel in (0..self.channels).step_by(S::LANES) {
                    // SAFETY: windows are inside the input by their number; the views are padded.
                    unsafe {
                        let (best, _) = self.windows.maximum::<S>(&self.input, image, (y, x), channel);
                        S::store(self.output.at(image, y, x).add(channel), best);
                    }
                }
            }
        }
    }
}

/// One piece of the gradient of a maximum over windows: each window's gradient goes to its maximum.
///
/// Windows that overlap the piece's rows are searched again for each piece, so that no piece writes to another's rows.
pub struct MaxPoolGradient {
    /// The windows.
    pub windows: Windows,
    /// The input of the forward direction.
    pub input: View,
    /// The gradient with respect to the output.
    pub gradient: View,
    /// Where the gradient with respect to the input goes.
    pub output: View,
    /// How many channels; whole vectors are read and written.
    pub channels: usize,
    /// Which rows of the input.
    pub piece: Rows,
}

impl Kernel for MaxPoolGradient {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let Windows { kernel, stride, size: (_, width) } = self.windows;
        let (rows, columns) = self.windows.output();
        let Rows { image, rows: (top, bottom) } = self.piece;
        // SAFETY: windows are inside the input by their number; only rows of the piece are written, and all views are padded.
        unsafe {
            for y in top..bottom {
                for x in 0..width {
                    for channel in (0..self.channels).step_by(S::LANES) {
                        S::store(self.output.at(image, y, x).add(channel), S::splat(0.0));
                    }
                }
            }
            let first = (top + 1).saturating_sub(kernel).div_ceil(stride);
            let end = bottom.div_ceil(stride).min(rows);
            for y in first..end {
                for x in 0..columns {
                    for channel in (0..self.channels).step_by(S::LANES) {
                        let (_, place) = self.windows.maximum::<S>(&self.input, image, (y, x), channel);
                        let mut places = [0.0f32; BLOCK];
                        S::store(places.as_mut_ptr(), place);
                        let gradient = self.gradient.at(image, y, x).add(channel);
                        for (lane, place) in
                            places.into_iter().enumerate().take(S::LANES.min(self.channels - channel))
                        {
                            let place = place as usize;
                            let (row, column) = (y * stride + place / kernel, x * stride + place % kernel);
                            if row >= top && row < bottom {
                                *self.output.at(image, row, column).add(channel + lane) +=
                                    *gradient.add(lane);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Buffer, cuts, numbers};
    use super::super::simd::{Isa, run};
    use super::*;

    /// PyTorch's maximum and gradient: the first of equal values in row order.
    fn define(windows: Windows, planes: usize, x: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let ((height, width), (rows, columns)) = (windows.size, windows.output());
        let (mut y, mut dx) = (Vec::new(), vec![0.0; x.len()]);
        assert_eq!(dy.len(), planes * rows * columns);
        for (index, dy) in dy.iter().enumerate() {
            let (plane, row, column) = (index / (rows * columns), index / columns % rows, index % columns);
            let corner = (plane * height + row * windows.stride) * width + column * windows.stride;
            let mut best = corner;
            for offset in 0..windows.kernel * windows.kernel {
                let at = corner + offset / windows.kernel * width + offset % windows.kernel;
                if x[at] > x[best] {
                    best = at;
                }
            }
            y.push(x[best]);
            dx[best] += dy;
        }
        (y, dx)
    }

    #[test]
    fn maxima_and_their_gradients_are_the_definition() {
        for (kernel, stride) in [(1, 1), (2, 2), (3, 2), (7, 3), (2, 3)] {
            for size in [(1, 1), (2, 7), (17, 9)] {
                for channels in [1, 3, 5, 16, 25, 50, 64] {
                    let windows = Windows { kernel, stride, size };
                    let ((height, width), (rows, columns)) = (size, windows.output());
                    if rows == 0 || columns == 0 {
                        continue;
                    }
                    let shape = [2, channels, height, width];
                    let count = shape.iter().product();
                    // Few different values, so that there are ties.
                    let mut x: Vec<f32> = numbers(count, 1).iter().map(|v| (v * 3.0).round()).collect();
                    if count > 40 {
                        (x[7], x[40]) = (f32::NEG_INFINITY, f32::INFINITY);
                    }
                    let dy = numbers(2 * channels * rows * columns, 2);
                    let (y, dx) = define(windows, 2 * channels, &x, &dy);
                    let mut input = Buffer::of(shape, &x);
                    let mut gradient = Buffer::of([2, channels, rows, columns], &dy);
                    let (input, gradient) = (input.view(), gradient.view());
                    for isa in Isa::available() {
                        let mut output = Buffer::new([2, channels, rows, columns]);
                        let mut to = Buffer::new(shape);
                        for image in 0..2 {
                            for rows in cuts(rows) {
                                let (output, piece) = (output.view(), Rows { image, rows });
                                let mut kernel = MaxPool { windows, input, output, channels, piece };
                                // SAFETY: the views are those of live buffers.
                                unsafe { run(isa, &mut kernel) };
                            }
                            for rows in cuts(height) {
                                let (output, piece) = (to.view(), Rows { image, rows });
                                let mut kernel =
                                    MaxPoolGradient { windows, input, gradient, output, channels, piece };
                                // SAFETY: the views are those of live buffers.
                                unsafe { run(isa, &mut kernel) };
                            }
                        }
                        assert_eq!(output.nchw(), y, "{isa}, {windows:?}");
                        assert_eq!(to.nchw(), dx, "{isa}, {windows:?}");
                    }
                }
            }
        }
    }
}
