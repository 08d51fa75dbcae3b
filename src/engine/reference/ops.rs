//! candle operations of our own, with gradients as PyTorch defines them.
//!
//! Each gradient is a function of its own, which both candle's autograd and the graph of a training step call.
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

fn extents(conv: &Conv2d, [batch, channels, height, width]: [usize; 4]) -> Result<Extents> {
    if channels != conv.in_channels {
        bail!("a convolution of {} channels got {channels}", conv.in_channels);
    }
    if height + 2 * conv.padding < conv.kernel || width + 2 * conv.padding < conv.kernel {
        bail!("a {width}x{height} value is smaller than the {k}x{k} kernel", k = conv.kernel);
    }
    Ok(Extents { conv: conv.clone(), batch, height, width })
}

/// The extents of the convolution that read a value of the shape of `x` and whose output has the gradient `dy`.
fn extents_of(conv: &Conv2d, x: &Tensor, dy: &Tensor) -> Result<Extents> {
    let extents = extents(conv, x.dims4()?.into())?;
    if dy.dims() != extents.out_shape() {
        bail!("the gradient of a convolution has shape {:?}, its value {:?}", dy.dims(), extents.out_shape());
    }
    Ok(extents)
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
        let extents = extents(&self.conv, dims4(x_layout)?)?;
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
        _bias: &Tensor,
        _result: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        // Three functions read it; a range of channels would otherwise be copied by each.
        let dy = &dy.contiguous()?;
        // The image itself needs no gradient, which saves the head's input gradient.
        let dx = match x.track_op() {
            true => Some(conv2d_input_gradient::<T>(dy, x, &self.conv, weight)?),
            false => None,
        };
        let dw = conv2d_weight_gradient::<T>(x, dy, &self.conv)?;
        Ok((dx, Some(dw), Some(conv2d_bias_gradient::<T>(dy)?)))
    }
}

/// Convolution with bias.
pub(super) fn conv2d<T: Float>(x: &Tensor, conv: &Conv2d, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let op = ConvOp::<T> { conv: conv.clone(), number: PhantomData };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

/// The gradient with respect to the input of a convolution, which has the shape of `like`.
pub(super) fn conv2d_input_gradient<T: Float>(
    dy: &Tensor,
    like: &Tensor,
    conv: &Conv2d,
    weight: &Tensor,
) -> Result<Tensor> {
    let extents = extents_of(conv, like, dy)?;
    let dx = with_values::<T, _>(dy, |dy| {
        with_values::<T, _>(weight, |weight| Ok(conv::input_gradient(&extents, weight, dy)))
    })?;
    tensor_like(dx, like)
}

/// The gradient with respect to the weight of a convolution that read `x`, OIHW.
pub(super) fn conv2d_weight_gradient<T: Float>(x: &Tensor, dy: &Tensor, conv: &Conv2d) -> Result<Tensor> {
    let extents = extents_of(conv, x, dy)?;
    let dw =
        with_values::<T, _>(x, |x| with_values::<T, _>(dy, |dy| Ok(conv::weight_gradient(&extents, x, dy))))?;
    Tensor::from_vec(dw, &conv.weight_shape(), x.device())
}

/// The gradient with respect to the bias of a convolution, one value per channel.
pub(super) fn conv2d_bias_gradient<T: Float>(dy: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = dy.dims4()?;
    let db = with_values::<T, _>(dy, |dy| Ok(conv::bias_gradient([batch, channels, height * width], dy)))?;
    Tensor::from_vec(db, channels, dy.device())
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
        Ok(Some(leaky_relu_gradient::<T>(dy, x, self.slope)?))
    }
}

/// `dy` where `signs` is positive, `slope * dy` elsewhere: PyTorch's gradient at zero is the slope.
pub(super) fn leaky_relu_gradient<T: Float>(dy: &Tensor, signs: &Tensor, slope: f32) -> Result<Tensor> {
    let (slope, zero) = (T::of(f64::from(slope)), T::default());
    let dx = with_values::<T, _>(signs, |signs| {
        with_values::<T, _>(dy, |dy| {
            Ok(signs.iter().zip(dy).map(|(&sign, &dy)| if sign > zero { dy } else { dy * slope }).collect())
        })
    })?;
    tensor_like::<T>(dx, signs)
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

/// The position in `x` of each output's maximum, the first in row order where several are equal, as PyTorch chooses; and the output's shape.
fn maxima<T: Float>(
    x: &[T],
    [n, c, h, w]: [usize; 4],
    kernel: usize,
    stride: usize,
) -> Result<(Vec<usize>, [usize; 4])> {
    if h < kernel || w < kernel {
        bail!("a {w}x{h} value is smaller than the {k}x{k} window", k = kernel);
    }
    let (out_h, out_w) = ((h - kernel) / stride + 1, (w - kernel) / stride + 1);
    let mut positions = Vec::with_capacity(n * c * out_h * out_w);
    for plane in 0..n * c {
        for out_y in 0..out_h {
            for out_x in 0..out_w {
                let corner = (plane * h + out_y * stride) * w + out_x * stride;
                let mut best = corner;
                for y in 0..kernel {
                    for at in corner + y * w..corner + y * w + kernel {
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

impl<T: Float> CustomOp1 for MaxPoolOp<T> {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values::<T>(x, layout)?;
        let (positions, shape) = maxima(x, dims4(layout)?, self.kernel, self.stride)?;
        let y = positions.iter().map(|&at| x[at]).collect();
        Ok((T::to_cpu_storage_owned(y), Shape::from(&shape)))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(max_pool_gradient::<T>(dy, x, self.kernel, self.stride)?))
    }
}

/// Adds each value of `dy` to its window's maximum in `x`.
pub(super) fn max_pool_gradient<T: Float>(
    dy: &Tensor,
    x: &Tensor,
    kernel: usize,
    stride: usize,
) -> Result<Tensor> {
    let dx = with_values::<T, _>(x, |values| {
        let (positions, shape) = maxima(values, x.dims4()?.into(), kernel, stride)?;
        if dy.dims() != shape {
            bail!("the gradient of a pooled value has shape {:?}, the value {shape:?}", dy.dims());
        }
        let mut dx = vec![T::default(); values.len()];
        with_values::<T, _>(dy, |dy| {
            positions.iter().zip(dy).for_each(|(&at, &dy)| dx[at] += dy);
            Ok(())
        })?;
        Ok(dx)
    })?;
    tensor_like(dx, x)
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

/// Calls `f(output position, input position, weight)` for the four terms of every output value of a resize to `height` × `width`.
fn for_each_term<T: Float>(
    [n, c, h, w]: [usize; 4],
    [height, width]: [usize; 2],
    mut f: impl FnMut(usize, usize, T),
) {
    let (rows, columns) = (neighbours(h, height), neighbours(w, width));
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

impl<T: Float> CustomOp1 for ResizeBilinearOp<T> {
    fn name(&self) -> &'static str {
        "resize_bilinear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values::<T>(x, layout)?;
        let [n, c, h, w] = dims4(layout)?;
        let mut y = vec![T::default(); n * c * self.height * self.width];
        let to = [self.height, self.width];
        for_each_term([n, c, h, w], to, |out, at, weight: T| y[out] += weight * x[at]);
        Ok((T::to_cpu_storage_owned(y), Shape::from(&[n, c, self.height, self.width])))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(resize_bilinear_gradient::<T>(dy, x)?))
    }
}

/// The gradient with respect to the input of a resize, which has the shape of `like`.
pub(super) fn resize_bilinear_gradient<T: Float>(dy: &Tensor, like: &Tensor) -> Result<Tensor> {
    let (n, c, height, width) = dy.dims4()?;
    let from: [usize; 4] = like.dims4()?.into();
    if from[..2] != [n, c] {
        bail!("the gradient of a resized value of shape {from:?} has shape {:?}", dy.dims());
    }
    let mut dx = vec![T::default(); like.elem_count()];
    with_values::<T, _>(dy, |dy| {
        for_each_term(from, [height, width], |out, at, weight: T| dx[at] += weight * dy[out]);
        Ok(())
    })?;
    tensor_like(dx, like)
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
        let d_loss = with_values::<T, _>(d_loss, |d| Ok(d.first().map_or(0.0, |d| d.wide())))?;
        Ok((Some(l1_loss_gradient::<T>(sr, hr, d_loss)?), None))
    }
}

/// `d_loss * sign(sr - hr) / count`.
pub(super) fn l1_loss_gradient<T: Float>(sr: &Tensor, hr: &Tensor, d_loss: f64) -> Result<Tensor> {
    let scale = d_loss / sr.elem_count() as f64;
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
    tensor_like::<T>(d_sr, sr)
}

/// Mean absolute difference over all values.
pub(super) fn l1_loss<T: Float>(sr: &Tensor, hr: &Tensor) -> Result<Tensor> {
    sr.contiguous()?.apply_op2(&hr.contiguous()?, L1Op::<T>(PhantomData))
}
