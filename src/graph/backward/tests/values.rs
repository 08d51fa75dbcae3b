//! The values of a training step: against candle's autograd, against difference quotients, and at the kinks.

use proptest::prelude::*;

use super::*;
use crate::array::Array;
use crate::engine::reference::{Float, Network, loss_and_gradients, run_backward};
use crate::graph::fold::Named;
use crate::testing::{assert_within, largest_relative, uniform, widen};
use crate::train::kaiming_uniform;

/// LR images, and HR images on both sides of what the model makes of them, so that the signs of the loss differ.
fn batch<T: Float>(graph: &Graph, weights: &Named<T>, [height, width]: [usize; 2]) -> (Array<T>, Array<T>) {
    let lr = uniform::<T>([2, 3, height, width], 3);
    let sr = Network::new(graph.clone(), weights).unwrap().forward(&lr).unwrap();
    let mut shift = uniform::<f64>(sr.shape(), 4).into_data().into_iter();
    let hr = sr.map(|value| T::of(value.wide() + shift.next().unwrap() - 0.5));
    (lr, hr)
}

#[test]
fn the_step_is_what_autograd_makes_in_f64() {
    for (graph, size) in models() {
        let weights = widen(&kaiming_uniform(&graph, 1));
        let (lr, hr) = batch(&graph, &weights, size);
        let found = run_backward(&backward(&graph).unwrap(), &weights, &lr, &hr).unwrap();
        let expected = loss_and_gradients(&graph, &weights, &lr, &hr).unwrap();
        assert_eq!(found.sr, expected.sr);
        assert_eq!(found.loss, expected.loss);
        for (key, shape) in graph.parameters() {
            let gradient = &found.gradients[&key];
            assert_eq!(gradient.shape(), shape);
            assert!(gradient.data().iter().all(|value| value.is_finite()), "{key}");
            assert!(gradient.data().iter().any(|&value| value != 0.0), "{key}");
        }
        // Measured: 0. Autograd makes the same sums of two; in which order it makes sums of more is its own affair.
        assert_within("f64", largest_relative(&found.gradients, &expected.gradients), 1e-12);
    }
}

#[test]
fn the_step_is_what_autograd_makes_in_f32() {
    for (graph, size) in models() {
        let weights = kaiming_uniform(&graph, 1);
        let (lr, hr) = batch(&graph, &weights, size);
        let found = run_backward(&backward(&graph).unwrap(), &weights, &lr, &hr).unwrap();
        let expected = loss_and_gradients(&graph, &weights, &lr, &hr).unwrap();
        assert_eq!(found.sr, expected.sr);
        assert_eq!(found.loss, expected.loss);
        // Measured: 0 against autograd, as in f64; 1.8e-6 against f64.
        assert_within("f32", largest_relative(&found.gradients, &expected.gradients), 1e-6);
        let (weights, lr, hr) = (widen(&weights), lr.map(|&v| f64::from(v)), hr.map(|&v| f64::from(v)));
        let exact = run_backward(&backward(&graph).unwrap(), &weights, &lr, &hr).unwrap();
        assert_within("f32 against f64", largest_relative(&found.gradients, &exact.gradients), 5e-6);
    }
}

/// The gradient of three numbers in each tensor against a central difference quotient in f64.
#[test]
fn the_step_is_a_difference_quotient() {
    for (graph, size) in models() {
        let weights = widen(&kaiming_uniform(&graph, 2));
        let (lr, hr) = batch(&graph, &weights, size);
        let found = run_backward(&backward(&graph).unwrap(), &weights, &lr, &hr).unwrap();
        let loss = |weights: &Named<f64>| {
            let sr = Network::new(graph.clone(), weights).unwrap().forward(&lr).unwrap();
            let sum: f64 = sr.data().iter().zip(hr.data()).map(|(a, b)| (a - b).abs()).sum();
            sum / sr.len() as f64
        };
        assert!((loss(&weights) - found.loss).abs() < 1e-14);
        let mut worst = 0.0f64;
        for (key, gradient) in &found.gradients {
            for index in [0, gradient.len() / 2, gradient.len() - 1] {
                let moved = |by: f64| {
                    let mut weights = weights.clone();
                    weights.get_mut(key).unwrap().data_mut()[index] += by;
                    loss(&weights)
                };
                let quotient = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                worst = worst.max((quotient - gradient.data()[index]).abs());
            }
        }
        // Measured: 1.2e-9, the rounding of a loss near 0.3 divided by the step.
        assert_within("difference quotients", worst, 5e-9);
    }
}

/// One 1x1 convolution `a`, then `after`; the gradients of its weight and bias on `lr` where the target lies below the output.
fn kink(after: Build, weight: f64, bias: f64, target: f64) -> [f64; 2] {
    let mut g = GraphBuilder::new();
    let x = g.input(1);
    let y = g.conv1x1("a", x, 1);
    let y = after(&mut g, y);
    let graph = g.finish(y, 1).unwrap();
    let weights = Named::from([
        ("a.weight".to_owned(), Array::filled([1, 1, 1, 1], weight)),
        ("a.bias".to_owned(), Array::filled([1], bias)),
    ]);
    let lr = Array::new([1, 1, 2, 2], vec![1.0, 2.0, 3.0, 5.0]).unwrap();
    let hr = Array::filled([1, 1, 2, 2], target);
    let found = run_backward(&backward(&graph).unwrap(), &weights, &lr, &hr).unwrap().gradients;
    assert_eq!(found, loss_and_gradients(&graph, &weights, &lr, &hr).unwrap().gradients);
    ["a.weight", "a.bias"].map(|key| found[key].data()[0])
}

/// PyTorch's choices: at zero LeakyReLU has its slope, ReLU and the L1 loss have none; of equal values in a window the first has the gradient.
#[test]
fn gradients_at_kinks_are_pytorchs() {
    assert_eq!(kink(|g, y| g.leaky_relu(y, 0.25), 0.0, 0.0, -1.0), [0.25 * 11.0 / 4.0, 0.25]);
    assert_eq!(kink(|g, y| g.leaky_relu(y, -0.25), 0.0, 0.0, -1.0), [-0.25 * 11.0 / 4.0, -0.25]);
    assert_eq!(kink(|g, y| g.relu(y), 0.0, 0.0, -1.0), [0.0, 0.0]);
    assert_eq!(kink(|_, y| y, 0.0, 2.0, 2.0), [0.0, 0.0]);
    let pool: Build = |g, y| {
        let pooled = g.max_pool(y, 2, 1);
        g.resize_bilinear(pooled, y)
    };
    // All four values of the window are 2: the weight's gradient is the first LR value.
    assert_eq!(kink(pool, 0.0, 2.0, 0.0), [1.0, 1.0]);
    assert_eq!(kink(pool, 1.0, 0.0, 0.0), [5.0, 1.0]);
    // A negative slope makes both signs positive: 0.5 * 1 and so on, from the inputs -1, -2, -3 and -5.
    assert_eq!(kink(|g, y| g.leaky_relu(y, -0.5), -1.0, 0.0, -1.0), [-0.5 * 11.0 / 4.0, -0.5]);
}

#[test]
fn batches_that_do_not_fit_are_errors() {
    let graph = graph("imdn:blocks=1,channels=4,distilled=1,scale=2");
    let step = backward(&graph).unwrap();
    let mut weights = kaiming_uniform(&graph, 1);
    let lr = Array::filled([2, 3, 5, 4], 0.0f32);
    let message = |weights: &Named<f32>, lr: &Array<f32>, hr: &[usize]| {
        run_backward(&step, weights, lr, &Array::filled(hr, 0.0)).unwrap_err().to_string()
    };
    insta::assert_snapshot!(message(&weights, &lr, &[2, 3, 5, 4]), @"an LR image of 4x5 pixels does not go through `loss`: the HR batch has shape [2, 3, 5, 4], the SR batch [2, 3, 10, 8]");
    insta::assert_snapshot!(message(&weights, &lr, &[1, 3, 10, 8]), @"an LR image of 4x5 pixels does not go through `loss`: the HR batch has shape [1, 3, 10, 8], the SR batch [2, 3, 10, 8]");
    insta::assert_snapshot!(message(&weights, &Array::filled([2, 1, 5, 4], 0.0), &[2, 3, 10, 8]), @"the input has shape [2, 1, 5, 4], the model takes N x 3 x H x W");
    weights.remove("model.2.bias");
    insta::assert_snapshot!(message(&weights, &lr, &[2, 3, 10, 8]), @"the weights lack `model.2.bias` of shape [12]");
    let forward_alone = Network::new(step.graph.clone(), &kaiming_uniform(&graph, 1)).unwrap();
    insta::assert_snapshot!(forward_alone.forward(&lr).unwrap_err(), @"the reference engine does not run `a loss without HR images`");
}

/// A graph made of `steps`, each an operation and two of the values made before it. Every value reaches the output, except the rest of some splits.
fn random_graph(steps: &[(u8, usize, usize)]) -> Graph {
    let mut g = GraphBuilder::new();
    let x = g.input(3);
    let mut values = vec![x, g.conv3x3("first", x, 4)];
    for (at, &(op, a, b)) in steps.iter().enumerate() {
        let (a, b) = (values[a % values.len()], values[b % values.len()]);
        let name = format!("step{at}");
        let spec = Conv2d {
            in_channels: a.channels,
            out_channels: 4,
            kernel: 3,
            stride: 1,
            padding: 1,
            groups: 1,
            bias: at % 2 == 0,
        };
        // The second value with as many channels as the first.
        let fit = |g: &mut GraphBuilder| match a.channels == b.channels {
            true => b,
            false => g.conv1x1(format!("{name}.fit"), b, a.channels),
        };
        let value = match op {
            0 => g.conv(name, a, spec),
            1 => g.conv(name, a, Conv2d { groups: a.channels, out_channels: a.channels, ..spec }),
            2 => {
                let strided = g.conv(name, a, Conv2d { stride: 2, ..spec });
                g.resize_bilinear(strided, b)
            }
            3 => g.leaky_relu(a, 0.1),
            4 => g.leaky_relu(a, -0.3),
            5 => g.relu(a),
            6 => g.sigmoid(a),
            7 => {
                let b = fit(&mut g);
                g.add(a, b)
            }
            8 => {
                let b = fit(&mut g);
                g.mul(a, b)
            }
            9 => g.concat(&[a, b]),
            10 | 11 if a.channels > 1 => {
                let (first, rest) = g.split(a, 1 + at % (a.channels - 1));
                if op == 10 {
                    values.push(first);
                }
                rest
            }
            12 => {
                let pooled = g.max_pool(a, 3, 2);
                g.resize_bilinear(pooled, a)
            }
            _ => {
                let wide = g.conv(name.clone(), a, Conv2d { out_channels: 8, ..spec.clone() });
                let large = g.pixel_shuffle(wide, 2);
                let down =
                    Conv2d { in_channels: 2, out_channels: 3, kernel: 2, stride: 2, padding: 0, ..spec };
                g.conv(format!("{name}.down"), large, down)
            }
        };
        values.push(value);
    }
    let all = g.concat(&values);
    let last = g.conv3x3("last", all, 12);
    let sr = g.pixel_shuffle(last, 2);
    g.finish(sr, 2).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_step_of_any_graph_is_what_autograd_makes(
        steps in proptest::collection::vec((0u8..14, any::<usize>(), any::<usize>()), 1..12), seed in any::<u64>(),
    ) {
        let graph = random_graph(&steps);
        let step = backward(&graph).unwrap();
        let count = graph.nodes().len();
        prop_assert!(step.use_counts()[count..].iter().all(|&uses| uses > 0));
        let weights = widen(&kaiming_uniform(&graph, seed));
        let (lr, hr) = batch(&graph, &weights, [6, 5]);
        let found = run_backward(&step, &weights, &lr, &hr).unwrap();
        let expected = loss_and_gradients(&graph, &weights, &lr, &hr).unwrap();
        prop_assert_eq!(found.loss, expected.loss);
        prop_assert_eq!(&found.sr, &expected.sr);
        prop_assert!(found.gradients.values().flat_map(Array::data).all(|value| value.is_finite()));
        // Measured over the cases of one run: 0, as for the models.
        assert_within("f64", largest_relative(&found.gradients, &expected.gradients), 1e-12);
    }
}
