//! From an 8-bit LR image to an 8-bit SR image, as the official script goes: divide, run, clamp, round.

use std::sync::Arc;

use super::{Backend, Engine, EngineError, cuda, plan, reference};
use crate::array::Array;
use crate::graph::{Graph, Op};
use crate::imaging::{self, RgbImage};
use crate::metrics::{self, ComputedBy};
use crate::models::{LoadError, Model};
use crate::weights::StateDict;

/// Why an image could not be upscaled.
#[derive(Debug, thiserror::Error)]
pub enum UpscaleError {
    /// The network could not run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The model has no weights.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its output is no image, e.g. not a number.
    #[error(transparent)]
    Quantise(#[from] metrics::Error),
    /// Bicubic upscaling failed.
    #[error(transparent)]
    Imaging(#[from] imaging::Error),
}

/// Something that upscales images: a network, or bicubic interpolation.
pub struct Upscaler {
    kind: Kind,
    scale: usize,
    computed_by: Option<ComputedBy>,
}

enum Kind {
    Bicubic,
    Network { network: Network, data_range: f32 },
}

/// A network bound by one of the engines.
enum Network {
    Plan(Box<plan::Network>),
    Reference(Box<reference::Network<f32>>),
    Cuda(Arc<cuda::Network>),
}

impl Network {
    /// Floats to floats. `memory` is used again where the engine can.
    fn forward(&self, lr: &Array<f32>, memory: Vec<f32>) -> Result<Array<f32>, EngineError> {
        match self {
            Self::Plan(network) => network.forward_into(lr, memory),
            Self::Reference(network) => network.forward(lr),
            Self::Cuda(network) => network.forward_into(lr, memory),
        }
    }
}

impl From<Array<f32>> for Forwarded {
    fn from(sr: Array<f32>) -> Self {
        Self(Output::Tensor(sr))
    }
}

impl Upscaler {
    /// Prepares a model. `weights` of a model without parameters may be empty.
    ///
    /// # Errors
    /// [`EngineError::Weight`] when a weight is missing or misshapen.
    pub fn new(graph: &Graph, weights: &StateDict, backend: impl Into<Backend>) -> Result<Self, EngineError> {
        let backend = backend.into();
        let computed_by = backend.computed_by();
        let bicubic = graph.nodes().iter().any(|node| matches!(node.op, Op::UpscaleBicubic { .. }));
        let kind = if bicubic {
            Kind::Bicubic
        } else {
            let own = graph.clone();
            let network = match backend {
                Backend::Cpu(Engine::Plan) => Network::Plan(Box::new(plan::Network::new(own, weights)?)),
                Backend::Cpu(Engine::Reference) => {
                    Network::Reference(Box::new(reference::Network::new(own, weights)?))
                }
                Backend::Cuda(computing) => {
                    Network::Cuda(Arc::new(cuda::Network::new(own, weights, computing)?))
                }
            };
            Kind::Network { network, data_range: graph.data_range() }
        };
        let computed_by = (!bicubic).then_some(computed_by);
        Ok(Self { kind, scale: graph.scale(), computed_by })
    }

    /// Prepares a loaded model.
    ///
    /// # Errors
    /// [`UpscaleError::Load`] when the model needs weights and has none.
    pub fn of_model(model: &Model, backend: impl Into<Backend>) -> Result<Self, UpscaleError> {
        let none = StateDict::new();
        let weights = if model.graph.parameters().is_empty() { &none } else { model.weights()? };
        Ok(Self::new(&model.graph, weights, backend)?)
    }

    /// The same in at most about `bytes` of memory for the model's values: larger images are computed in parts, with the same bits. Only the planned
    /// engine can; `None` for what [`plan::Network::with_memory_limit`] makes of it.
    #[must_use]
    pub fn with_memory_limit(mut self, bytes: Option<usize>) -> Self {
        self.kind = match self.kind {
            Kind::Network { network: Network::Plan(network), data_range } => Kind::Network {
                network: Network::Plan(Box::new(network.with_memory_limit(bytes))),
                data_range,
            },
            other => other,
        };
        self
    }

    /// What runs the model; nothing where there is no network.
    pub fn computed_by(&self) -> Option<&ComputedBy> {
        self.computed_by.as_ref()
    }

    /// The network where it is on a GPU: what is timed there is timed by the device.
    pub fn on_gpu(&self) -> Option<Arc<cuda::Network>> {
        match &self.kind {
            Kind::Network { network: Network::Cuda(network), .. } => Some(network.clone()),
            _ => None,
        }
    }

    /// Upscaling factor.
    pub fn scale(&self) -> usize {
        self.scale
    }

    /// Turns an image into what [`Upscaler::forward`] takes: the part that the official script does not time.
    pub fn prepare(&self, lr: &RgbImage) -> Prepared {
        match &self.kind {
            Kind::Bicubic => Prepared(Input::Image(lr.clone())),
            Kind::Network { data_range, .. } => Prepared(Input::Tensor(to_nchw(&[lr], *data_range))),
        }
    }

    /// One forward pass: the part that the official script times. The memory of a `previous` result that nobody needs any more is used again, as PyTorch's allocator does.
    ///
    /// # Errors
    /// [`UpscaleError`]
    pub fn forward(&self, input: &Prepared, previous: Option<Forwarded>) -> Result<Forwarded, UpscaleError> {
        match (&self.kind, &input.0) {
            (Kind::Network { network, .. }, Input::Tensor(x)) => {
                let memory = match previous {
                    Some(Forwarded(Output::Tensor(sr))) => sr.into_data(),
                    _ => Vec::new(),
                };
                Ok(Forwarded(Output::Tensor(network.forward(x, memory)?)))
            }
            (_, Input::Image(image)) => {
                Ok(Forwarded(Output::Image(imaging::upscale_bicubic(image, self.scale)?)))
            }
            (Kind::Bicubic, Input::Tensor(x)) => {
                Err(EngineError::Input { found: x.shape().to_vec(), channels: 3 }.into())
            }
        }
    }

    /// The values that [`Upscaler::prepare`] made of an image, where there is a network.
    pub(super) fn values<'a>(&self, prepared: &'a Prepared) -> Option<&'a Array<f32>> {
        match &prepared.0 {
            Input::Tensor(x) => Some(x),
            Input::Image(_) => None,
        }
    }

    /// The 8-bit image of a forward pass: clamped, and rounded half to even in f32.
    ///
    /// # Errors
    /// [`UpscaleError::Quantise`] when the output is not a number somewhere.
    pub fn finish(&self, output: Forwarded) -> Result<RgbImage, UpscaleError> {
        let data_range = match &self.kind {
            Kind::Bicubic => 255.0,
            Kind::Network { data_range, .. } => *data_range,
        };
        match output.0 {
            Output::Image(image) => Ok(image),
            Output::Tensor(sr) => {
                let &[_, _, height, width] = sr.shape() else {
                    return Err(EngineError::Input { found: sr.shape().to_vec(), channels: 3 }.into());
                };
                Ok(metrics::quantise(sr.data(), width, height, data_range)?)
            }
        }
    }

    /// The SR image.
    ///
    /// # Errors
    /// [`UpscaleError`]
    pub fn upscale(&self, lr: &RgbImage) -> Result<RgbImage, UpscaleError> {
        if let Kind::Network { network: Network::Plan(network), .. } = &self.kind
            && let Some(sr) = network.upscale(lr)?
        {
            return Ok(sr);
        }
        let prepared = self.prepare(lr);
        if let (Kind::Network { network: Network::Cuda(network), .. }, Prepared(Input::Tensor(values))) =
            (&self.kind, &prepared)
            && let Some(sr) = network.image(values)?
        {
            return Ok(sr);
        }
        // Also where the planned engine met a value that is not a number: this way names it.
        self.finish(self.forward(&prepared, None)?)
    }
}

/// An image in the form the engine takes.
pub struct Prepared(Input);

enum Input {
    Image(RgbImage),
    Tensor(Array<f32>),
}

/// The result of a forward pass, before clamping and rounding.
pub struct Forwarded(Output);

enum Output {
    Image(RgbImage),
    Tensor(Array<f32>),
}

/// A batch of images of one size as NCHW values in `0..=data_range`: `value / (255 / range)` in f32, a true division as in PyTorch.
pub fn to_nchw(images: &[&RgbImage], data_range: f32) -> Array<f32> {
    let divisor = 255.0 / data_range;
    let (width, height) = images.first().map_or((0, 0), |image| (image.width(), image.height()));
    let mut data = Vec::with_capacity(images.len() * 3 * width * height);
    for image in images {
        for channel in 0..3 {
            data.extend(
                image.pixels().iter().skip(channel).step_by(3).map(|&value| f32::from(value) / divisor),
            );
        }
    }
    let shape = [images.len(), 3, height, width];
    Array::new(shape, data).unwrap_or_else(|_| Array::filled([0, 3, 0, 0], 0.0))
}
