//! The form of a training step: what is there, in which order, and what is not.

mod values;

use super::*;
use crate::graph::{BuildError, Conv2d, GraphBuilder, Value, inspect, shapes};
use crate::models::{Architecture, ModelIdentity};

fn graph(text: &str) -> Graph {
    text.parse::<Architecture>().unwrap().graph().unwrap()
}

/// The models of the tests, small, and the size of an LR image on which nothing in them is degenerate: the attention's pooled map has 3x2 values.
fn models() -> Vec<(Graph, [usize; 2])> {
    let imdn = "imdn:blocks=2,channels=16,distilled=4,scale=2";
    vec![
        (graph(imdn), [9, 7]),
        (graph(&format!("{imdn},branches=1x1+identity+wide20,collapsible=all")), [9, 7]),
        (graph("rfdn:blocks=1,channels=8,scale=2"), [28, 24]),
        (graph("rlfn:blocks=1,channels=6,middle=7,attention=4,scale=2"), [28, 24]),
        (handmade().unwrap(), [9, 7]),
    ]
}

/// What the models lack: groups with a stride, a depthwise convolution, no bias, a product of a value with itself, a sum of a value with itself, a negative
/// slope, ranges that overlap or leave channels out, and the image read by more than a convolution.
fn handmade() -> Result<Graph, BuildError> {
    let grouped =
        Conv2d { in_channels: 8, out_channels: 12, kernel: 3, stride: 2, padding: 1, groups: 4, bias: false };
    let depthwise = Conv2d { in_channels: 12, stride: 1, groups: 12, bias: true, ..grouped.clone() };
    let mut g = GraphBuilder::new();
    let x = g.input(3);
    let a = g.conv3x3("a", x, 8);
    let b = g.conv("b", a, grouped);
    let c = g.conv("c", b, depthwise);
    let (gate, kept) = (g.sigmoid(c), g.relu(c));
    let gated = g.mul(gate, kept);
    let (front, back) = (g.split(gated, 7).0, g.split(gated, 5).1);
    let overlapping = g.concat(&[front, back]);
    let pooled = g.max_pool(overlapping, 2, 1);
    let resized = g.resize_bilinear(pooled, a);
    let bent = g.leaky_relu(a, -0.5);
    let part = g.split(bent, 3).0;
    let all = g.concat(&[resized, part, x]);
    let d = g.conv1x1("d", all, 12);
    let square = g.mul(d, d);
    let image = g.pixel_shuffle(square, 2);
    let twice = g.add(image, image);
    g.finish(twice, 2)
}

/// A small description after the input.
type Build = fn(&mut GraphBuilder, Value) -> Value;

fn small(build: Build) -> Graph {
    let mut g = GraphBuilder::new();
    let x = g.input(2);
    let y = build(&mut g, x);
    g.finish(y, 1).unwrap()
}

/// The nodes that the training step adds, without the loss.
fn added(build: Build) -> String {
    let forward = small(build);
    let text = backward(&forward).unwrap().graph.to_string();
    let lines = text.lines().skip(forward.nodes().len() + 3).filter(|line| !line.starts_with("return"));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn the_training_step_of_a_tiny_imdn() {
    let step = backward(&graph("imdn:blocks=1,channels=4,distilled=1,scale=2")).unwrap();
    insta::assert_snapshot!(step, @"
    %0 = input() # input
    %1 = conv3x3(%0) # model.0
    %2 = conv3x3(%1) # model.1.sub.0.conv1.0
    %3 = leaky_relu(0.05)(%2) # model.1.sub.0.conv1.0
    %4 = channels[0..1](%3) # model.1.sub.0.conv1.0
    %5 = channels[1..4](%3) # model.1.sub.0.conv1.0
    %6 = conv3x3(%5) # model.1.sub.0.conv2.0
    %7 = leaky_relu(0.05)(%6) # model.1.sub.0.conv2.0
    %8 = channels[0..1](%7) # model.1.sub.0.conv2.0
    %9 = channels[1..4](%7) # model.1.sub.0.conv2.0
    %10 = conv3x3(%9) # model.1.sub.0.conv3.0
    %11 = leaky_relu(0.05)(%10) # model.1.sub.0.conv3.0
    %12 = channels[0..1](%11) # model.1.sub.0.conv3.0
    %13 = channels[1..4](%11) # model.1.sub.0.conv3.0
    %14 = conv3x3(%13) # model.1.sub.0.conv4
    %15 = concat(%4, %8, %12, %14) # model.1.sub.0.conv1.0
    %16 = conv1x1(%15) # model.1.sub.0.conv1x1
    %17 = add(%1, %16) # model.0
    %18 = conv3x3(%17) # model.1.sub.1
    %19 = add(%1, %18) # model.0
    %20 = conv3x3(%19) # model.2
    %21 = pixel_shuffle(x2)(%20) # model.2
    %22 = target() # target
    %23 = l1_loss(%21, %22) # loss
    %24 = l1_loss_grad(%21, %22) # loss
    %25 = pixel_unshuffle(x2)(%24) # model.2
    %26 = weight_grad(conv3x3)(%19, %25) # model.2
    %27 = bias_grad(%25) # model.2
    %28 = input_grad(conv3x3)(%25, %19) # model.2
    %29 = weight_grad(conv3x3)(%17, %28) # model.1.sub.1
    %30 = bias_grad(%28) # model.1.sub.1
    %31 = input_grad(conv3x3)(%28, %17) # model.1.sub.1
    %32 = add(%28, %31) # model.0
    %33 = weight_grad(conv1x1)(%15, %31) # model.1.sub.0.conv1x1
    %34 = bias_grad(%31) # model.1.sub.0.conv1x1
    %35 = input_grad(conv1x1)(%31, %15) # model.1.sub.0.conv1x1
    %36 = channels[0..1](%35) # model.1.sub.0.conv1.0
    %37 = channels[1..2](%35) # model.1.sub.0.conv1.0
    %38 = channels[2..3](%35) # model.1.sub.0.conv1.0
    %39 = channels[3..4](%35) # model.1.sub.0.conv1.0
    %40 = weight_grad(conv3x3)(%13, %39) # model.1.sub.0.conv4
    %41 = bias_grad(%39) # model.1.sub.0.conv4
    %42 = input_grad(conv3x3)(%39, %13) # model.1.sub.0.conv4
    %43 = concat(%38, %42) # model.1.sub.0.conv3.0
    %44 = leaky_relu_grad(0.05)(%43, %11) # model.1.sub.0.conv3.0
    %45 = weight_grad(conv3x3)(%9, %44) # model.1.sub.0.conv3.0
    %46 = bias_grad(%44) # model.1.sub.0.conv3.0
    %47 = input_grad(conv3x3)(%44, %9) # model.1.sub.0.conv3.0
    %48 = concat(%37, %47) # model.1.sub.0.conv2.0
    %49 = leaky_relu_grad(0.05)(%48, %7) # model.1.sub.0.conv2.0
    %50 = weight_grad(conv3x3)(%5, %49) # model.1.sub.0.conv2.0
    %51 = bias_grad(%49) # model.1.sub.0.conv2.0
    %52 = input_grad(conv3x3)(%49, %5) # model.1.sub.0.conv2.0
    %53 = concat(%36, %52) # model.1.sub.0.conv1.0
    %54 = leaky_relu_grad(0.05)(%53, %3) # model.1.sub.0.conv1.0
    %55 = weight_grad(conv3x3)(%1, %54) # model.1.sub.0.conv1.0
    %56 = bias_grad(%54) # model.1.sub.0.conv1.0
    %57 = input_grad(conv3x3)(%54, %1) # model.1.sub.0.conv1.0
    %58 = add(%32, %57) # model.0
    %59 = weight_grad(conv3x3)(%0, %58) # model.0
    %60 = bias_grad(%58) # model.0
    return %23 # x2, data range 1
    sr %21
    gradient %59 # model.0.weight
    gradient %60 # model.0.bias
    gradient %55 # model.1.sub.0.conv1.0.weight
    gradient %56 # model.1.sub.0.conv1.0.bias
    gradient %50 # model.1.sub.0.conv2.0.weight
    gradient %51 # model.1.sub.0.conv2.0.bias
    gradient %45 # model.1.sub.0.conv3.0.weight
    gradient %46 # model.1.sub.0.conv3.0.bias
    gradient %40 # model.1.sub.0.conv4.weight
    gradient %41 # model.1.sub.0.conv4.bias
    gradient %33 # model.1.sub.0.conv1x1.weight
    gradient %34 # model.1.sub.0.conv1x1.bias
    gradient %29 # model.1.sub.1.weight
    gradient %30 # model.1.sub.1.bias
    gradient %26 # model.2.weight
    gradient %27 # model.2.bias
    ");
}

#[test]
fn forward_nodes_stay_and_all_others_are_needed() {
    for (forward, [height, width]) in models() {
        let step = backward(&forward).unwrap();
        let count = forward.nodes().len();
        assert_eq!(step.graph.nodes()[..count], *forward.nodes());
        assert_eq!((step.sr, step.graph.output()), (forward.output(), step.loss));
        assert_eq!((step.graph.scale(), step.graph.data_range()), (forward.scale(), forward.data_range()));
        for (index, node) in step.graph.nodes().iter().enumerate() {
            assert!(node.inputs.iter().all(|input| input.index() < index), "{node:?}");
        }
        // Readers stand behind what they read, so following any reader ends at a root: a node is needed if and only if it has a reader.
        let uses = step.use_counts();
        assert!(uses[count..].iter().all(|&uses| uses > 0), "{step}");
        assert_eq!(uses[step.loss.index()], 1);
        let sum: usize = step.graph.nodes().iter().map(|node| node.inputs.len()).sum();
        assert_eq!(uses.iter().sum::<usize>(), sum + 2 + forward.parameters().len());

        assert_eq!(step.graph.parameters(), forward.parameters());
        let keys = step.gradients.iter().map(|(key, _)| key);
        assert!(keys.eq(forward.parameters().iter().map(|(key, _)| key)));
        let shapes = shapes(&step.graph, width, height).unwrap();
        assert_eq!(shapes[step.loss.index()], [1, 1, 1]);
        for ((_, id), (_, shape)) in step.gradients.iter().zip(forward.parameters()) {
            let expected = match shape.as_slice() {
                &[out, input, kernel, _] => [out, input, kernel * kernel],
                other => [other[0], 1, 1],
            };
            assert_eq!(shapes[id.index()], expected);
        }
    }
}

/// The gradient of a value has the value's shape: checked where an operation states the shape rather than takes it from `dy`.
#[test]
fn gradients_have_the_shape_of_their_values() {
    for (forward, [height, width]) in models() {
        let step = backward(&forward).unwrap();
        let shapes = shapes(&step.graph, width, height).unwrap();
        for (node, shape) in step.graph.nodes().iter().zip(&shapes) {
            let input = |at: usize| shapes[node.inputs[at].index()];
            match &node.op {
                Op::LeakyReluGrad { .. } | Op::SigmoidGrad => assert_eq!(input(0), input(1), "{node:?}"),
                Op::ConvInputGrad(_) | Op::MaxPoolGrad { .. } | Op::ResizeBilinearGrad => {
                    assert_eq!(*shape, input(1), "{node:?}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn weight_gradients_stand_directly_before_the_input_gradient() {
    for (forward, _) in models() {
        let step = backward(&forward).unwrap();
        let nodes = step.graph.nodes();
        for (index, node) in nodes.iter().enumerate() {
            if let Op::ConvInputGrad(conv) = &node.op {
                let before = &nodes[index - 1 - usize::from(conv.bias)..index];
                assert!(before.iter().all(|other| other.name == node.name), "{node:?}");
                assert!(matches!(before[0].op, Op::ConvWeightGrad(_)), "{node:?}");
                assert!(before[1..].iter().all(|other| other.op == Op::ConvBiasGrad), "{node:?}");
            }
        }
        let convolutions = forward.convolutions().count();
        let of_image =
            nodes.iter().filter(|n| matches!(n.op, Op::Conv2d(_)) && n.inputs[0] == NodeId(0)).count();
        let input_grads = nodes.iter().filter(|n| matches!(n.op, Op::ConvInputGrad(_))).count();
        assert_eq!(input_grads, convolutions - of_image);
    }
}

#[test]
fn ranges_that_fill_a_value_are_joined_at_once() {
    let (split, unused, overlap, whole): (Build, Build, Build, Build) = (
        |g, x| {
            let y = g.conv1x1("a", x, 5);
            let y = g.leaky_relu(y, 0.5);
            let (first, rest) = g.split(y, 2);
            let swapped = g.concat(&[rest, first]);
            // A reader of the size alone hands nothing on.
            g.resize_bilinear(swapped, y)
        },
        |g, x| {
            let y = g.conv1x1("a", x, 5);
            g.split(y, 2).1
        },
        |g, x| {
            let y = g.conv1x1("a", x, 4);
            let (first, rest) = (g.split(y, 2).0, g.split(y, 1).1);
            let rest = g.split(rest, 2).0;
            g.mul(first, rest)
        },
        |g, x| {
            let y = g.conv1x1("a", x, 4);
            let (first, rest) = g.split(y, 2);
            let all = g.concat(&[first, rest]);
            g.add(all, y)
        },
    );
    insta::assert_snapshot!(added(split), @"
    %10 = resize_bilinear_grad(%9, %5) # a
    %11 = channels[0..3](%10) # a
    %12 = channels[3..5](%10) # a
    %13 = concat(%12, %11) # a
    %14 = leaky_relu_grad(0.5)(%13, %2) # a
    %15 = weight_grad(conv1x1)(%0, %14) # a
    %16 = bias_grad(%14) # a
    ");
    insta::assert_snapshot!(added(unused), @"
    %7 = place[2.. of 5](%6) # a
    %8 = weight_grad(conv1x1)(%0, %7) # a
    %9 = bias_grad(%7) # a
    ");
    insta::assert_snapshot!(added(overlap), @"
    %12 = mul(%11, %6) # a
    %13 = mul(%11, %2) # a
    %14 = place[0.. of 3](%13) # a
    %15 = place[1.. of 4](%14) # a
    %16 = place[0.. of 4](%12) # a
    %17 = add(%15, %16) # a
    %18 = weight_grad(conv1x1)(%0, %17) # a
    %19 = bias_grad(%17) # a
    ");
    insta::assert_snapshot!(added(whole), @"
    %9 = channels[0..2](%8) # a
    %10 = channels[2..4](%8) # a
    %11 = place[2.. of 4](%10) # a
    %12 = add(%8, %11) # a
    %13 = place[0.. of 4](%9) # a
    %14 = add(%12, %13) # a
    %15 = weight_grad(conv1x1)(%0, %14) # a
    %16 = bias_grad(%14) # a
    ");
}

#[test]
fn only_a_negative_slope_reads_the_input() {
    let signs = |slope: f32| {
        let mut g = GraphBuilder::new();
        let x = g.input(1);
        let y = g.conv1x1("a", x, 1);
        let y = g.leaky_relu(y, slope);
        let step = backward(&g.finish(y, 1).unwrap()).unwrap();
        let mut nodes = step.graph.nodes().iter();
        nodes.find(|node| node.op == Op::LeakyReluGrad { slope }).unwrap().inputs[1].index()
    };
    assert_eq!([0.25, 0.0, -0.0, 1.5, -0.25].map(signs), [2, 2, 2, 2, 1]);
}

#[test]
fn what_does_not_depend_on_a_weight_has_no_gradient() {
    let image: Build = |g, x| g.sigmoid(x);
    let step = backward(&small(image)).unwrap();
    assert!(step.gradients.is_empty());
    assert_eq!(step.graph.nodes().len(), 4);
    assert_eq!(step.use_counts(), [1, 2, 1, 1]);
    let product: Build = |g, x| {
        let y = g.conv1x1("a", x, 2);
        let x = g.relu(x);
        g.mul(x, y)
    };
    insta::assert_snapshot!(added(product), @"
    %7 = mul(%6, %2) # input
    %8 = weight_grad(conv1x1)(%0, %7) # a
    %9 = bias_grad(%7) # a
    ");
}

#[test]
fn what_cannot_be_trained_is_named() {
    let message = |graph: &Graph| backward(graph).unwrap_err().to_string();
    insta::assert_snapshot!(message(&graph("bicubic")), @"`input` cannot be trained through: `upscale_bicubic(x4)` has no gradient; leave it out of the model to train it");
    insta::assert_snapshot!(message(&backward(&graph("imdn:blocks=1,channels=4,distilled=1")).unwrap().graph), @"`loss` cannot be trained through: `l1_loss` has no gradient; leave it out of the model to train it");
    let dead: Build = |g, x| {
        let y = g.conv1x1("used", x, 2);
        g.conv1x1("unused", y, 2);
        y
    };
    insta::assert_snapshot!(message(&small(dead)), @"`unused` has no gradient: its value does not reach the SR image; leave it out of the model to train it");
    let only_its_size: Build = |g, x| {
        let (y, like) = (g.conv1x1("used", x, 2), g.conv1x1("size", x, 2));
        g.resize_bilinear(y, like)
    };
    assert!(message(&small(only_its_size)).starts_with("`size` has no gradient"));
}

#[test]
fn like_inputs_are_read_for_their_shape_only() {
    let step = backward(&handmade().unwrap()).unwrap();
    let mut shape_only: Vec<String> = Vec::new();
    for node in step.graph.nodes() {
        for at in 0..node.inputs.len() {
            if node.op.reads_only_shape(at) {
                shape_only.push(format!("{} {at}", node.op.label()));
            }
        }
    }
    shape_only.sort();
    shape_only.dedup();
    let expected = [
        "input_grad(conv1x1) 1",
        "input_grad(conv3x3/g12) 1",
        "input_grad(conv3x3/s2/g4) 1",
        "resize_bilinear 1",
        "resize_bilinear_grad 1",
    ];
    assert_eq!(shape_only, expected);
}

/// A model whose output is not `scale` times its input has no target.
#[test]
fn the_target_is_as_large_as_the_scale_says() {
    let mut g = GraphBuilder::new();
    let x = g.input(3);
    let y = g.conv3x3("a", x, 3);
    let step = backward(&g.finish(y, 2).unwrap()).unwrap();
    let message = shapes(&step.graph, 5, 4).unwrap_err().to_string();
    assert_eq!(
        message,
        "an LR image of 5x4 pixels does not go through `loss`: shapes [3, 4, 5] and [3, 8, 10] do not agree"
    );
}

/// A step's convolutions cost three forward passes, less the input gradient of what reads the image.
#[test]
fn a_step_costs_three_forward_passes_less_the_heads_input_gradient() {
    let model = || ModelIdentity { architecture: "test".into(), weights_sha256: None };
    for (forward, [height, width]) in models() {
        let once = inspect(&forward, model(), width, height).unwrap();
        let step = backward(&forward).unwrap().graph;
        let step = inspect(&step, model(), width, height).unwrap();
        let convolutions = || once.layers.iter().filter(|layer| layer.op.starts_with("conv"));
        let heads: Vec<&str> = forward
            .convolutions()
            .filter(|(node, _)| node.inputs[0] == NodeId(0))
            .map(|(node, _)| node.name.as_str())
            .collect();
        let head: u64 =
            convolutions().filter(|l| heads.contains(&l.name.as_str())).map(|l| l.flops_fvcore).sum();
        let all: u64 = convolutions().map(|layer| layer.flops_fvcore).sum();
        assert!(head > 0);
        assert_eq!(step.flops_fvcore - once.flops_fvcore, 2 * all - head);
        assert_eq!(step.flops_ntire2022 - once.flops_ntire2022, 2 * all - head);
        assert_eq!(
            (step.parameters, step.activations, step.convolutions),
            (once.parameters, once.activations, once.convolutions)
        );
    }
}
