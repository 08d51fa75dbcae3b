//! candle operations of our own, with gradients as PyTorch defines them.
//!
//! candle's convolution gradients are many times slower than a matrix product, its LeakyReLU has another gradient at zero, and its pooling and resizing
//! have no gradient for these parameters. Everything else (sums, products, channel ranges, pixel shuffle) is candle's own.

use std::marker::PhantomData;

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail,
};

use super::conv::{self, Extents};
use super::float::Float;
use crate::graph::Conv2d;

/// The values of a contiguous CPU storage.
fn values<'a, T: Float>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a custom operation got a strided tensor")
    };
    Ok(&storage.as_slice::<T>()?[start..end])
}

/// Lets `f` read the values of a tensor on the CPU.
pub(super) fn with_values<T: Float, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(values(storage, layout)?),
        _ => bail!("the reference engine computes on the CPU only"),
    }
}

fn tensor_like<T: Float>(values: Vec<T>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

fn dims4(layout: &Layout) -> Result<[usize; 4]> {
    let (n, c, h, w) = layout.shape().dims4()?;
    Ok([n, c, h, w])
}

struct ConvOp<T> {
    conv: Conv2d,
    number: PhantomData<T>,
}

impl<T: Float> ConvOp<T> {
    fn extents(&self, [batch, channels, height, width]: [usize; 4]) -> Result<Extents> {
        if channels != self.conv.in_channels {
            bail!("a convolution of {} channels got {channels}", self.conv.in_channels);
        }
        if height + 2 * self.conv.padding < self.conv.kernel
            || width + 2 * self.conv.padding < self.conv.kernel
        {
            bail!("a {width}x{height} value is smaller than the {k}x{k} kernel", k = self.conv.kernel);
        }
        Ok(Extents { conv: self.conv.clone(), batch, height, width })
    }
}

impl<T: Float> CustomOp3 for ConvOp<T> {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let extents = self.extents(dims4(x_layout)?)?;
        let (x, weight) = (values::<T>(x, x_layout)?, values::<T>(weight, weight_layout)?);
        let bias = values::<T>(bias, bias_layout)?;
        if weight.len() != self.conv.weight_shape().iter().product::<usize>()
            || bias.len() != self.conv.out_channels
        {
            bail!("the weights do not have the convolution's shape {:?}", self.conv.weight_shape());
        }
        let y = conv::forward(&extents, x, weight, bias);
        Ok((T::to_cpu_storage_owned(y), Shape::from(&extents.out_shape())))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (n, c, h, w) = x.dims4()?;
        let extents = self.extents([n, c, h, w])?;
        with_values::<T, _>(dy, |dy_values| {
            // The image itself needs no gradient, which saves the head's input gradient.
            let dx = match x.track_op() {
                true => {
                    let dx = with_values::<T, _>(weight, |weight| {
                        Ok(conv::input_gradient(&extents, weight, dy_values))
                    })?;
                    Some(tensor_like(dx, x)?)
                }
                false => None,
            };
            let dw = with_values::<T, _>(x, |x| Ok(conv::weight_gradient(&extents, x, dy_values)))?;
            let db = conv::bias_gradient(&extents, dy_values);
            Ok((dx, Some(tensor_like(dw, weight)?), Some(tensor_like(db, bias)?)))
        })
    }
}

/// Convolution with bias.
pub(super) fn conv2d<T: Float>(x: &Tensor, conv: &Conv2d, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let op = ConvOp::<T> { conv: conv.clone(), number: PhantomData };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

struct LeakyReluOp<T> {
    slope: f32,
    number: PhantomData<T>,
}

impl<T: Float> CustomOp1 for LeakyReluOp<T> {
    fn name(&self) -> &'static str {
        "leaky_relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let slope = T::of(f64::from(self.slope));
        let zero = T::default();
        let y = values::<T>(x, layout)?.iter().map(|&x| if x > zero { x } else { x * slope }).collect();
        Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (slope, zero) = (T::of(f64::from(self.slope)), T::default());
        // PyTorch's gradient at zero is the slope.
        let dx = with_values::<T, _>(x, |x| {
            with_values::<T, _>(dy, |dy| {
                Ok(x.iter().zip(dy).map(|(&x, &dy)| if x > zero { dy } else { dy * slope }).collect())
            })
        })?;
        Ok(Some(tensor_like::<T>(dx, x)?))
    }
}

/// LeakyReLU; ReLU is the case `slope == 0`.
pub(super) fn leaky_relu<T: Float>(x: &Tensor, slope: f32) -> Result<Tensor> {
    x.contiguous()?.apply_op1(LeakyReluOp::<T> { slope, number: PhantomData })
}

struct MaxPoolOp<T> {
    kernel: usize,
    stride: usize,
    number: PhantomData<T>,
}

impl<T: Float> MaxPoolOp<T> {
    /// The position in `x` of each output's maximum: the first in row order where several are equal, as PyTorch chooses.
    fn positions(&self, x: &[T], [n, c, h, w]: [usize; 4]) -> Result<(Vec<usize>, [usize; 4])> {
        if h < self.kernel || w < self.kernel {
            bail!("a {w}x{h} value is smaller than the {k}x{k} window", k = self.kernel);
        }
        let (out_h, out_w) = ((h - self.kernel) / self.stride + 1, (w - self.kernel) / self.stride + 1);
        let mut positions = Vec::with_capacity(n * c * out_h * out_w);
        for plane in 0..n * c {
            for out_y in 0..out_h {
                for out_x in 0..out_w {
                    let corner = (plane * h + out_y * self.stride) * w + out_x * self.stride;
                    let mut best = corner;
                    for y in 0..self.kernel {
                        for at in corner + y * w..corner + y * w + self.kernel {
                            if x[at] > x[best] {
                                best = at;
                            }
                        }
                    }
                    positions.push(best);
                }
            }
        }
        Ok((positions, [n, c, out_h, out_w]))
    }
}

impl<T: Float> CustomOp1 for MaxPoolOp<T> {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values::<T>(x, layout)?;
        let (positions, shape) = self.positions(x, dims4(layout)?)?;
        let y = positions.iter().map(|&at| x[at]).collect();
        Ok((T::to_cpu_storage_owned(y), Shape::from(&shape)))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (n, c, h, w) = x.dims4()?;
        let dx = with_values::<T, _>(x, |x| {
            let (positions, _) = self.positions(x, [n, c, h, w])?;
            let mut dx = vec![T::default(); x.len()];
            with_values::<T, _>(dy, |dy| {
                positions.iter().zip(dy).for_each(|(&at, &dy)| dx[at] += dy);
                Ok(())
            })?;
            Ok(dx)
        })?;
        Ok(Some(tensor_like(dx, x)?))
    }
}

/// Maximum over square windows, no padding.
pub(super) fn max_pool<T: Float>(x: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    x.contiguous()?.apply_op1(MaxPoolOp::<T> { kernel, stride, number: PhantomData })
}

struct ResizeBilinearOp<T> {
    height: usize,
    width: usize,
    number: PhantomData<T>,
}

/// One output position of a bilinear resize along one axis: two neighbours and their weights.
struct Neighbours {
    near: usize,
    far: usize,
    near_weight: f64,
    far_weight: f64,
}

/// PyTorch's `align_corners=False`: pixel centres map to pixel centres, positions before the first centre are clamped to it.
fn neighbours(from: usize, to: usize) -> Vec<Neighbours> {
    let scale = from as f64 / to as f64;
    (0..to)
        .map(|out| {
            let position = ((out as f64 + 0.5) * scale - 0.5).max(0.0);
            let near = (position as usize).min(from - 1);
            let far_weight = position - near as f64;
            Neighbours { near, far: (near + 1).min(from - 1), near_weight: 1.0 - far_weight, far_weight }
        })
        .collect()
}

impl<T: Float> ResizeBilinearOp<T> {
    /// Calls `f(output position, input position, weight)` for the four terms of every output value.
    fn for_each_term(&self, [n, c, h, w]: [usize; 4], mut f: impl FnMut(usize, usize, T)) {
        let (rows, columns) = (neighbours(h, self.height), neighbours(w, self.width));
        let mut out = 0;
        for plane in 0..n * c {
            for row in &rows {
                for column in &columns {
                    for (y, wy) in [(row.near, row.near_weight), (row.far, row.far_weight)] {
                        let line = (plane * h + y) * w;
                        f(out, line + column.near, T::of(wy * column.near_weight));
                        f(out, line + column.far, T::of(wy * column.far_weight));
                    }
                    out += 1;
                }
            }
        }
    }
}

impl<T: Float> CustomOp1 for ResizeBilinearOp<T> {
    fn name(&self) -> &'static str {
        "resize_bilinear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values::<T>(x, layout)?;
        let [n, c, h, w] = dims4(layout)?;
        let mut y = vec![T::default(); n * c * self.height * self.width];
        self.for_each_term([n, c, h, w], |out, at, weight| y[out] += weight * x[at]);
        Ok((T::to_cpu_storage_owned(y), Shape::from(&[n, c, self.height, self.width])))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (n, c, h, w) = x.dims4()?;
        let mut dx = vec![T::default(); x.elem_count()];
        with_values::<T, _>(dy, |dy| {
            self.for_each_term([n, c, h, w], |out, at, weight| dx[at] += weight * dy[out]);
            Ok(())
        })?;
        Ok(Some(tensor_like(dx, x)?))
    }
}

/// Bilinear resize to `height` × `width`.
pub(super) fn resize_bilinear<T: Float>(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    x.contiguous()?.apply_op1(ResizeBilinearOp::<T> { height, width, number: PhantomData })
}

struct L1Op<T>(PhantomData<T>);

impl<T: Float> CustomOp2 for L1Op<T> {
    fn name(&self) -> &'static str {
        "l1_loss"
    }

    fn cpu_fwd(
        &self,
        sr: &CpuStorage,
        sr_layout: &Layout,
        hr: &CpuStorage,
        hr_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (sr, hr) = (values::<T>(sr, sr_layout)?, values::<T>(hr, hr_layout)?);
        if sr.len() != hr.len() {
            bail!("L1 of {} and {} values", sr.len(), hr.len());
        }
        // Summed in f64: the mean of a million f32 terms would otherwise lose half its digits.
        let sum: f64 = sr.iter().zip(hr).map(|(&sr, &hr)| (sr.wide() - hr.wide()).abs()).sum();
        Ok((T::to_cpu_storage_owned(vec![T::of(sum / sr.len() as f64)]), Shape::from(())))
    }

    fn bwd(
        &self,
        sr: &Tensor,
        hr: &Tensor,
        _loss: &Tensor,
        d_loss: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let scale = with_values::<T, _>(d_loss, |d| Ok(d.first().map_or(0.0, |d| d.wide())))?
            / sr.elem_count() as f64;
        let (up, down) = (T::of(scale), T::of(-scale));
        let d_sr = with_values::<T, _>(sr, |sr| {
            with_values::<T, _>(hr, |hr| {
                let sign = |(&sr, &hr): (&T, &T)| match sr.partial_cmp(&hr) {
                    Some(std::cmp::Ordering::Greater) => up,
                    Some(std::cmp::Ordering::Less) => down,
                    // As PyTorch: the gradient at zero is zero; a value that is not a number has none either.
                    _ => T::default(),
                };
                Ok(sr.iter().zip(hr).map(sign).collect())
            })
        })?;
        Ok((Some(tensor_like::<T>(d_sr, sr)?), None))
    }
}

/// Mean absolute difference over all values.
pub(super) fn l1_loss<T: Float>(sr: &Tensor, hr: &Tensor) -> Result<Tensor> {
    sr.contiguous()?.apply_op2(&hr.contiguous()?, L1Op::<T>(PhantomData))
}
