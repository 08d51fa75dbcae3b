//! Initial weights.

use crate::array::Array;
use crate::graph::Graph;
use crate::graph::fold::Named;
use crate::models::Model;
use crate::random::Random;

/// Key of the random stream for initial weights, beside the seed.
const STREAM: u64 = 0x1417;

/// PyTorch's default for `Conv2d`: weight and bias uniform in ±1/√(fan-in). The paper does not state its initialisation.
///
/// Every tensor has a random stream of its own, keyed by its name, so that adding a branch does not change the others' values.
pub fn kaiming_uniform(graph: &Graph, seed: u64) -> Named<f32> {
    let mut weights = Named::new();
    for (node, conv) in graph.convolutions() {
        let fan_in = conv.weight_shape()[1..].iter().product::<usize>();
        let bound = 1.0 / (fan_in as f64).sqrt();
        let mut fill = |key: String, shape: Vec<usize>| {
            let name = key.bytes().map(u64::from);
            let mut random = Random::new(&[seed, STREAM].into_iter().chain(name).collect::<Vec<_>>());
            let values =
                Array::filled(shape, 0.0f32).map(|_| ((random.uniform() * 2.0 - 1.0) * bound) as f32);
            weights.insert(key, values);
        };
        fill(node.weight_key(), conv.weight_shape().to_vec());
        if conv.bias {
            fill(node.bias_key(), vec![conv.out_channels]);
        }
    }
    weights
}

/// Seed of the weights of models that are only timed.
const UNTRAINED_SEED: u64 = 1;

/// The model with weights that nobody trained, if it has none: the time of a forward pass does not depend on them.
pub fn untrained(mut model: Model) -> Model {
    if model.weights.is_none() {
        model.weights = Some(kaiming_uniform(&model.graph, UNTRAINED_SEED));
    }
    model
}
