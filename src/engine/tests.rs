//! The engine against the official outputs, its gradients against difference quotients, and the ways into and out of it.

use super::equivalence::compare;
use super::reference::{Network, loss_and_gradients};
use super::timed::TimedModel;
use super::upscaler::{Upscaler, to_nchw};
use super::{Engine, plan};
use crate::array::Array;
use crate::fsio;
use crate::graph::fold::Named;
use crate::graph::{Graph, GraphBuilder, Op, collapse};
use crate::imaging::{self, RgbImage};
use crate::measure::Workload;
use crate::models::{Architecture, Model};
use crate::testing::{Golden, assert_within, largest_difference, reference, uniform, widen};
use crate::train::kaiming_uniform;
use crate::weights::StateDict;

const ENGINES: [Engine; 2] = [Engine::Plan, Engine::Reference];

fn graph(text: &str) -> Graph {
    text.parse::<Architecture>().unwrap().graph().unwrap()
}

fn picture(width: usize, height: usize) -> RgbImage {
    let pixels = uniform::<f32>([width * height * 3], 5).map(|&value| (value * 256.0) as u8);
    RgbImage::new(width, height, pixels.into_data()).unwrap()
}

/// Output of the official models on real images, before clamping and rounding; of `bird` the upper left 128x128 pixels are stored.
#[test]
fn released_models_give_the_official_outputs() {
    let (Some(weights), Some(golden)) = (reference("weights"), reference("golden")) else {
        return;
    };
    for (name, file) in [("team26", "team26_imdn_nb7.pth"), ("baseline", "imdn_baseline.pth")] {
        let model = Model::from_file(&weights.join(file)).unwrap();
        let network = Network::new(model.graph.clone(), model.weights().unwrap()).unwrap();
        let planned = plan::Network::new(model.graph.clone(), model.weights().unwrap()).unwrap();
        let upscalers = ENGINES.map(|engine| Upscaler::of_model(&model, engine).unwrap());
        for case in ["div2k0901", "butterfly", "bird"] {
            let lr = imaging::decode_file(&golden.join(format!("a_{case}_lr.png"))).unwrap().image;
            let expected = golden.join(format!("a_{case}_sr_{name}"));
            let stored = Golden::open(&expected.with_extension("safetensors")).array::<f32>("sr");
            let input = to_nchw(&[&lr], 1.0);
            let forwards = [planned.forward(&input).unwrap(), network.forward(&input).unwrap()];
            // Measured: 1.7e-6 and 1.1e-6. The summation order differs from PyTorch's, whose own distance from f64 is 6.6e-7.
            for ((sr, engine), bound) in forwards.iter().zip(ENGINES).zip([5e-6, 3.5e-6]) {
                let (&[_, height, width], &[_, _, _, full]) = (stored.shape(), sr.shape()) else {
                    panic!("shapes")
                };
                let rows = sr.data().chunks_exact(full).enumerate();
                let window = rows.filter(|(row, _)| row % (4 * lr.height()) < height);
                let window: Vec<f32> = window.flat_map(|(_, row)| row[..width].to_vec()).collect();
                let window = Array::new(stored.shape(), window).unwrap();
                let what = format!("{case} {name} {}", engine.name());
                assert_within(&what, largest_difference(&window, &stored), bound);
            }
            let expected = imaging::decode_file(&expected.with_extension("png")).unwrap().image;
            for upscaler in &upscalers {
                let found = upscaler.upscale(&lr).unwrap();
                let apart = found.pixels().iter().zip(expected.pixels()).filter(|(a, b)| a != b);
                let apart: Vec<u8> = apart.map(|(&a, &b)| a.abs_diff(b)).collect();
                // Float sums in another order round a few values to the other side.
                assert!(apart.len() <= 16 && apart.iter().all(|&d| d == 1), "{case} {name}: {apart:?}");
            }
        }
    }
}

/// Every value inside the first block of the released model, and the outputs of all blocks, on an 8x8 input.
#[test]
fn released_model_gives_the_official_activations() {
    let (Some(weights), Some(golden)) = (reference("weights"), reference("golden")) else {
        return;
    };
    let model = Model::from_file(&weights.join("team26_imdn_nb7.pth")).unwrap();
    let golden = Golden::open(&golden.join("b_imdb_acts.safetensors"));
    let nodes = model.graph.nodes();
    let position = |name: &str| {
        nodes.iter().position(|node| node.name == name && matches!(node.op, Op::Conv2d(_))).unwrap()
    };
    let all = |wanted: fn(&Op) -> bool| (0..nodes.len()).filter(move |&index| wanted(&nodes[index].op));
    let mut at: Vec<(String, usize)> = vec![
        ("head".into(), position("model.0")),
        ("d4".into(), position("model.1.sub.0.conv4")),
        ("conv1x1".into(), position("model.1.sub.0.conv1x1")),
        ("sub7_out".into(), position("model.1.sub.7")),
        ("up_conv".into(), position("model.2")),
        ("sr".into(), model.graph.output().index()),
        ("cat".into(), all(|op| matches!(op, Op::Concat)).next().unwrap()),
    ];
    let adds: Vec<usize> = all(|op| matches!(op, Op::Add)).collect();
    at.extend((0..7).map(|block| (format!("sub{block}_out"), adds[block])));
    at.push(("block_out".into(), adds[0]));
    at.push(("trunk_out".into(), adds[7]));
    let mut splits = all(|op| matches!(op, Op::Narrow { .. }));
    for step in 1..=3 {
        let conv = position(&format!("model.1.sub.0.conv{step}.0"));
        at.extend([(format!("conv{step}_pre"), conv), (format!("conv{step}_post"), conv + 1)]);
        at.extend([
            (format!("d{step}"), splits.next().unwrap()),
            (format!("r{step}"), splits.next().unwrap()),
        ]);
    }
    assert_eq!(at.len(), 28);
    let input = golden.array::<f32>("input");
    let mut worst = 0.0f64;
    for (name, index) in at {
        let part = model.graph.ending_at(index);
        let found = Network::new(part, model.weights().unwrap()).unwrap().forward(&input).unwrap();
        let expected = golden.array::<f32>(&name);
        let size = expected.data().iter().fold(1.0f32, |size, value| size.max(value.abs()));
        worst = worst.max(largest_difference(&found, &expected) / f64::from(size));
    }
    // Measured: 1.8e-6.
    assert_within("activations", worst, 5e-6);
}

/// Every operation has a gradient: that of two numbers in each tensor is compared with a difference quotient in f64. The image is large enough that
/// the attention's pooled map has 3x2 values, so that the bilinear resize is not constant.
#[test]
fn gradients_are_difference_quotients() {
    for text in [
        "rfdn:blocks=1,channels=8,scale=2",
        "rlfn:blocks=1,channels=6,middle=7,attention=4,scale=2",
        "imdn:blocks=1,channels=6,distilled=2,scale=2,branches=1x1+identity+wide7",
    ] {
        let graph = graph(text);
        let weights = widen(&kaiming_uniform(&graph, 2));
        let lr = uniform::<f64>([1, 3, 28, 24], 3);
        let sr = Network::new(graph.clone(), &weights).unwrap().forward(&lr).unwrap();
        // Targets on both sides of the output, so that the signs of the loss differ.
        let mut shift = uniform::<f64>(sr.shape(), 4).into_data().into_iter();
        let hr = sr.map(|value| value + shift.next().unwrap() - 0.5);
        let found = loss_and_gradients(&graph, &weights, &lr, &hr).unwrap();
        let loss = |weights: &Named<f64>| {
            let sr = Network::new(graph.clone(), weights).unwrap().forward(&lr).unwrap();
            let sum: f64 = sr.data().iter().zip(hr.data()).map(|(a, b)| (a - b).abs()).sum();
            sum / sr.len() as f64
        };
        assert!((loss(&weights) - found.loss).abs() < 1e-14);
        let mut worst = 0.0f64;
        for (key, gradient) in &found.gradients {
            for index in [0, gradient.len() / 2] {
                let moved = |by: f64| {
                    let mut weights = weights.clone();
                    weights.get_mut(key).unwrap().data_mut()[index] += by;
                    loss(&weights)
                };
                let quotient = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                worst = worst.max((quotient - gradient.data()[index]).abs());
            }
        }
        // Measured: 1.4e-9, the rounding of a loss near 0.3 divided by the step.
        assert_within(text, worst, 5e-9);
    }
}

/// A model of one 1x1 convolution with the given weight and bias, then `after`.
fn one(after: fn(&mut GraphBuilder, crate::graph::Value) -> crate::graph::Value) -> Graph {
    let mut g = GraphBuilder::new();
    let x = g.input(1);
    let y = g.conv1x1("c", x, 1);
    let y = after(&mut g, y);
    g.finish(y, 1).unwrap()
}

fn one_weights(weight: f64, bias: f64) -> Named<f64> {
    Named::from([
        ("c.weight".to_owned(), Array::filled([1, 1, 1, 1], weight)),
        ("c.bias".to_owned(), Array::filled([1], bias)),
    ])
}

/// PyTorch's choices: LeakyReLU's gradient at zero is the slope, ReLU's and the L1 loss's are zero.
#[test]
fn gradients_at_kinks_are_pytorchs() {
    let ones = Array::filled([1, 1, 2, 2], 1.0);
    let below = Array::filled([1, 1, 2, 2], -1.0);
    let gradient = |graph: &Graph, weights: &Named<f64>, hr: &Array<f64>| {
        loss_and_gradients(graph, weights, &ones, hr).unwrap().gradients["c.bias"].data()[0]
    };
    assert_eq!(gradient(&one(|g, y| g.leaky_relu(y, 0.25)), &one_weights(0.0, 0.0), &below), 0.25);
    assert_eq!(gradient(&one(|g, y| g.relu(y)), &one_weights(0.0, 0.0), &below), 0.0);
    assert_eq!(gradient(&one(|_, y| y), &one_weights(1.0, 0.0), &ones), 0.0);
    assert_eq!(gradient(&one(|_, y| y), &one_weights(2.0, 0.0), &ones), 1.0);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let graph = graph("rfdn:blocks=1,channels=8");
    let mut weights = kaiming_uniform(&graph, 1);
    let network = Network::new(graph.clone(), &weights).unwrap();
    assert!(
        network
            .forward(&Array::filled([1, 1, 20, 20], 0.0))
            .unwrap_err()
            .to_string()
            .contains("N x 3 x H x W")
    );
    assert!(network.forward(&Array::filled([1, 3, 14, 20], 0.0)).unwrap_err().to_string().contains("20x14"));
    let (lr, hr) = (Array::filled([1, 3, 20, 20], 0.0), Array::filled([1, 3, 20, 20], 0.0));
    assert!(loss_and_gradients(&graph, &weights, &lr, &hr).is_err());
    weights.remove("fea_conv.bias");
    let message = Network::new(graph, &weights).err().unwrap().to_string();
    assert_eq!(message, "the weights lack `fea_conv.bias` of shape [8]");
}

#[test]
fn bicubic_upscaling_is_the_imaging_modules() {
    let image = picture(13, 9);
    let upscaler = Upscaler::new(&graph("bicubic"), &StateDict::new(), Engine::Plan).unwrap();
    assert_eq!(upscaler.scale(), 4);
    assert_eq!(upscaler.upscale(&image).unwrap(), imaging::upscale_bicubic(&image, 4).unwrap());
}

/// A model that repeats each pixel twice each way gives every 8-bit value back, in either data range.
#[test]
fn both_data_ranges_keep_every_8_bit_value() {
    let mut g = GraphBuilder::new();
    let x = g.input(3);
    let y = g.conv1x1("c", x, 12);
    let y = g.pixel_shuffle(y, 2);
    let graph = g.finish(y, 2).unwrap();
    let mut weight = Array::filled([12, 3, 1, 1], 0.0f32);
    (0..12).for_each(|out| weight.data_mut()[out * 3 + out / 4] = 1.0);
    let weights = StateDict::from([("c.weight".into(), weight), ("c.bias".into(), Array::filled([12], 0.0))]);
    let lr = RgbImage::new(16, 16, (0..768).map(|at| (at / 3 + at % 3 * 85) as u8).collect()).unwrap();
    for range in [1.0, 255.0] {
        let largest = to_nchw(&[&lr], range).data().iter().fold(0.0f32, |a, &b| a.max(b));
        assert_eq!(largest, range);
        for engine in ENGINES {
            let upscaler = Upscaler::new(&graph.clone().with_data_range(range), &weights, engine).unwrap();
            let sr = upscaler.upscale(&lr).unwrap();
            for (at, pixel) in sr.pixels().chunks_exact(3).enumerate() {
                let (x, y) = (at % 32 / 2, at / 32 / 2);
                assert_eq!(
                    pixel,
                    &lr.pixels()[(y * 16 + x) * 3..][..3],
                    "range {range}, {x}, {y}, {engine:?}"
                );
            }
        }
    }
}

#[test]
fn an_output_that_is_not_a_number_is_no_image() {
    let graph = graph("imdn:blocks=1,channels=4,distilled=1");
    let mut weights = kaiming_uniform(&graph, 1);
    weights.insert("model.2.bias".into(), Array::filled([48], f32::NAN));
    let told = ENGINES.map(|engine| {
        let upscaler = Upscaler::new(&graph, &weights, engine).unwrap();
        upscaler.upscale(&picture(5, 4)).unwrap_err().to_string()
    });
    assert_eq!(told[0], told[1]);
    assert!(told[0].contains("not a number"), "{}", told[0]);
}

/// What is fused into the planned engine's passes is what happens after its forward pass otherwise.
#[test]
fn eight_bits_are_those_of_the_floats() {
    let graph = graph("imdn:blocks=1,channels=16,distilled=4");
    let upscaler = Upscaler::new(&graph, &kaiming_uniform(&graph, 4), Engine::Plan).unwrap();
    for (width, height) in [(23, 31), (8, 40), (40, 9)] {
        let lr = picture(width, height);
        // Memory of another size is no harm.
        let previous = upscaler.forward(&upscaler.prepare(&picture(20, 20)), None).unwrap();
        let forwarded = upscaler.forward(&upscaler.prepare(&lr), Some(previous)).unwrap();
        assert_eq!(upscaler.finish(forwarded).unwrap(), upscaler.upscale(&lr).unwrap());
    }
}

#[test]
fn a_collapse_is_proven_or_refuted() {
    let expanded = graph("imdn:blocks=2,channels=8,distilled=2,branches=1x1+identity+wide12");
    let collapsed = collapse(&expanded);
    let weights = kaiming_uniform(&expanded, 1);
    let names = || ["expanded".to_owned(), "collapsed".to_owned()];
    let proof = compare(names(), &expanded, &collapsed, &weights, &[picture(9, 7)]).unwrap();
    assert!(proof.equal && proof.real_f64.is_some_and(|real| real < 1e-13), "{proof:?}");
    assert!(proof.parameters_collapsed < proof.parameters_expanded);

    // A fold that forgets a branch.
    let mut wrong = collapsed.clone();
    for (_, fold) in &mut wrong.folds {
        if let crate::graph::fold::Fold::Sum(branches) = fold {
            branches.pop();
            break;
        }
    }
    let proof = compare(names(), &expanded, &wrong, &weights, &[]).unwrap();
    assert!(!proof.equal && proof.max_abs_difference > 1e-3, "{proof:?}");

    let mut broken = weights.clone();
    broken.get_mut("model.0.bias").unwrap().data_mut()[0] = f32::NAN;
    let proof = compare(names(), &expanded, &collapsed, &broken, &[]).unwrap();
    assert!(!proof.equal && proof.random_f32.is_infinite() && proof.random_f64.is_infinite(), "{proof:?}");
}

#[test]
fn what_is_timed_is_what_is_scored() {
    let graph = graph("imdn:blocks=1,channels=4,distilled=1");
    let upscaler = Upscaler::new(&graph, &kaiming_uniform(&graph, 1), Engine::Plan).unwrap();
    let images = vec![("a".to_owned(), picture(6, 5)), ("b".to_owned(), picture(5, 8))];
    let mut timed = TimedModel::on_images(&upscaler, images.clone());
    assert!(timed.run(0).is_err(), "nothing was prepared");
    for (index, (name, image)) in images.iter().enumerate() {
        assert_eq!(timed.items()[index].name.as_ref(), Some(name));
        timed.prepare(index).unwrap();
        timed.run(index).unwrap();
        let expected = fsio::sha256_hex(upscaler.upscale(image).unwrap().pixels());
        assert_eq!(timed.output_digest(), Some(expected));
        assert_eq!(timed.output_digest(), None, "an output is digested once");
    }
    let random = TimedModel::on_size(&upscaler, 7, 6);
    assert_eq!((random.items()[0].width, random.items()[0].height), (7, 6));
    assert!(TimedModel::on_size(&upscaler, 0, 6).items().is_empty());
}
