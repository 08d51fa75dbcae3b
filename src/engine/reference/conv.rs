//! Convolution and its two gradients on plain slices: a few rows of im2col, then a matrix product.
//!
//! Work is cut into bands of output rows whose number does not depend on the thread count, and every sum over bands is made in a fixed order, so results
//! are the same bits for any number of threads. `naive` in the tests is the slow twin.

use rayon::prelude::*;

use super::float::Float;
use crate::graph::Conv2d;

/// The extents of one convolution call. `x` is N×C×H×W, `y` is N×O×OH×OW.
#[derive(Clone, Debug)]
pub(super) struct Extents {
    pub(super) conv: Conv2d,
    pub(super) batch: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// Output columns that one matrix product covers: enough to be efficient, few enough that the column buffer stays in the cache.
const BAND_COLUMNS: usize = 256;

/// Number of partial sums of a weight gradient. Fixed, so that the result does not depend on the thread count.
const WEIGHT_GRADIENT_PARTS: usize = 8;

impl Extents {
    pub(super) fn out_height(&self) -> usize {
        (self.height + 2 * self.conv.padding - self.conv.kernel) / self.conv.stride + 1
    }

    pub(super) fn out_width(&self) -> usize {
        (self.width + 2 * self.conv.padding - self.conv.kernel) / self.conv.stride + 1
    }

    pub(super) fn out_shape(&self) -> [usize; 4] {
        [self.batch, self.conv.out_channels, self.out_height(), self.out_width()]
    }

    fn in_per_group(&self) -> usize {
        self.conv.in_channels / self.conv.groups
    }

    fn out_per_group(&self) -> usize {
        self.conv.out_channels / self.conv.groups
    }

    /// Rows of the column matrix: values that one output value of a group reads.
    fn taps(&self) -> usize {
        self.in_per_group() * self.conv.kernel * self.conv.kernel
    }

    /// Every band of output rows of every image and group, in a fixed order.
    fn bands(&self) -> Vec<Band> {
        let rows = (BAND_COLUMNS / self.out_width().max(1)).max(1);
        let mut bands = Vec::new();
        for image in 0..self.batch {
            for group in 0..self.conv.groups {
                for first in (0..self.out_height()).step_by(rows) {
                    bands.push(Band { image, group, first, rows: rows.min(self.out_height() - first) });
                }
            }
        }
        bands
    }

    /// Whether the column matrix is the input itself.
    fn is_pointwise(&self) -> bool {
        self.conv.kernel == 1 && self.conv.stride == 1 && self.conv.padding == 0
    }

    /// Writes the column matrix of a band: row (c, ky, kx), column (y, x), zeros outside the image.
    fn gather<T: Float>(&self, x: &[T], band: &Band, columns: &mut Vec<T>) {
        let (kernel, stride, padding) = (self.conv.kernel, self.conv.stride, self.conv.padding);
        let (height, width, out_width) = (self.height, self.width, self.out_width());
        columns.clear();
        columns.resize(self.taps() * band.rows * out_width, T::default());
        let first_channel = band.image * self.conv.in_channels + band.group * self.in_per_group();
        let mut rows = columns.chunks_exact_mut(out_width);
        for channel in first_channel..first_channel + self.in_per_group() {
            let plane = &x[channel * height * width..(channel + 1) * height * width];
            for ky in 0..kernel {
                for kx in 0..kernel {
                    for out_y in band.first..band.first + band.rows {
                        let Some(row) = rows.next() else { return };
                        let y = out_y * stride + ky;
                        if y < padding || y - padding >= height {
                            continue;
                        }
                        let line = &plane[(y - padding) * width..(y - padding + 1) * width];
                        if stride == 1 {
                            // Output column `o` reads input column `o + kx - padding`.
                            let from = padding.saturating_sub(kx);
                            let to = (width + padding).saturating_sub(kx).min(out_width);
                            if from < to {
                                let start = from + kx - padding;
                                row[from..to].copy_from_slice(&line[start..start + (to - from)]);
                            }
                        } else {
                            for (out_x, value) in row.iter_mut().enumerate() {
                                let column = out_x * stride + kx;
                                if column >= padding && column - padding < width {
                                    *value = line[column - padding];
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Adds a band's column gradients back to the input gradient: the transpose of [`Extents::gather`].
    fn scatter<T: Float>(&self, columns: &[T], band: &Band, dx: &mut [T]) {
        let (kernel, stride, padding) = (self.conv.kernel, self.conv.stride, self.conv.padding);
        let (height, width, out_width) = (self.height, self.width, self.out_width());
        let first_channel = band.group * self.in_per_group();
        let mut rows = columns.chunks_exact(out_width);
        for channel in first_channel..first_channel + self.in_per_group() {
            for ky in 0..kernel {
                for kx in 0..kernel {
                    for out_y in band.first..band.first + band.rows {
                        let Some(row) = rows.next() else { return };
                        let y = out_y * stride + ky;
                        if y < padding || y - padding >= height {
                            continue;
                        }
                        let start = (channel * height + y - padding) * width;
                        for (out_x, &value) in row.iter().enumerate() {
                            let column = out_x * stride + kx;
                            if column >= padding && column - padding < width {
                                dx[start + column - padding] += value;
                            }
                        }
                    }
                }
            }
        }
    }
}

struct Band {
    image: usize,
    group: usize,
    first: usize,
    rows: usize,
}

/// A matrix in memory: pointer offset is given by the slice, element (r, c) is at `r * row_stride + c * column_stride`.
struct Matrix<'a, T> {
    data: &'a [T],
    row_stride: usize,
    column_stride: usize,
}

/// A matrix to write, as [`Matrix`].
struct MatrixMut<'a, T> {
    data: &'a mut [T],
    row_stride: usize,
    column_stride: usize,
}

/// `out += a · b` for an m×k and a k×n matrix.
fn multiply_add<T: Float>(
    out: MatrixMut<'_, T>,
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    [m, n, k]: [usize; 3],
) {
    let reach = |rows: usize, columns: usize, row_stride: usize, column_stride: usize| {
        (rows.max(1) - 1) * row_stride + (columns.max(1) - 1) * column_stride
    };
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(reach(m, n, out.row_stride, out.column_stride) < out.data.len());
    assert!(reach(m, k, a.row_stride, a.column_stride) < a.data.len());
    assert!(reach(k, n, b.row_stride, b.column_stride) < b.data.len());
    // SAFETY: the assertions above keep every element that `gemm` touches inside the three slices, and `out` is borrowed mutably, so it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data.as_mut_ptr(),
            out.column_stride as isize,
            out.row_stride as isize,
            true,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// `y = x * w + b`.
pub(super) fn forward<T: Float>(extents: &Extents, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let (out_height, out_width) = (extents.out_height(), extents.out_width());
    let (out_per_group, taps) = (extents.out_per_group(), extents.taps());
    let plane = out_height * out_width;
    let mut y = vec![T::default(); extents.batch * extents.conv.out_channels * plane];
    // Each band's result is made in a buffer of its own and copied to its rows; the copy is small beside the product.
    let results: Vec<(Band, Vec<T>)> = extents
        .bands()
        .into_par_iter()
        .map_init(Vec::new, |columns, band| {
            let n = band.rows * out_width;
            let mut out = Vec::with_capacity(out_per_group * n);
            for &value in &bias[band.group * out_per_group..(band.group + 1) * out_per_group] {
                out.resize(out.len() + n, value);
            }
            let b = if extents.is_pointwise() {
                let first_channel =
                    band.image * extents.conv.in_channels + band.group * extents.in_per_group();
                let data = &x[first_channel * plane + band.first * out_width..];
                Matrix { data, row_stride: plane, column_stride: 1 }
            } else {
                extents.gather(x, &band, columns);
                Matrix { data: columns.as_slice(), row_stride: n, column_stride: 1 }
            };
            let a = Matrix {
                data: &weight[band.group * out_per_group * taps..],
                row_stride: taps,
                column_stride: 1,
            };
            multiply_add(
                MatrixMut { data: &mut out, row_stride: n, column_stride: 1 },
                &a,
                &b,
                [out_per_group, n, taps],
            );
            (band, out)
        })
        .collect();
    for (band, out) in &results {
        let n = band.rows * out_width;
        for (index, line) in out.chunks_exact(n).enumerate() {
            let channel = band.image * extents.conv.out_channels + band.group * out_per_group + index;
            let start = channel * plane + band.first * out_width;
            y[start..start + n].copy_from_slice(line);
        }
    }
    y
}

/// The gradient with respect to the input.
pub(super) fn input_gradient<T: Float>(extents: &Extents, weight: &[T], dy: &[T]) -> Vec<T> {
    let conv = &extents.conv;
    if conv.stride == 1 && conv.groups == 1 && conv.padding < conv.kernel {
        // With stride 1 it is the convolution of `dy` with the kernels turned by 180° and the channels exchanged.
        let turned = Conv2d {
            in_channels: conv.out_channels,
            out_channels: conv.in_channels,
            padding: conv.kernel - 1 - conv.padding,
            ..conv.clone()
        };
        let taps = conv.kernel * conv.kernel;
        let mut flipped = vec![T::default(); weight.len()];
        for (index, kernel) in weight.chunks_exact(taps).enumerate() {
            let (out, input) = (index / conv.in_channels, index % conv.in_channels);
            let target = &mut flipped[(input * conv.out_channels + out) * taps..][..taps];
            target.iter_mut().zip(kernel.iter().rev()).for_each(|(to, &from)| *to = from);
        }
        let turned = Extents {
            conv: turned,
            batch: extents.batch,
            height: extents.out_height(),
            width: extents.out_width(),
        };
        return forward(&turned, dy, &flipped, &vec![T::default(); conv.in_channels]);
    }
    let (out_width, plane) = (extents.out_width(), extents.out_height() * extents.out_width());
    let (out_per_group, taps) = (extents.out_per_group(), extents.taps());
    let image = conv.in_channels * extents.height * extents.width;
    let bands = extents.bands();
    let mut dx = vec![T::default(); extents.batch * image];
    dx.par_chunks_mut(image.max(1)).enumerate().for_each(|(index, dx)| {
        for band in bands.iter().filter(|band| band.image == index) {
            let n = band.rows * out_width;
            let mut columns = vec![T::default(); taps * n];
            let a = Matrix {
                data: &weight[band.group * out_per_group * taps..],
                row_stride: 1,
                column_stride: taps,
            };
            let first_channel = index * conv.out_channels + band.group * out_per_group;
            let data = &dy[first_channel * plane + band.first * out_width..];
            let b = Matrix { data, row_stride: plane, column_stride: 1 };
            multiply_add(
                MatrixMut { data: &mut columns, row_stride: n, column_stride: 1 },
                &a,
                &b,
                [taps, n, out_per_group],
            );
            extents.scatter(&columns, band, dx);
        }
    });
    dx
}

/// The gradient with respect to the weight.
pub(super) fn weight_gradient<T: Float>(extents: &Extents, x: &[T], dy: &[T]) -> Vec<T> {
    let (out_width, plane) = (extents.out_width(), extents.out_height() * extents.out_width());
    let (out_per_group, taps) = (extents.out_per_group(), extents.taps());
    let size = extents.conv.out_channels * taps;
    let bands = extents.bands();
    let part_length = bands.len().div_ceil(WEIGHT_GRADIENT_PARTS).max(1);
    let parts: Vec<Vec<T>> = bands
        .par_chunks(part_length)
        .map(|bands| {
            let (mut columns, mut dw) = (Vec::new(), vec![T::default(); size]);
            for band in bands {
                let n = band.rows * out_width;
                extents.gather(x, band, &mut columns);
                let first_channel = band.image * extents.conv.out_channels + band.group * out_per_group;
                let data = &dy[first_channel * plane + band.first * out_width..];
                let a = Matrix { data, row_stride: plane, column_stride: 1 };
                let b = Matrix { data: columns.as_slice(), row_stride: 1, column_stride: n };
                let group = &mut dw[band.group * out_per_group * taps..][..out_per_group * taps];
                multiply_add(
                    MatrixMut { data: group, row_stride: taps, column_stride: 1 },
                    &a,
                    &b,
                    [out_per_group, taps, n],
                );
            }
            dw
        })
        .collect();
    let mut sum = vec![T::default(); size];
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    sum
}

/// The gradient with respect to the bias, summed in f64; `dy` is `batch` × `channels` planes of `plane` values.
pub(super) fn bias_gradient<T: Float>([batch, channels, plane]: [usize; 3], dy: &[T]) -> Vec<T> {
    (0..channels)
        .into_par_iter()
        .map(|channel| {
            let sum_of = |image: usize| {
                let start = (image * channels + channel) * plane;
                dy[start..start + plane].iter().map(|value| value.wide()).sum::<f64>()
            };
            T::of((0..batch).map(sum_of).sum())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Convolution by its definition.
    fn naive(e: &Extents, x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
        let (c, g) = (&e.conv, e.conv.groups);
        let mut y = Vec::new();
        for n in 0..e.batch {
            for o in 0..c.out_channels {
                for oy in 0..e.out_height() {
                    for ox in 0..e.out_width() {
                        let mut sum = b[o];
                        for i in 0..c.in_channels / g {
                            let channel = o / (c.out_channels / g) * (c.in_channels / g) + i;
                            for ky in 0..c.kernel {
                                for kx in 0..c.kernel {
                                    let iy = (oy * c.stride + ky) as isize - c.padding as isize;
                                    let ix = (ox * c.stride + kx) as isize - c.padding as isize;
                                    if iy < 0 || ix < 0 || iy >= e.height as isize || ix >= e.width as isize {
                                        continue;
                                    }
                                    let at = ((n * c.in_channels + channel) * e.height + iy as usize)
                                        * e.width
                                        + ix as usize;
                                    sum += x[at]
                                        * w[((o * (c.in_channels / g) + i) * c.kernel + ky) * c.kernel + kx];
                                }
                            }
                        }
                        y.push(sum);
                    }
                }
            }
        }
        y
    }

    fn numbers(count: usize, seed: u64) -> Vec<f64> {
        let mut random = crate::random::Random::new(&[seed]);
        (0..count).map(|_| random.uniform() * 2.0 - 1.0).collect()
    }

    fn cases() -> Vec<Extents> {
        let mut cases = Vec::new();
        for (in_channels, out_channels, kernel, stride, padding, groups) in [
            (3, 5, 3, 1, 1, 1),
            (4, 2, 1, 1, 0, 1),
            (4, 6, 3, 2, 0, 2),
            (6, 6, 3, 1, 1, 6),
            (2, 3, 5, 1, 2, 1),
            (2, 3, 3, 3, 2, 1),
            (2, 2, 1, 2, 0, 1),
        ] {
            let conv = Conv2d { in_channels, out_channels, kernel, stride, padding, groups, bias: true };
            for (batch, height, width) in [(1, 7, 5), (2, 9, 130), (1, 5, 300)] {
                cases.push(Extents { conv: conv.clone(), batch, height, width });
            }
        }
        cases
    }

    fn close(a: &[f64], b: &[f64]) {
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= 1e-11 * (1.0 + b.abs()), "{a} and {b}");
        }
    }

    #[test]
    fn forward_is_the_definition() {
        for e in cases() {
            let x = numbers(e.batch * e.conv.in_channels * e.height * e.width, 1);
            let w = numbers(e.conv.weight_shape().iter().product(), 2);
            let b = numbers(e.conv.out_channels, 3);
            close(&forward(&e, &x, &w, &b), &naive(&e, &x, &w, &b));
        }
    }

    /// The gradients are the transposes of a linear map: <dy, A·v> = <Aᵀ·dy, v> for each argument in turn.
    #[test]
    fn gradients_are_the_transposed_maps() {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for e in cases() {
            let x = numbers(e.batch * e.conv.in_channels * e.height * e.width, 4);
            let w = numbers(e.conv.weight_shape().iter().product(), 5);
            let b = numbers(e.conv.out_channels, 6);
            let zeros = vec![0.0; b.len()];
            let dy = numbers(e.out_shape().iter().product(), 7);
            let y = naive(&e, &x, &w, &zeros);
            let expected = dot(&dy, &y);
            let tolerance = 1e-9 * (1.0 + expected.abs());
            assert!((dot(&input_gradient(&e, &w, &dy), &x) - expected).abs() < tolerance, "{e:?}");
            assert!((dot(&weight_gradient(&e, &x, &dy), &w) - expected).abs() < tolerance, "{e:?}");
            let bias_only = naive(&e, &vec![0.0; x.len()], &w, &b);
            let [batch, channels, height, width] = e.out_shape();
            let found = bias_gradient([batch, channels, height * width], &dy);
            assert!((dot(&found, &b) - dot(&dy, &bias_only)).abs() < 1e-9, "{e:?}");
        }
    }

    #[test]
    fn the_thread_count_does_not_change_a_bit() {
        let e = &cases()[1];
        let x: Vec<f32> = numbers(e.batch * 3 * e.height * e.width, 8).iter().map(|&v| v as f32).collect();
        let w: Vec<f32> = numbers(5 * 27, 9).iter().map(|&v| v as f32).collect();
        let dy: Vec<f32> = numbers(e.out_shape().iter().product(), 10).iter().map(|&v| v as f32).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                (forward(e, &x, &w, &[0.0; 5]), input_gradient(e, &w, &dy), weight_gradient(e, &x, &dy))
            })
        };
        assert_eq!(run(1), run(3));
    }
}
