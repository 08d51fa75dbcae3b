//! The reference engine: a graph interpreted with candle tensors.
//!
//! It makes gradients in two ways that share only the gradient of each single operation: candle's autograd ([`loss_and_gradients`]), and the graph of a
//! training step ([`run_backward`]), whose structure is thereby tested. It is deterministic: the same inputs give the same bits whatever the number of threads.

mod conv;
mod float;
mod interpret;
mod ops;

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor, Var};

pub use float::Float;

use super::EngineError;
use crate::array::Array;
use crate::graph::fold::Named;
use crate::graph::{Backward, Graph, NodeId, ShapeError, shapes};
use interpret::{Batch, interpret};

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
        to_array(&run_forward::<T>(&self.graph, &self.weights, &x)?)
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

/// One forward and backward pass with the L1 loss, by candle's autograd.
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
    let target = target_tensor(graph, graph.output(), lr, hr)?;
    let sr = run_forward::<T>(graph, &variables, &x)?;
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
    Ok(LossAndGradients { loss: number::<T>(&loss)?, sr: to_array(&sr)?, gradients })
}

/// The same by interpreting the graph of a training step, without autograd. Values are dropped after their last reader.
///
/// # Errors
/// As for [`loss_and_gradients`].
pub fn run_backward<T: Float>(
    backward: &Backward,
    weights: &Named<T>,
    lr: &Array<T>,
    hr: &Array<T>,
) -> Result<LossAndGradients<T>, EngineError> {
    let graph = &backward.graph;
    let weights = bind(graph, weights, Ok)?;
    let lr_tensor = input_tensor(graph, lr)?;
    let hr_tensor = target_tensor(graph, backward.sr, lr, hr)?;
    let batch = Batch { lr: &lr_tensor, hr: Some(&hr_tensor) };
    let values = interpret::<T>(graph, &backward.roots(), &weights, batch)?;
    let [loss, sr, arrays @ ..] = values.as_slice() else {
        return Err(EngineError::Unsupported {
            engine: "reference",
            op: "a training step without loss".into(),
        });
    };
    let mut gradients = BTreeMap::new();
    for ((key, _), gradient) in backward.gradients.iter().zip(arrays) {
        gradients.insert(key.clone(), to_array(gradient)?);
    }
    Ok(LossAndGradients { loss: number::<T>(loss)?, sr: to_array(sr)?, gradients })
}

/// The value of the graph's output.
fn run_forward<T: Float>(
    graph: &Graph,
    weights: &HashMap<String, Tensor>,
    x: &Tensor,
) -> Result<Tensor, EngineError> {
    let values = interpret::<T>(graph, &[graph.output()], weights, Batch { lr: x, hr: None })?;
    let missing = || EngineError::Unsupported { engine: "reference", op: "a graph without output".into() };
    values.into_iter().next().ok_or_else(missing)
}

/// The first value of a tensor, which holds one.
fn number<T: Float>(tensor: &Tensor) -> Result<f64, EngineError> {
    Ok(ops::with_values::<T, _>(tensor, |values| Ok(values.first().map_or(f64::NAN, |value| value.wide())))?)
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
    let channels = graph.input_channels();
    match lr.shape() {
        &[n, c, height, width] if c == channels && n > 0 => {
            shapes(graph, width, height)?;
            Ok(Tensor::from_slice(lr.data(), lr.shape(), &Device::Cpu)?)
        }
        found => Err(EngineError::Input { found: found.to_vec(), channels }),
    }
}

/// The HR batch, which must have the shape that the node `sr` of the graph makes of the LR batch (already known to go through the graph).
fn target_tensor<T: Float>(
    graph: &Graph,
    sr: NodeId,
    lr: &Array<T>,
    hr: &Array<T>,
) -> Result<Tensor, EngineError> {
    let &[n, _, height, width] = lr.shape() else {
        return Err(EngineError::Input { found: lr.shape().to_vec(), channels: 3 });
    };
    let [c, sr_height, sr_width] = shapes(graph, width, height)?[sr.index()];
    let expected = [n, c, sr_height, sr_width];
    if hr.shape() != expected {
        let problem = format!("the HR batch has shape {:?}, the SR batch {expected:?}", hr.shape());
        return Err(ShapeError { width, height, node: "loss".into(), problem }.into());
    }
    Ok(Tensor::from_slice(hr.data(), hr.shape(), &Device::Cpu)?)
}

fn to_array<T: Float>(tensor: &Tensor) -> Result<Array<T>, EngineError> {
    let data = ops::with_values::<T, _>(tensor, |values| Ok(values.to_vec()))?;
    Array::new(tensor.dims(), data).map_err(|error| EngineError::Candle(candle_core::Error::wrap(error)))
}
