//! Walking a graph with candle tensors.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::super::EngineError;
use super::float::Float;
use super::ops;
use crate::graph::{Graph, Node, NodeId, Op};

/// What goes into a graph beside its weights.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) lr: &'a Tensor,
    /// For a training step only.
    pub(super) hr: Option<&'a Tensor>,
}

/// Walks the graph once and returns the values of `roots`. Any other value is dropped after its last reader, so inference keeps few of them alive.
pub(super) fn interpret<T: Float>(
    graph: &Graph,
    roots: &[NodeId],
    weights: &HashMap<String, Tensor>,
    batch: Batch<'_>,
) -> Result<Vec<Tensor>, EngineError> {
    let mut readers = graph.use_counts_with(roots);
    let mut values: Vec<Option<Tensor>> = vec![None; graph.nodes().len()];
    let mut read = |values: &mut Vec<Option<Tensor>>, id: &NodeId| {
        let slot = values.get_mut(id.index())?;
        readers[id.index()] -= 1;
        if readers[id.index()] == 0 { slot.take() } else { slot.clone() }
    };
    let missing =
        || EngineError::Unsupported { engine: "reference", op: "a value used before it is made".into() };
    for (index, node) in graph.nodes().iter().enumerate() {
        let inputs: Option<Vec<Tensor>> = node.inputs.iter().map(|id| read(&mut values, id)).collect();
        values[index] = Some(apply::<T>(node, &inputs.ok_or_else(missing)?, weights, batch)?);
    }
    roots.iter().map(|id| read(&mut values, id).ok_or_else(missing)).collect()
}

fn apply<T: Float>(
    node: &Node,
    inputs: &[Tensor],
    weights: &HashMap<String, Tensor>,
    batch: Batch<'_>,
) -> Result<Tensor, EngineError> {
    let input = |index: usize| {
        let missing = || EngineError::Unsupported {
            engine: "reference",
            op: format!("{} without input", node.op.label()),
        };
        inputs.get(index).ok_or_else(missing)
    };
    Ok(match &node.op {
        Op::Input { .. } => batch.lr.clone(),
        Op::Conv2d(conv) => {
            let bias = match conv.bias {
                true => weight(node.bias_key(), &[conv.out_channels], weights)?,
                false => Tensor::zeros(conv.out_channels, T::DTYPE, &Device::Cpu)?,
            };
            let weight = weight(node.weight_key(), &conv.weight_shape(), weights)?;
            ops::conv2d::<T>(input(0)?, conv, &weight, &bias)?
        }
        Op::LeakyRelu { slope } => ops::leaky_relu::<T>(input(0)?, *slope)?,
        Op::Relu => ops::leaky_relu::<T>(input(0)?, 0.0)?,
        Op::Sigmoid => candle_nn::ops::sigmoid(input(0)?)?,
        Op::Add => (input(0)? + input(1)?)?,
        Op::Mul => (input(0)? * input(1)?)?,
        Op::Concat => Tensor::cat(inputs, 1)?,
        Op::Narrow { start, length } => input(0)?.narrow(1, *start, *length)?,
        Op::MaxPool { kernel, stride } => ops::max_pool::<T>(input(0)?, *kernel, *stride)?,
        Op::ResizeBilinear => {
            let (_, _, height, width) = input(1)?.dims4()?;
            ops::resize_bilinear::<T>(input(0)?, height, width)?
        }
        Op::PixelShuffle { factor } => candle_nn::ops::pixel_shuffle(input(0)?, *factor)?,
        Op::Target { .. } => {
            let missing =
                || EngineError::Unsupported { engine: "reference", op: "a loss without HR images".into() };
            batch.hr.cloned().ok_or_else(missing)?
        }
        Op::L1Loss => ops::l1_loss::<T>(input(0)?, input(1)?)?,
        Op::L1LossGrad => ops::l1_loss_gradient::<T>(input(0)?, input(1)?, 1.0)?,
        Op::ConvInputGrad(conv) => {
            let weight = weight(node.weight_key(), &conv.weight_shape(), weights)?;
            ops::conv2d_input_gradient::<T>(input(0)?, input(1)?, conv, &weight)?
        }
        Op::ConvWeightGrad(conv) => ops::conv2d_weight_gradient::<T>(input(0)?, input(1)?, conv)?,
        Op::ConvBiasGrad => ops::conv2d_bias_gradient::<T>(input(0)?)?,
        Op::LeakyReluGrad { slope } => ops::leaky_relu_gradient::<T>(input(0)?, input(1)?, *slope)?,
        Op::SigmoidGrad => {
            let y = input(1)?;
            (input(0)? * (y * y.affine(-1.0, 1.0)?)?)?
        }
        Op::MaxPoolGrad { kernel, stride } => {
            ops::max_pool_gradient::<T>(input(0)?, input(1)?, *kernel, *stride)?
        }
        Op::ResizeBilinearGrad => ops::resize_bilinear_gradient::<T>(input(0)?, input(1)?)?,
        Op::PixelUnshuffle { factor } => candle_nn::ops::pixel_unshuffle(input(0)?, *factor)?,
        Op::Place { start, total } => {
            let channels = input(0)?.dim(1)?;
            input(0)?.pad_with_zeros(1, *start, total.saturating_sub(start + channels))?
        }
        // Bicubic upscaling is exact arithmetic on 8-bit images and lives in `imaging`; no network contains it.
        Op::UpscaleBicubic { .. } => {
            return Err(EngineError::Unsupported { engine: "reference", op: node.op.label() });
        }
    })
}

fn weight(key: String, shape: &[usize], weights: &HashMap<String, Tensor>) -> Result<Tensor, EngineError> {
    let missing = || EngineError::Weight { key: key.clone(), shape: shape.to_vec() };
    weights.get(&key).cloned().ok_or_else(missing)
}
