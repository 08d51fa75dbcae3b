//! The planned engine against the reference.

use rayon::prelude::*;

use super::{Layout, Network, Plan, Trainer};
use crate::array::Array;
use crate::engine::cpu::simd::Isa;
use crate::engine::{EngineError, reference};
use crate::graph::Graph;
use crate::graph::fold::Named;
use crate::imaging::RgbImage;
use crate::models::Architecture;
use crate::random::Random;
use crate::train::kaiming_uniform;

fn graph(text: &str) -> Graph {
    text.parse::<Architecture>().unwrap().graph().unwrap()
}

fn uniform(shape: [usize; 4], seed: u64) -> Array<f32> {
    let mut random = Random::new(&[seed]);
    Array::filled(shape, 0.0).map(|_: &f32| random.uniform() as f32)
}

fn largest_difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
}

/// Loss and gradients. Every place is overwritten: what is there before is no number.
fn step(trainer: &mut Trainer, weights: &Named<f32>, lr: &Array<f32>, hr: &Array<f32>) -> (f64, Named<f32>) {
    let mut gradients: Named<f32> =
        weights.iter().map(|(key, array)| (key.clone(), array.map(|_| f32::NAN))).collect();
    let values = weights.iter().map(|(key, array)| (key.as_str(), array.data())).collect();
    let mut places = gradients.iter_mut().map(|(key, array)| (key.as_str(), array.data_mut())).collect();
    let loss = trainer.step(&values, lr, hr, &mut places).unwrap();
    (loss, gradients)
}

/// Models of every family, with odd widths and splits that are no multiple of a block.
const MODELS: [&str; 7] = [
    "imdn:blocks=2,channels=16,distilled=4",
    "imdn:blocks=2,channels=64,distilled=16",
    "imdn:blocks=1,channels=24,distilled=5,scale=2,branches=1x1+identity",
    "imdn:blocks=1,channels=16,distilled=4,branches=wide20",
    "rfdn:blocks=2,channels=50",
    "rfdn:blocks=1,channels=12,scale=3",
    "rlfn:blocks=2",
];

#[test]
fn inference_equals_the_reference() {
    for (index, text) in MODELS.iter().enumerate() {
        let graph = graph(text);
        let weights = kaiming_uniform(&graph, 1);
        for shape in [[1, 3, 17, 23], [1, 3, 40, 65], [2, 3, 21, 16]] {
            let lr = uniform(shape, index as u64);
            let expected = reference::Network::new(graph.clone(), &weights).unwrap().forward(&lr).unwrap();
            let scale = expected.data().iter().fold(1.0f32, |most, value| most.max(value.abs()));
            for isa in Isa::available() {
                let network = Network::with_isa(graph.clone(), &weights, isa).unwrap();
                let found = network.forward(&lr).unwrap();
                assert_eq!(found.shape(), expected.shape());
                let difference = largest_difference(found.data(), expected.data());
                // Twice: nothing of the first run may be left over.
                assert_eq!(network.forward(&lr).unwrap().data(), found.data(), "{text} {shape:?} {isa}");
                assert!(difference <= 2e-5 * f64::from(scale), "{text} {shape:?} {isa}: {difference:e}");
            }
        }
    }
}

#[test]
fn gradients_equal_the_reference_in_f64() {
    for (index, text) in MODELS.iter().enumerate() {
        let graph = graph(text);
        let weights = kaiming_uniform(&graph, 2);
        let wide = |named: &Named<f32>| -> Named<f64> {
            named.iter().map(|(key, array)| (key.clone(), array.map(|&v| f64::from(v)))).collect()
        };
        let shape = [2, 3, 18, 21];
        let lr = uniform(shape, 10 + index as u64);
        let scale = graph.scale();
        let hr = uniform([2, 3, 18 * scale, 21 * scale], 20 + index as u64);
        let up = |array: &Array<f32>| array.map(|&value| f64::from(value));
        let expected = reference::loss_and_gradients(&graph, &wide(&weights), &up(&lr), &up(&hr)).unwrap();
        for isa in Isa::available() {
            let mut trainer = Trainer::with_isa(&graph, isa).unwrap();
            let (loss, found) = step(&mut trainer, &weights, &lr, &hr);
            assert!(
                (loss - expected.loss).abs() <= 1e-6 * expected.loss,
                "{text} {isa}: {loss} {}",
                expected.loss
            );
            assert_eq!(found.len(), expected.gradients.len());
            let (mut squares, mut errors) = (0.0, 0.0);
            for (key, gradient) in &found {
                let expected = &expected.gradients[key];
                let most = expected.data().iter().fold(0.0f64, |most, value| most.max(value.abs()));
                let mut worst = 0.0f64;
                for (a, b) in gradient.data().iter().zip(expected.data()) {
                    worst = worst.max((f64::from(*a) - b).abs());
                    errors += (f64::from(*a) - b).powi(2);
                    squares += b * b;
                }
                assert!(worst <= 3e-4 * most, "{text} {isa} {key}: {worst:e} of {most:e}");
            }
            // Measured: 1.1e-7 at most; candle's gradients are off by 1.6e-7.
            let global = (errors / squares).sqrt();
            assert!(global <= 4e-7, "{text} {isa}: {global:e}");
        }
    }
}

/// The same bits whatever the number of threads.
#[test]
fn threads_do_not_change_a_bit() {
    let graph = graph("imdn:blocks=2,channels=32,distilled=8");
    let weights = kaiming_uniform(&graph, 3);
    let (lr, hr) = (uniform([2, 3, 24, 36], 1), uniform([2, 3, 96, 144], 2));
    let image = uniform([1, 3, 61, 130], 3);
    let results: Vec<_> = [1, 2, 3, 8]
        .into_iter()
        .map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let sr = Network::new(graph.clone(), &weights).unwrap().forward(&image).unwrap();
                let mut trainer = Trainer::new(&graph).unwrap();
                let (loss, gradients) = step(&mut trainer, &weights, &lr, &hr);
                (sr, loss, gradients)
            })
        })
        .collect();
    for other in &results[1..] {
        assert!(*other == results[0]);
    }
}

/// One network may be called from many jobs at once, also by a thread that waits for its own call to end.
#[test]
fn a_network_serves_many_callers() {
    let graph = graph("imdn:blocks=1,channels=16,distilled=4");
    let network = Network::new(graph.clone(), &kaiming_uniform(&graph, 6)).unwrap();
    let images: Vec<_> = (0..12).map(|seed| uniform([1, 3, 40, 33], seed)).collect();
    let expected: Vec<_> = images.iter().map(|lr| network.forward(lr).unwrap()).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let found: Vec<_> = pool.install(|| images.par_iter().map(|lr| network.forward(lr).unwrap()).collect());
    assert!(found == expected);
}

/// A wave keeps inner values in a few bands: the arena is far smaller than all values together, and a streaming plan's hardly grows with the height.
#[test]
fn a_wave_needs_little_memory() {
    let graph = graph("imdn:blocks=1");
    let bytes = |height, layout| Plan::inference(&graph, [1, height, 256], layout).unwrap().arena_bytes();
    let value = 512 * 256 * 64 * 4;
    assert!(bytes(512, Layout::Fast) < 3 * value);
    let streaming = Layout::Streaming { part_of: 256 };
    assert!(bytes(512, streaming) < value);
    assert_eq!(bytes(512, streaming), bytes(2048, streaming));
}

/// Strips give the same bits, also where they end inside a tile of the image's right border, and a limit that nothing fits into is an error.
#[test]
fn a_memory_limit_does_not_change_a_bit() {
    for (text, size) in [
        ("imdn:blocks=1,channels=16,distilled=4", (37, 203)),
        ("imdn:blocks=2,channels=8,distilled=3", (50, 90)),
    ] {
        let graph = graph(text);
        let weights = kaiming_uniform(&graph, 4);
        let lr = uniform([2, 3, size.0, size.1], 5);
        let network = || Network::new(graph.clone(), &weights).unwrap();
        let whole = network().forward(&lr).unwrap();
        let bytes = lr.map(|&value| (value * 255.0) as u8);
        let pixels: Vec<u8> = (0..size.0 * size.1)
            .flat_map(|at| [at, size.0 * size.1 + at, 2 * size.0 * size.1 + at])
            .map(|at| bytes.data()[at])
            .collect();
        let image = RgbImage::new(size.1, size.0, pixels).unwrap();
        let upscaled = network().upscale(&image).unwrap().unwrap();
        let fast = Plan::inference(&graph, [2, size.0, size.1], Layout::Fast).unwrap().arena_bytes();
        let mut different = std::collections::BTreeSet::new();
        for part in 1..12 {
            let limited = network().with_memory_limit(Some(fast * part / 10));
            match limited.forward(&lr) {
                Ok(sr) => assert!(sr == whole, "{text} {part}"),
                Err(EngineError::Memory { needed_bytes, limit_bytes, .. }) => {
                    assert!(needed_bytes > limit_bytes)
                }
                Err(other) => panic!("{other}"),
            }
            if let Ok(sr) = limited.upscale(&image) {
                assert!(sr.unwrap() == upscaled, "{text} {part}");
            }
            different.insert(limited.forward(&lr).is_ok());
        }
        assert!(different.contains(&true));
        assert!(network().with_memory_limit(Some(1000)).forward(&lr).is_err());
    }
}

/// What a plan is, whole: fused activations, free splits and concatenations, the residual written over its operand, a wave's lags and its few rows.
#[test]
fn a_plan_reads_like_this() {
    let graph = graph("imdn:blocks=1,channels=32,distilled=16");
    insta::assert_snapshot!("inference", Plan::inference(&graph, [1, 256, 96], Layout::Fast).unwrap());
    let training = Plan::training(&crate::graph::backward(&graph).unwrap(), [2, 16, 16]).unwrap();
    insta::assert_snapshot!("training", training);
}
