//! The reference engine: a graph interpreted with candle tensors and candle's autograd.
//!
//! It is deterministic: the same inputs give the same bits whatever the number of threads.

mod conv;
mod float;
mod ops;

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor, Var};

pub use float::Float;

use super::EngineError;
use crate::array::Array;
use crate::graph::fold::Named;
use crate::graph::{Conv2d, Graph, Node, Op, shapes};

/// A network ready to run: a graph and its weights.
pub struct Network<T> {
    graph: Graph,
    weights: HashMap<String, Tensor>,
    number: std::marker::PhantomData<T>,
}

impl<T: Float> Network<T> {
    /// Binds weights to a graph.
    ///
    /// # Errors
    /// [`EngineError::Weight`] when one is missing or misshapen.
    pub fn new(graph: Graph, weights: &Named<T>) -> Result<Self, EngineError> {
        let weights = bind(&graph, weights, Ok)?;
        Ok(Self { graph, weights, number: std::marker::PhantomData })
    }

    /// The SR images of a batch of LR images, both NCHW in the model's data range.
    ///
    /// # Errors
    /// [`EngineError::Input`] or [`EngineError::Shape`] when the batch does not go through the model.
    pub fn forward(&self, lr: &Array<T>) -> Result<Array<T>, EngineError> {
        let x = input_tensor(&self.graph, lr)?;
        to_array(&interpret::<T>(&self.graph, &self.weights, &x)?)
    }
}

/// The loss of one batch and its gradients.
#[derive(Clone, Debug)]
pub struct LossAndGradients<T> {
    /// Mean absolute difference between SR and HR.
    pub loss: f64,
    /// The SR images, NCHW.
    pub sr: Array<T>,
    /// The gradient of the loss with respect to every weight.
    pub gradients: Named<T>,
}

/// One forward and backward pass with the L1 loss.
///
/// # Errors
/// As for [`Network::new`] and [`Network::forward`].
pub fn loss_and_gradients<T: Float>(
    graph: &Graph,
    weights: &Named<T>,
    lr: &Array<T>,
    hr: &Array<T>,
) -> Result<LossAndGradients<T>, EngineError> {
    let variables = bind(graph, weights, |tensor| Ok(Var::from_tensor(&tensor)?.into_inner()))?;
    let x = input_tensor(graph, lr)?;
    let sr = interpret::<T>(graph, &variables, &x)?;
    let target = Tensor::from_vec(hr.data().to_vec(), hr.shape(), &Device::Cpu)?;
    if sr.dims() != target.dims() {
        let channels = graph.scale();
        return Err(EngineError::Input { found: hr.shape().to_vec(), channels });
    }
    let loss = ops::l1_loss::<T>(&sr, &target)?;
    let store = loss.backward()?;
    let mut gradients = BTreeMap::new();
    for (key, shape) in graph.parameters() {
        let gradient = match variables.get(&key).and_then(|variable| store.get(variable)) {
            Some(gradient) => to_array(gradient)?,
            None => Array::filled(shape, T::default()),
        };
        gradients.insert(key, gradient);
    }
    let loss = ops::with_values::<T, _>(&loss, |loss| Ok(loss.first().map_or(f64::NAN, |loss| loss.wide())))?;
    Ok(LossAndGradients { loss, sr: to_array(&sr)?, gradients })
}

/// Turns the weights that the graph names into tensors.
fn bind<T: Float>(
    graph: &Graph,
    weights: &Named<T>,
    make: impl Fn(Tensor) -> Result<Tensor, EngineError>,
) -> Result<HashMap<String, Tensor>, EngineError> {
    let mut bound = HashMap::new();
    for (key, shape) in graph.parameters() {
        match weights.get(&key) {
            Some(array) if array.shape() == shape => {
                let tensor = Tensor::from_slice(array.data(), array.shape(), &Device::Cpu)?;
                bound.insert(key, make(tensor)?);
            }
            _ => return Err(EngineError::Weight { key, shape }),
        }
    }
    Ok(bound)
}

fn input_tensor<T: Float>(graph: &Graph, lr: &Array<T>) -> Result<Tensor, EngineError> {
    let channels = graph.nodes().iter().find_map(|node| match node.op {
        Op::Input { channels } => Some(channels),
        _ => None,
    });
    let channels = channels.unwrap_or(3);
    match lr.shape() {
        &[n, c, height, width] if c == channels && n > 0 => {
            shapes(graph, width, height)?;
            Ok(Tensor::from_slice(lr.data(), lr.shape(), &Device::Cpu)?)
        }
        found => Err(EngineError::Input { found: found.to_vec(), channels }),
    }
}

fn to_array<T: Float>(tensor: &Tensor) -> Result<Array<T>, EngineError> {
    let data = ops::with_values::<T, _>(tensor, |values| Ok(values.to_vec()))?;
    Array::new(tensor.dims(), data).map_err(|error| EngineError::Candle(candle_core::Error::wrap(error)))
}

/// Walks the graph once. A value is dropped after its last reader, so inference keeps few of them alive.
fn interpret<T: Float>(
    graph: &Graph,
    weights: &HashMap<String, Tensor>,
    x: &Tensor,
) -> Result<Tensor, EngineError> {
    let mut readers = graph.use_counts();
    let mut values: Vec<Option<Tensor>> = vec![None; graph.nodes().len()];
    for (index, node) in graph.nodes().iter().enumerate() {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for id in &node.inputs {
            let slot = values.get_mut(id.index());
            let missing = || EngineError::Unsupported {
                engine: "reference",
                op: "a value used before it is made".into(),
            };
            let slot = slot.ok_or_else(missing)?;
            readers[id.index()] -= 1;
            let value = if readers[id.index()] == 0 { slot.take() } else { slot.clone() };
            inputs.push(value.ok_or_else(missing)?);
        }
        values[index] = Some(apply::<T>(node, &inputs, weights, x)?);
    }
    let output = values.get_mut(graph.output().index()).and_then(Option::take);
    output
        .ok_or_else(|| EngineError::Unsupported { engine: "reference", op: "a graph without output".into() })
}

fn apply<T: Float>(
    node: &Node,
    inputs: &[Tensor],
    weights: &HashMap<String, Tensor>,
    x: &Tensor,
) -> Result<Tensor, EngineError> {
    let input = |index: usize| {
        let missing = || EngineError::Unsupported {
            engine: "reference",
            op: format!("{} without input", node.op.label()),
        };
        inputs.get(index).ok_or_else(missing)
    };
    Ok(match &node.op {
        Op::Input { .. } => x.clone(),
        Op::Conv2d(conv) => {
            let (weight, bias) = convolution_weights::<T>(node, conv, weights)?;
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
        // Bicubic upscaling is exact arithmetic on 8-bit images and lives in `imaging`; no network contains it.
        Op::UpscaleBicubic { .. } => {
            return Err(EngineError::Unsupported { engine: "reference", op: node.op.label() });
        }
    })
}

fn convolution_weights<T: Float>(
    node: &Node,
    conv: &Conv2d,
    weights: &HashMap<String, Tensor>,
) -> Result<(Tensor, Tensor), EngineError> {
    let get = |key: String, shape: &[usize]| {
        let missing = || EngineError::Weight { key: key.clone(), shape: shape.to_vec() };
        weights.get(&key).cloned().ok_or_else(missing)
    };
    let weight = get(node.weight_key(), &conv.weight_shape())?;
    let bias = match conv.bias {
        true => get(node.bias_key(), &[conv.out_channels])?,
        false => Tensor::zeros(conv.out_channels, T::DTYPE, &Device::Cpu)?,
    };
    Ok((weight, bias))
}
