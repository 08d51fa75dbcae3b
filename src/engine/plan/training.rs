//! Training steps by plan: loss and gradients of one batch.

use std::collections::BTreeMap;

use super::compile::Plan;
use super::kernels::{HostInput, HostOutput, Parameters};
use super::run::{Arena, Ready};
use crate::array::Array;
use crate::engine::EngineError;
use crate::engine::cpu::simd::Isa;
use crate::graph::fold::{Slices, SlicesMut};
use crate::graph::{Backward, Graph, ShapeError, backward};

/// Runs forward and backward passes of one graph. Memory for activations and gradients is kept from step to step.
pub struct Trainer {
    scale: usize,
    channels: usize,
    backward: Backward,
    isa: Isa,
    ready: Option<([usize; 3], Ready)>,
    arena: Arena,
    /// Keys and shapes of the weights.
    parameters: Vec<(String, Vec<usize>)>,
    /// The sum of absolute differences of each row of LR pixels.
    sums: Vec<f64>,
}

impl Trainer {
    /// Prepares to train a graph.
    ///
    /// # Errors
    /// [`EngineError::Backward`] when an operation has no gradient.
    pub fn new(graph: &Graph) -> Result<Self, EngineError> {
        Self::with_isa(graph, Isa::detect())
    }

    /// [`Trainer::new`] for an instruction set of choice, which must be one of [`Isa::available`]; any other becomes the detected one.
    ///
    /// # Errors
    /// As for [`Trainer::new`].
    pub fn with_isa(graph: &Graph, isa: Isa) -> Result<Self, EngineError> {
        Ok(Self {
            scale: graph.scale(),
            channels: graph.input_channels(),
            backward: backward(graph)?,
            isa: if Isa::available().contains(&isa) { isa } else { Isa::detect() },
            ready: None,
            arena: Arena::default(),
            parameters: graph.parameters(),
            sums: Vec::new(),
        })
    }

    /// The L1 loss of a batch of LR and HR images, both NCHW in the model's data range. The gradient of each weight is written to where `gradients`
    /// says. Entries that are no weights of the graph are left alone.
    ///
    /// # Errors
    /// [`EngineError::Weight`] when a weight or the place of its gradient is missing or has another number of values, [`EngineError::Input`] or
    /// [`EngineError::Shape`] when the batch does not fit.
    pub fn step(
        &mut self,
        weights: &Slices<'_>,
        lr: &Array<f32>,
        hr: &Array<f32>,
        gradients: &mut SlicesMut<'_>,
    ) -> Result<f64, EngineError> {
        let error = || EngineError::Input { found: lr.shape().to_vec(), channels: self.channels };
        let &[images, channels, height, width] = lr.shape() else { return Err(error()) };
        if channels != self.channels || images == 0 {
            return Err(error());
        }
        for (key, shape) in &self.parameters {
            let count = Some(shape.iter().product());
            let found = weights.get(key.as_str()).map(|weight| weight.len());
            let place = gradients.get(key.as_str()).map(|gradient| gradient.len());
            if found != count || place != count {
                return Err(EngineError::Weight { key: key.clone(), shape: shape.clone() });
            }
        }
        let shape = [images, height, width];
        if self.ready.as_ref().is_none_or(|(known, _)| *known != shape) {
            self.ready = None;
            let plan = Plan::training(&self.backward, shape)?;
            // SAFETY: arena and plan are kept side by side, and the plan packs all weights itself.
            let ready = unsafe { Ready::new(plan, &mut self.arena, self.isa, |_| std::ptr::null()) };
            self.ready = Some((shape, ready));
        }
        let Some((_, ready)) = &self.ready else { return Err(error()) };
        let [c, h, w] = ready.plan.output;
        if hr.shape() != [images, c, h, w] {
            return Err(EngineError::Shape(ShapeError {
                width,
                height,
                node: "loss".into(),
                problem: format!(
                    "the HR batch has shape {:?}, and x{} of the LR batch is {:?}",
                    hr.shape(),
                    self.scale,
                    [images, c, h, w]
                ),
            }));
        }
        self.sums.clear();
        self.sums.resize(images * height, 0.0);
        let gradients = gradients.iter_mut().map(|(key, gradient)| (*key, gradient.as_mut_ptr()));
        let parameters = Weights { weights, gradients: gradients.collect() };
        let input = HostInput::Planes(lr.data().as_ptr());
        let output = HostOutput::Loss(hr.data().as_ptr(), self.sums.as_mut_ptr());
        // SAFETY: the plan was made for this arena and shape, both batches have its size, and there is a sum for each row.
        unsafe { ready.run(&mut self.arena, input, output, Some(&parameters), None) };
        Ok(self.sums.iter().sum::<f64>() / hr.len() as f64)
    }

    /// Bytes of activations, gradients and everything else that the last step's plan keeps in memory.
    pub fn arena_bytes(&self) -> usize {
        self.ready.as_ref().map_or(0, |(_, ready)| ready.plan.arena_bytes())
    }
}

struct Weights<'a> {
    weights: &'a Slices<'a>,
    /// Where each gradient goes.
    gradients: BTreeMap<&'a str, *mut f32>,
}

// SAFETY: each gradient is written by tasks that write disjoint parts of it, and read by nobody until the run is over.
unsafe impl Sync for Weights<'_> {}

impl Parameters for Weights<'_> {
    fn values(&self, name: &str) -> (&[f32], &[f32]) {
        let of = |suffix: &str| self.weights.get(format!("{name}.{suffix}").as_str()).copied().unwrap_or(&[]);
        (of("weight"), of("bias"))
    }

    fn gradients(&self, name: &str) -> (*mut f32, *mut f32) {
        let of = |suffix: &str| {
            self.gradients.get(format!("{name}.{suffix}").as_str()).copied().unwrap_or(std::ptr::null_mut())
        };
        (of("weight"), of("bias"))
    }
}
