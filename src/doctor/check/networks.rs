//! Whole networks against the planned engine of the processor.

use std::sync::Arc;

use serde::Serialize;

use crate::array::Array;
use crate::engine::cuda::{Computing, Math};
use crate::engine::{Backend, Engine, EngineError, cuda, plan};
use crate::gpu::device::Gpu;
use crate::graph::{BuildError, Graph};
use crate::models::{Architecture, ParseError};
use crate::random::Random;
use crate::train::{self, Adam, AdamSettings, Batch, Flat, Stepper, TrainOn, kaiming_uniform};

/// How a network came out.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkCheck {
    /// What was computed.
    pub name: String,
    /// Whether it is near enough to what the processor computes.
    pub passed: bool,
    /// How far off it is: of images the largest difference as a share of the largest value, of gradients and weights the L2 norm of the difference as a share of the norm.
    pub error: Option<f64>,
    /// What is accepted.
    pub tolerance: f64,
    /// What is wrong, if it is not the distance.
    pub problem: Option<String>,
}

impl NetworkCheck {
    pub(super) fn in_words(&self) -> String {
        match (&self.problem, self.error) {
            (Some(problem), _) => problem.clone(),
            (None, Some(error)) => format!("off by {error:.1e}, {:.1e} are accepted", self.tolerance),
            (None, None) => "no result".into(),
        }
    }
}

/// Key of the random streams.
const STREAM: u64 = 0xc4ec;

/// Models between which every operation occurs: splits and sums of blocks, strided and grouped convolutions, pools, resizes, sigmoids and products.
const MODELS: [&str; 4] =
    ["imdn:blocks=2,channels=16,distilled=4", "imdn:blocks=1", "rfdn:blocks=1", "rlfn:blocks=1"];
/// LR height and width of their images: no multiples of any tile.
const SIZE: [usize; 2] = [21, 19];
/// The model whose steps are compared, with branches to fold.
const TRAINED: &str = "imdn:blocks=1,channels=32,distilled=8,branches=1x1";
/// Patches and their side in LR pixels.
const BATCH: [usize; 2] = [2, 12];
/// Steps of training.
const STEPS: u64 = 50;
/// The learning rate.
const RATE: f64 = 2e-4;

/// What is accepted for each way to compute: of the SR image, of the gradients, and of what the steps changed.
struct Tolerances {
    image: f64,
    gradients: f64,
    steps: f64,
}

/// About three times what the software GPU of the tests gives: 1.0e-6, 2.3e-7 and 1.8e-3 with f32, 6.5e-4, 4.3e-4 and 8.1e-3 with TF32, 5.7e-4 with f16, 4.7e-3, 4.7e-3 and
/// 1.3e-2 with bf16. Nothing was measured on a GPU, whose tensor cores add less exactly.
fn tolerances(math: Math) -> Tolerances {
    match math {
        Math::F32 => Tolerances { image: 4e-6, gradients: 1e-6, steps: 6e-3 },
        Math::Tf32 => Tolerances { image: 2e-3, gradients: 1.5e-3, steps: 3e-2 },
        Math::F16 => Tolerances { image: 2e-3, gradients: f64::NAN, steps: f64::NAN },
        Math::Bf16 => Tolerances { image: 1.5e-2, gradients: 1.5e-2, steps: 4e-2 },
    }
}

/// Runs every check whose name contains `only`.
pub fn check_networks(gpu: &Arc<Gpu>, only: &str, progress: &mut dyn FnMut(&str)) -> Vec<NetworkCheck> {
    let mut checks = Vec::new();
    let mut check = |name: String, tolerance: f64, compute: &mut dyn FnMut() -> Result<f64, Failure>| {
        if !name.contains(only) {
            return;
        }
        progress(&name);
        let (error, problem) = match compute() {
            Ok(error) => (Some(error), None),
            Err(failure) => (None, Some(failure.to_string())),
        };
        // Not a number is no pass.
        let passed = error.is_some_and(|error| error <= tolerance);
        checks.push(NetworkCheck { name, passed, error, tolerance, problem });
    };
    for math in Math::ALL {
        let tolerances = tolerances(math);
        for model in MODELS {
            let name = format!("forward {} {model}", math.name());
            check(name, tolerances.image, &mut || forward(gpu, math, model));
        }
        if math != Math::F16 {
            for (name, train_on) in [("folded", TrainOn::Folded), ("expanded", TrainOn::Expanded)] {
                let name = format!("gradients {} {name}", math.name());
                check(name, tolerances.gradients, &mut || gradients(gpu, math, train_on));
            }
            let name = format!("{STEPS} steps {}", math.name());
            check(name, tolerances.steps, &mut || steps(gpu, math));
        }
    }
    checks
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Name(#[from] ParseError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Train(#[from] train::Error),
}

fn graph(architecture: &str) -> Result<Graph, Failure> {
    Ok(architecture.parse::<Architecture>()?.graph()?)
}

/// Values from 0 to `range`.
fn values(shape: impl Into<Vec<usize>>, random: &mut Random, range: f32) -> Array<f32> {
    let mut array = Array::filled(shape.into(), 0.0);
    array.data_mut().iter_mut().for_each(|value| *value = random.bits() as u8 as f32 / 255.0 * range);
    array
}

fn forward(gpu: &Arc<Gpu>, math: Math, model: &str) -> Result<f64, Failure> {
    let graph = graph(model)?;
    let weights = kaiming_uniform(&graph, STREAM);
    let [height, width] = SIZE;
    let shape = [1, graph.input_channels(), height, width];
    let lr = values(shape, &mut Random::new(&[STREAM, 2]), graph.data_range());
    let expected = plan::Network::new(graph.clone(), &weights)?.forward(&lr)?;
    let network = cuda::Network::new(graph, &weights, Computing::fixed(gpu.clone(), math))?;
    let found = network.forward_into(&lr, Vec::new())?;
    let largest = expected.data().iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let apart = |(a, b): (&f32, &f32)| f64::from(a - b).abs();
    let apart = expected.data().iter().zip(found.data()).map(apart);
    // `max` would lose what is not a number.
    let worst = apart.fold(0.0, |worst: f64, one| if one <= worst { worst } else { one });
    Ok(worst / f64::from(largest))
}

/// One model's training on the processor and on the device.
struct Pair {
    weights: Flat,
    processor: Stepper,
    device: Stepper,
    random: Random,
    data_range: f32,
    scale: usize,
}

impl Pair {
    fn new(gpu: &Arc<Gpu>, math: Math, train_on: TrainOn) -> Result<Self, Failure> {
        let graph = graph(TRAINED)?;
        let backend = Backend::from(Computing::fixed(gpu.clone(), math));
        Ok(Self {
            weights: Flat::of(&kaiming_uniform(&graph, STREAM)),
            processor: Stepper::new(Engine::Plan, &graph, train_on)?,
            device: Stepper::new(backend, &graph, train_on)?,
            random: Random::new(&[STREAM, 3]),
            data_range: graph.data_range(),
            scale: graph.scale(),
        })
    }

    fn batch(&mut self) -> Batch {
        let [patches, side] = BATCH;
        let mut values = |side| values([patches, 3, side, side], &mut self.random, self.data_range);
        Batch { lr: values(side), hr: values(side * self.scale), padded_patches: 0 }
    }
}

fn gradients(gpu: &Arc<Gpu>, math: Math, train_on: TrainOn) -> Result<f64, Failure> {
    let mut pair = Pair::new(gpu, math, train_on)?;
    let batch = pair.batch();
    let (_, expected) = pair.processor.gradients(&pair.weights, &batch)?;
    let (_, found) = pair.device.gradients(&pair.weights, &batch)?;
    Ok(relative_l2(expected.values(), found.values()))
}

/// How far the weights are apart after some steps, as a share of how far they went.
fn steps(gpu: &Arc<Gpu>, math: Math) -> Result<f64, Failure> {
    let mut pair = Pair::new(gpu, math, TrainOn::Folded)?;
    let begun = pair.weights.clone();
    let fresh = || (begun.clone(), Adam::new(AdamSettings::default(), &begun));
    let ((mut expected, mut adam), (mut found, mut device_adam)) = (fresh(), fresh());
    for _ in 0..STEPS {
        let batch = pair.batch();
        pair.processor.step(&mut expected, &mut adam, &batch, RATE)?;
        pair.device.step(&mut found, &mut device_adam, &batch, RATE)?;
    }
    pair.device.fetch(&mut found, &mut device_adam)?;
    let way = |weights: &Flat| -> Vec<f32> {
        weights.values().iter().zip(begun.values()).map(|(now, then)| now - then).collect()
    };
    Ok(relative_l2(&way(&expected), &way(&found)))
}

/// The L2 norm of the difference, as a share of the norm of what is expected.
fn relative_l2(expected: &[f32], found: &[f32]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let apart = squares(&mut expected.iter().zip(found).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let all = squares(&mut expected.iter().map(|value| f64::from(*value)));
    (apart / all).sqrt()
}
