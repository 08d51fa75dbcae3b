//! Training steps by plan: loss and gradients of one batch.

use super::kernels::{HostInput, HostOutput, Parameters};
use super::plan::Plan;
use super::run::{Arena, Ready};
use crate::array::Array;
use crate::engine::EngineError;
use crate::engine::cpu::simd::Isa;
use crate::graph::fold::Named;
use crate::graph::{Backward, Graph, ShapeError, backward};

/// Runs forward and backward passes of one graph. Memory for activations and gradients is kept from step to step.
pub struct Trainer {
    scale: usize,
    channels: usize,
    backward: Backward,
    isa: Isa,
    ready: Option<([usize; 3], Ready)>,
    arena: Arena,
    gradients: Named<f32>,
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
        let zeros = |(key, shape): (String, Vec<usize>)| (key, Array::filled(shape, 0.0));
        Ok(Self {
            scale: graph.scale(),
            channels: graph.input_channels(),
            backward: backward(graph)?,
            isa: if Isa::available().contains(&isa) { isa } else { Isa::detect() },
            ready: None,
            arena: Arena::default(),
            gradients: graph.parameters().into_iter().map(zeros).collect(),
            sums: Vec::new(),
        })
    }

    /// The L1 loss of a batch of LR and HR images, both NCHW in the model's data range, and its gradients by parameter.
    ///
    /// # Errors
    /// [`EngineError::Weight`] when a weight is missing or misshapen, [`EngineError::Input`] or [`EngineError::Shape`] when the batch does not fit.
    pub fn step(
        &mut self,
        weights: &Named<f32>,
        lr: &Array<f32>,
        hr: &Array<f32>,
    ) -> Result<(f64, &Named<f32>), EngineError> {
        let error = || EngineError::Input { found: lr.shape().to_vec(), channels: self.channels };
        let &[images, channels, height, width] = lr.shape() else { return Err(error()) };
        if channels != self.channels || images == 0 {
            return Err(error());
        }
        for (key, gradient) in &self.gradients {
            if weights.get(key).is_none_or(|weight| weight.shape() != gradient.shape()) {
                return Err(EngineError::Weight { key: key.clone(), shape: gradient.shape().to_vec() });
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
        let parameters = Weights { weights, gradients: Gradients::of(&mut self.gradients) };
        let input = HostInput::Planes(lr.data().as_ptr());
        let output = HostOutput::Loss(hr.data().as_ptr(), self.sums.as_mut_ptr());
        // SAFETY: the plan was made for this arena and shape, both batches have its size, and there is a sum for each row.
        unsafe { ready.run(&mut self.arena, input, output, Some(&parameters), None) };
        let loss = self.sums.iter().sum::<f64>() / hr.len() as f64;
        Ok((loss, &self.gradients))
    }

    /// Bytes of activations, gradients and everything else that the last step's plan keeps in memory.
    pub fn arena_bytes(&self) -> usize {
        self.ready.as_ref().map_or(0, |(_, ready)| ready.plan.arena_bytes())
    }
}

/// Where each gradient goes.
struct Gradients(std::collections::BTreeMap<String, *mut f32>);

impl Gradients {
    fn of(gradients: &mut Named<f32>) -> Self {
        Self(gradients.iter_mut().map(|(key, array)| (key.clone(), array.data_mut().as_mut_ptr())).collect())
    }
}

struct Weights<'a> {
    weights: &'a Named<f32>,
    gradients: Gradients,
}

// SAFETY: each gradient is written by tasks that write disjoint parts of it, and read by nobody until the run is over.
unsafe impl Sync for Weights<'_> {}

impl Parameters for Weights<'_> {
    fn values(&self, name: &str) -> (&[f32], &[f32]) {
        let of = |suffix: &str| self.weights.get(&format!("{name}.{suffix}")).map_or(&[][..], Array::data);
        (of("weight"), of("bias"))
    }

    fn gradients(&self, name: &str) -> (*mut f32, *mut f32) {
        let of = |suffix: &str| {
            self.gradients.0.get(&format!("{name}.{suffix}")).copied().unwrap_or(std::ptr::null_mut())
        };
        (of("weight"), of("bias"))
    }
}
