//! Folding linear branches into one convolution, and carrying gradients back.
//!
//! A [`Fold`] says how the weight and bias of a collapsed convolution follow from the weights of the expanded one. It is evaluated in f32 or f64,
//! and its [`Fold::backward`] is the transposed (for chains: linearised) map, so that a model can train on the collapsed graph with the same
//! gradients as the expanded one. Plain loops: the arrays are small.

use std::collections::BTreeMap;

use super::Conv2d;
use crate::array::Array;

/// A real number type in which weights are folded.
pub trait Real:
    Copy + Default + std::ops::Add<Output = Self> + std::ops::Mul<Output = Self> + std::ops::AddAssign
{
    /// The number one.
    const ONE: Self;
}

impl Real for f32 {
    const ONE: Self = 1.0;
}

impl Real for f64 {
    const ONE: Self = 1.0;
}

/// Named arrays: weights, or gradients of them.
pub type Named<T> = BTreeMap<String, Array<T>>;

/// The values of named arrays, wherever they lie.
pub type Slices<'a> = BTreeMap<&'a str, &'a [f32]>;

/// The same, for writing.
pub type SlicesMut<'a> = BTreeMap<&'a str, &'a mut [f32]>;

/// A convolution's weight (OIHW, square odd kernel) and its bias, if it has one.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear<T> {
    /// OIHW.
    pub weight: Array<T>,
    /// One value per output channel.
    pub bias: Option<Array<T>>,
}

/// A weight that the fold needs is not there, or has another shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot fold: tensor `{key}` should have shape {expected:?}, {found}")]
pub struct FoldError {
    /// The tensor.
    pub key: String,
    /// The shape the graph gives it.
    pub expected: Vec<usize>,
    /// "but is missing" or "but has shape …".
    pub found: String,
}

/// How one collapsed convolution is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Fold {
    /// A convolution of the expanded graph as it is.
    Conv {
        /// The path of its weights.
        name: String,
        /// Its form.
        conv: Conv2d,
    },
    /// The value itself: the convolution with a single one in the middle.
    Identity {
        /// Channels in and out.
        channels: usize,
    },
    /// Branches that read one value and are summed. Smaller kernels sit in the middle of the largest.
    Sum(Vec<Fold>),
    /// A convolution, then a 1×1 convolution of its output: exact including borders, because a 1×1 needs no padding.
    Chain {
        /// Works on the input.
        first: Box<Fold>,
        /// A 1×1 convolution of its result.
        then: Box<Fold>,
    },
}

impl Fold {
    /// Side of the folded kernel in pixels.
    pub fn kernel(&self) -> usize {
        match self {
            Self::Conv { conv, .. } => conv.kernel,
            Self::Identity { .. } => 1,
            Self::Sum(branches) => branches.iter().map(Self::kernel).max().unwrap_or(1),
            Self::Chain { first, .. } => first.kernel(),
        }
    }

    /// Input channels.
    pub fn in_channels(&self) -> usize {
        match self {
            Self::Conv { conv, .. } => conv.in_channels,
            Self::Identity { channels } => *channels,
            Self::Sum(branches) => branches.first().map_or(0, Self::in_channels),
            Self::Chain { first, .. } => first.in_channels(),
        }
    }

    /// Output channels.
    pub fn out_channels(&self) -> usize {
        match self {
            Self::Conv { conv, .. } => conv.out_channels,
            Self::Identity { channels } => *channels,
            Self::Sum(branches) => branches.first().map_or(0, Self::out_channels),
            Self::Chain { then, .. } => then.out_channels(),
        }
    }

    /// Whether the folded convolution has a bias.
    pub fn has_bias(&self) -> bool {
        match self {
            Self::Conv { conv, .. } => conv.bias,
            Self::Identity { .. } => false,
            Self::Sum(branches) => branches.iter().any(Self::has_bias),
            Self::Chain { first, then } => first.has_bias() || then.has_bias(),
        }
    }

    /// The path of the widest convolution, the first if several are equally wide: the folded one takes its name.
    pub fn main_name(&self) -> Option<&str> {
        match self {
            Self::Conv { name, .. } => Some(name),
            Self::Identity { .. } => None,
            Self::Sum(branches) => {
                let widest =
                    branches.iter().filter(|branch| branch.main_name().is_some()).map(Self::kernel).max()?;
                branches.iter().find_map(|branch| branch.main_name().filter(|_| branch.kernel() == widest))
            }
            Self::Chain { first, then } => first.main_name().or_else(|| then.main_name()),
        }
    }

    /// The folded convolution's form.
    pub fn conv(&self) -> Conv2d {
        let kernel = self.kernel();
        Conv2d {
            in_channels: self.in_channels(),
            out_channels: self.out_channels(),
            kernel,
            stride: 1,
            padding: kernel / 2,
            groups: 1,
            bias: self.has_bias(),
        }
    }

    /// Whether there is nothing to fold.
    pub fn is_trivial(&self) -> bool {
        matches!(self, Self::Conv { .. })
    }

    /// The branches of a sum of nothing but convolutions and identities.
    pub fn plain_branches(&self) -> Option<&[Self]> {
        let plain = |branch: &Self| matches!(branch, Self::Conv { .. } | Self::Identity { .. });
        match self {
            Self::Sum(branches) if branches.iter().all(plain) => Some(branches),
            _ => None,
        }
    }

    /// The folded weight and bias.
    ///
    /// # Errors
    /// [`FoldError`] when a tensor is missing or has the wrong shape.
    pub fn evaluate<T: Real>(&self, params: &Named<T>) -> Result<Linear<T>, FoldError> {
        match self {
            Self::Conv { name, conv } => {
                let weight = lookup(params, &format!("{name}.weight"), &conv.weight_shape())?.clone();
                let bias = match conv.bias {
                    true => Some(lookup(params, &format!("{name}.bias"), &[conv.out_channels])?.clone()),
                    false => None,
                };
                Ok(Linear { weight, bias })
            }
            Self::Identity { channels } => {
                let mut weight = Array::filled([*channels, *channels, 1, 1], T::default());
                for channel in 0..*channels {
                    weight.data_mut()[channel * channels + channel] = T::ONE;
                }
                Ok(Linear { weight, bias: None })
            }
            Self::Sum(branches) => {
                let mut sum = self.zeros::<T>();
                for branch in branches {
                    let part = branch.evaluate(params)?;
                    add_centred(&mut sum.weight, &part.weight);
                    if let (Some(bias), Some(part)) = (&mut sum.bias, &part.bias) {
                        add(bias, part);
                    }
                }
                Ok(sum)
            }
            Self::Chain { first, then } => {
                let (inner, outer) = (first.evaluate(params)?, then.evaluate(params)?);
                let mut product = self.zeros::<T>();
                let (middle, taps) = (first.out_channels(), inner.weight.len() / first.out_channels().max(1));
                for out in 0..then.out_channels() {
                    for mid in 0..middle {
                        let factor = outer.weight.data()[out * middle + mid];
                        let row = &inner.weight.data()[mid * taps..(mid + 1) * taps];
                        let sum = &mut product.weight.data_mut()[out * taps..(out + 1) * taps];
                        sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += factor * value);
                        if let (Some(bias), Some(inner)) = (&mut product.bias, &inner.bias) {
                            bias.data_mut()[out] += factor * inner.data()[mid];
                        }
                    }
                }
                if let (Some(bias), Some(outer)) = (&mut product.bias, &outer.bias) {
                    add(bias, outer);
                }
                Ok(product)
            }
        }
    }

    /// Adds to `grads` the gradients of the expanded tensors, given the folded convolution's gradient.
    ///
    /// `params` are the values at which [`Fold::evaluate`] was called; chains need them, since a product's derivative does.
    ///
    /// # Errors
    /// [`FoldError`] as for [`Fold::evaluate`].
    pub fn backward<T: Real>(
        &self,
        params: &Named<T>,
        grad: &Linear<T>,
        grads: &mut Named<T>,
    ) -> Result<(), FoldError> {
        match self {
            Self::Conv { name, conv } => {
                accumulate(grads, format!("{name}.weight"), &grad.weight);
                if let (true, Some(bias)) = (conv.bias, &grad.bias) {
                    accumulate(grads, format!("{name}.bias"), bias);
                }
                Ok(())
            }
            Self::Identity { .. } => Ok(()),
            Self::Sum(branches) => {
                for branch in branches {
                    let weight = centre(&grad.weight, branch.kernel());
                    let bias = grad.bias.clone().filter(|_| branch.has_bias());
                    branch.backward(params, &Linear { weight, bias }, grads)?;
                }
                Ok(())
            }
            Self::Chain { first, then } => {
                let (inner, outer) = (first.evaluate(params)?, then.evaluate(params)?);
                let (mut d_inner, mut d_outer) = (first.zeros::<T>(), then.zeros::<T>());
                let (middle, taps) = (first.out_channels(), inner.weight.len() / first.out_channels().max(1));
                for out in 0..then.out_channels() {
                    let d_row = &grad.weight.data()[out * taps..(out + 1) * taps];
                    let d_bias = grad.bias.as_ref().map(|bias| bias.data()[out]);
                    for mid in 0..middle {
                        let factor = outer.weight.data()[out * middle + mid];
                        let range = mid * taps..(mid + 1) * taps;
                        let mut d_factor = T::default();
                        for (&d, &value) in d_row.iter().zip(&inner.weight.data()[range.clone()]) {
                            d_factor += d * value;
                        }
                        for (d_value, &d) in d_inner.weight.data_mut()[range].iter_mut().zip(d_row) {
                            *d_value += factor * d;
                        }
                        if let (Some(d), Some(bias), Some(d_value)) = (d_bias, &inner.bias, &mut d_inner.bias)
                        {
                            d_factor += d * bias.data()[mid];
                            d_value.data_mut()[mid] += factor * d;
                        }
                        d_outer.weight.data_mut()[out * middle + mid] += d_factor;
                    }
                    if let (Some(d), Some(d_value)) = (d_bias, &mut d_outer.bias) {
                        d_value.data_mut()[out] += d;
                    }
                }
                first.backward(params, &d_inner, grads)?;
                then.backward(params, &d_outer, grads)
            }
        }
    }

    /// A weight and a bias of the folded convolution's shape, all zeros.
    pub(super) fn zeros<T: Real>(&self) -> Linear<T> {
        let conv = self.conv();
        Linear {
            weight: Array::filled(conv.weight_shape(), T::default()),
            bias: conv.bias.then(|| Array::filled([conv.out_channels], T::default())),
        }
    }
}

fn lookup<'a, T>(params: &'a Named<T>, key: &str, expected: &[usize]) -> Result<&'a Array<T>, FoldError> {
    let error = |found| FoldError { key: key.into(), expected: expected.to_vec(), found };
    match params.get(key) {
        None => Err(error("but is missing".into())),
        Some(array) if array.shape() != expected => Err(error(format!("but has shape {:?}", array.shape()))),
        Some(array) => Ok(array),
    }
}

fn add<T: Real>(sum: &mut Array<T>, part: &Array<T>) {
    sum.data_mut().iter_mut().zip(part.data()).for_each(|(sum, &value)| *sum += value);
}

fn accumulate<T: Real>(grads: &mut Named<T>, key: String, grad: &Array<T>) {
    match grads.get_mut(&key) {
        Some(sum) => add(sum, grad),
        None => {
            grads.insert(key, grad.clone());
        }
    }
}

/// Positions of a small square kernel centred in a large one: pairs (index in large, index in small), over all leading axes.
fn centred_positions(rows: usize, large: usize, small: usize) -> impl Iterator<Item = (usize, usize)> {
    let offset = (large - small) / 2;
    (0..rows).flat_map(move |row| {
        (0..small).flat_map(move |y| {
            (0..small).map(move |x| {
                (row * large * large + (y + offset) * large + x + offset, (row * small + y) * small + x)
            })
        })
    })
}

fn add_centred<T: Real>(sum: &mut Array<T>, part: &Array<T>) {
    let (large, small) = (sum.shape()[3], part.shape()[3]);
    for (to, from) in centred_positions(part.shape()[0] * part.shape()[1], large, small) {
        sum.data_mut()[to] += part.data()[from];
    }
}

fn centre<T: Real>(grad: &Array<T>, small: usize) -> Array<T> {
    let &[out, input, large, _] = grad.shape() else { return grad.clone() };
    let mut part = Array::filled([out, input, small, small], T::default());
    for (from, to) in centred_positions(out * input, large, small) {
        part.data_mut()[to] = grad.data()[from];
    }
    part
}
