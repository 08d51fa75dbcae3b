//! What is timed. Everything that depends on which engine runs is in this file.

use std::error::Error;

use esr::array::Array;
use esr::engine::Engine;
use esr::engine::plan::Network;
use esr::models::Model;
use esr::train::{Adam, AdamSettings, Batch, Flat, Stepper, TrainOn};

/// The engine under test, as results name it.
pub(crate) const ENGINE: &str = "plan";

/// Learning rate of the timed training steps. The peers use the same, so that losses can be compared step by step.
const LEARNING_RATE: f64 = 2e-4;

/// What one run leaves.
pub(crate) enum Product {
    /// SR images, N×3×H×W.
    Images(Array<f32>),
    /// The loss before the update.
    Loss(f64),
}

/// A prepared work.
pub(crate) trait Work {
    /// Does it once.
    fn run(&mut self) -> Result<Product, Box<dyn Error>>;
}

/// One forward pass, always of the same images.
pub(crate) struct Infer {
    network: Network,
    lr: Array<f32>,
}

impl Infer {
    /// Binds the weights.
    pub(crate) fn new(model: &Model, lr: Array<f32>) -> Result<Self, Box<dyn Error>> {
        Ok(Self { network: Network::new(model.graph.clone(), model.weights()?)?, lr })
    }
}

impl Work for Infer {
    fn run(&mut self) -> Result<Product, Box<dyn Error>> {
        Ok(Product::Images(self.network.forward(&self.lr)?))
    }
}

/// One training step after the other, always on the same batch, as `esr train` makes them; the graph is folded, which is its default.
pub(crate) struct Train {
    stepper: Stepper,
    weights: Flat,
    adam: Adam,
    batch: Batch,
}

impl Train {
    /// Starts from the model's weights.
    pub(crate) fn new(model: &Model, lr: Array<f32>, hr: Array<f32>) -> Result<Self, Box<dyn Error>> {
        let weights = Flat::of(model.weights()?);
        Ok(Self {
            stepper: Stepper::new(Engine::Plan, &model.graph, TrainOn::Folded)?,
            adam: Adam::new(AdamSettings::default(), &weights),
            weights,
            batch: Batch { lr, hr, padded_patches: 0 },
        })
    }
}

impl Work for Train {
    fn run(&mut self) -> Result<Product, Box<dyn Error>> {
        let stepped = self.stepper.step(&mut self.weights, &mut self.adam, &self.batch, LEARNING_RATE)?;
        match stepped.updated {
            true => Ok(Product::Loss(stepped.loss)),
            false => Err(format!("the loss became {}", stepped.loss).into()),
        }
    }
}
