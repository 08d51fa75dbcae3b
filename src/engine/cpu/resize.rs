//! Bilinear resize and its gradient, as PyTorch's `interpolate(mode="bilinear", align_corners=False)`.
//!
//! Weights are products of f64 factors, rounded to f32; the terms of a value are added in the reference engine's order with separate multiplications
//! and additions, so that results have its bits.

use super::pointwise::Rows;
use super::simd::{Kernel, Simd};
use super::view::View;

/// One output position along one axis: two neighbours in the input and their weights.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Neighbours {
    near: usize,
    far: usize,
    near_weight: f64,
    far_weight: f64,
}

/// What a resize needs to know of one axis; made once for a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    neighbours: Vec<Neighbours>,
    /// For each input position the first and one past the last output position that reads it.
    readers: Vec<(usize, usize)>,
}

impl Axis {
    /// An axis that is resized from `from` to `to` positions.
    pub fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let last = from.saturating_sub(1);
        let neighbours: Vec<_> = (0..to)
            .map(|out| {
                // Pixel centres map to pixel centres; positions before the first centre are clamped to it.
                let position = ((out as f64 + 0.5) * scale - 0.5).max(0.0);
                let near = (position as usize).min(last);
                let far_weight = position - near as f64;
                Neighbours { near, far: (near + 1).min(last), near_weight: 1.0 - far_weight, far_weight }
            })
            .collect();
        let readers = (0..from)
            .map(|at| {
                // Neighbours never step back, so the readers are one range.
                let first = neighbours.partition_point(|n| n.far < at);
                (first, neighbours.partition_point(|n| n.near <= at).max(first))
            })
            .collect();
        Self { neighbours, readers }
    }

    /// Positions after the resize.
    pub fn to(&self) -> usize {
        self.neighbours.len()
    }
}

impl Neighbours {
    fn terms(&self) -> [(usize, f64); 2] {
        [(self.near, self.near_weight), (self.far, self.far_weight)]
    }
}

/// One piece of a bilinear resize.
pub struct Resize<'a> {
    /// The vertical axis.
    pub rows: &'a Axis,
    /// The horizontal axis.
    pub columns: &'a Axis,
    /// What is read.
    pub input: View,
    /// Where the result goes.
    pub output: View,
    /// How many channels; whole vectors are read and written.
    pub channels: usize,
    /// Which rows of the output.
    pub piece: Rows,
}

impl Kernel for Resize<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let image = self.piece.image;
        for (y, row) in
            self.rows.neighbours.iter().enumerate().take(self.piece.rows.1).skip(self.piece.rows.0)
        {
            for (x, column) in self.columns.neighbours.iter().enumerate() {
                // SAFETY: neighbours are inside the input; the views are padded.
                unsafe {
                    let mut terms = [(self.input.base.cast_const(), S::splat(0.0)); 4];
                    for (i, (at_y, weight_y)) in row.terms().into_iter().enumerate() {
                        for (j, (at_x, weight_x)) in column.terms().into_iter().enumerate() {
                            let from = self.input.at(image, at_y, at_x);
                            terms[2 * i + j] = (from, S::splat((weight_y * weight_x) as f32));
                        }
                    }
                    let to = self.output.at(image, y, x);
                    for channel in (0..self.channels).step_by(S::LANES) {
                        let mut sum = S::splat(0.0);
                        for (from, weight) in terms {
                            sum = S::add(sum, S::mul(weight, S::load(from.add(channel))));
                        }
                        S::store(to.add(channel), sum);
                    }
                }
            }
        }
    }
}

/// One piece of the gradient of a bilinear resize: each input pixel sums over the output pixels that read it.
pub struct ResizeGradient<'a> {
    /// The vertical axis.
    pub rows: &'a Axis,
    /// The horizontal axis.
    pub columns: &'a Axis,
    /// The gradient with respect to the output.
    pub gradient: View,
    /// Where the gradient with respect to the input goes.
    pub output: View,
    /// How many channels; whole vectors are read and written.
    pub channels: usize,
    /// Which rows of the input.
    pub piece: Rows,
}

impl Kernel for ResizeGradient<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let image = self.piece.image;
        for (y, &row_range) in
            self.rows.readers.iter().enumerate().take(self.piece.rows.1).skip(self.piece.rows.0)
        {
            for (x, &column_range) in self.columns.readers.iter().enumerate() {
                // SAFETY: readers are inside the output of the forward direction; the views are padded.
                unsafe {
                    let to = self.output.at(image, y, x);
                    for channel in (0..self.channels).step_by(S::LANES) {
                        S::store(to.add(channel), S::splat(0.0));
                    }
                    for from_y in row_range.0..row_range.1 {
                        for from_x in column_range.0..column_range.1 {
                            let from = self.gradient.at(image, from_y, from_x);
                            for (at_y, weight_y) in self.rows.neighbours[from_y].terms() {
                                for (at_x, weight_x) in self.columns.neighbours[from_x].terms() {
                                    if at_y == y && at_x == x {
                                        let weight = S::splat((weight_y * weight_x) as f32);
                                        for channel in (0..self.channels).step_by(S::LANES) {
                                            let term = S::mul(weight, S::load(from.add(channel)));
                                            let sum = S::load(to.add(channel));
                                            S::store(to.add(channel), S::add(sum, term));
                                        }
                                    }
                                }
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

    /// The four terms of every output value, in the reference engine's order.
    fn terms(
        (rows, columns): (&Axis, &Axis),
        (planes, height, width): (usize, usize, usize),
        mut f: impl FnMut(usize, usize, f32),
    ) {
        let mut out = 0;
        for plane in 0..planes {
            for row in &rows.neighbours {
                for column in &columns.neighbours {
                    for (y, weight_y) in row.terms() {
                        for (x, weight_x) in column.terms() {
                            f(out, (plane * height + y) * width + x, (weight_y * weight_x) as f32);
                        }
                    }
                    out += 1;
                }
            }
        }
    }

    #[test]
    fn resizing_and_its_gradient_have_the_bits_of_the_plain_loop() {
        for ((height, width), (rows, columns)) in
            [((1, 1), (2, 7)), ((2, 7), (17, 9)), ((17, 9), (17, 9)), ((17, 9), (5, 30)), ((5, 4), (1, 1))]
        {
            let (vertical, horizontal) = (Axis::new(height, rows), Axis::new(width, columns));
            for channels in [1, 3, 16, 25, 64] {
                let shape = [2, channels, height, width];
                let resized = [2, channels, rows, columns];
                let x = numbers(shape.iter().product(), 1);
                let dy = numbers(resized.iter().product(), 2);
                let (mut y, mut dx) = (vec![0.0f32; dy.len()], vec![0.0f32; x.len()]);
                terms((&vertical, &horizontal), (2 * channels, height, width), |out, at, weight| {
                    y[out] += weight * x[at];
                    dx[at] += weight * dy[out];
                });
                let (mut input, mut gradient) = (Buffer::of(shape, &x), Buffer::of(resized, &dy));
                for isa in Isa::available() {
                    let (mut output, mut to) = (Buffer::new(resized), Buffer::new(shape));
                    for image in 0..2 {
                        for rows in cuts(rows) {
                            let mut kernel = Resize {
                                rows: &vertical,
                                columns: &horizontal,
                                input: input.view(),
                                output: output.view(),
                                channels,
                                piece: Rows { image, rows },
                            };
                            // SAFETY: the views are those of live buffers.
                            unsafe { run(isa, &mut kernel) };
                        }
                        for rows in cuts(height) {
                            let mut kernel = ResizeGradient {
                                rows: &vertical,
                                columns: &horizontal,
                                gradient: gradient.view(),
                                output: to.view(),
                                channels,
                                piece: Rows { image, rows },
                            };
                            // SAFETY: the views are those of live buffers.
                            unsafe { run(isa, &mut kernel) };
                        }
                    }
                    assert_eq!(output.nchw(), y, "{isa}, {shape:?} to {resized:?}");
                    assert_eq!(to.nchw(), dx, "{isa}, {shape:?} to {resized:?}");
                }
            }
        }
    }

    /// By the definition, the first and the last output are clamped to a centre, and the others lie a quarter of a pixel beside one.
    #[test]
    fn centres_map_to_centres() {
        let axis = Axis::new(3, 6);
        let at: Vec<f64> = axis
            .neighbours
            .iter()
            .map(|n| n.terms().iter().map(|&(at, weight)| at as f64 * weight).sum())
            .collect();
        assert_eq!(at, [0.0, 0.25, 0.75, 1.25, 1.75, 2.0]);
    }
}
