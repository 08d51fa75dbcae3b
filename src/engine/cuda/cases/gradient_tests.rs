//! The cases of gradients, and their twins against the definition.

use super::*;
use crate::engine::cuda::launch::gradient::{fits, splits, sums, weight_gradient};
use crate::engine::cuda::told::AnyParams;
use crate::engine::cuda::{Format, HostMemory};
use crate::random::Random;

/// The values of a range in f64, by image, row, column and channel.
fn value(memory: &HostMemory, format: Format, sources: &[Source], pixel: i32, mut channel: i32) -> f64 {
    for source in sources {
        if channel < source.channels {
            let index = (pixel * source.pixel + channel) as u64;
            return f64::from(memory.value(format, source.address, index).unwrap());
        }
        channel -= source.channels;
    }
    panic!("there is no such channel");
}

/// The sum over all outputs of dy times the convolution of x with some weight and bias: by the definition, as a loop over outputs.
fn product(memory: &HostMemory, format: Format, p: &WeightGradient, weight: &[f64], bias: &[f64]) -> f64 {
    let ins = p.in_channels / p.groups;
    let mut total = 0.0;
    for (image, y, x) in pixels([p.images, p.height, p.width]) {
        for out in 0..p.out_channels {
            let mut sum = bias[out as usize];
            for (channel, ky, kx) in pixels([ins, p.kernel, p.kernel]) {
                let (row, column) = (y * p.stride + ky - p.padding, x * p.stride + kx - p.padding);
                if (0..p.input_height).contains(&row) && (0..p.input_width).contains(&column) {
                    let pixel = (image * p.input_height + row) * p.input_width + column;
                    let group = out / (p.out_channels / p.groups);
                    let input = value(memory, format, &p.inputs, pixel, group * ins + channel);
                    sum += input * weight[(((out * ins + channel) * p.kernel + ky) * p.kernel + kx) as usize];
                }
            }
            total += sum * value(memory, format, &p.gradients, (image * p.height + y) * p.width + x, out);
        }
    }
    total
}

fn pixels([a, b, c]: [i32; 3]) -> impl Iterator<Item = (i32, i32, i32)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

/// The gradient of a sum that is linear in the weights, times those weights, is the sum.
#[test]
fn twins_are_adjoint_to_the_convolution() {
    for case in cases().unwrap() {
        let prepared = case.prepare(Math::Bf16).unwrap();
        let AnyParams::WeightGradient(p) = prepared.steps[0].params else { panic!("{}", case.name) };
        let expected = prepared.expected().unwrap();
        let mut random = Random::new(&[case.seed, 1]);
        let mut draw = |count: usize| (0..count).map(|_| random.uniform() - 0.5).collect::<Vec<f64>>();
        let weight = draw(sums(&p) as usize);
        let bias = draw(p.out_channels as usize);
        let mut found = 0.0;
        let factors = [(1, &weight)].into_iter().chain(case.bias.then_some((2, &bias)));
        for (step, factors) in factors {
            let AnyParams::Finish(finish) = prepared.steps[step].params else { panic!("{}", case.name) };
            for (index, factor) in factors.iter().enumerate() {
                let value = expected.value(Format::F32, finish.target, index as u64).unwrap();
                found += f64::from(value) * factor;
            }
        }
        let bias = if case.bias { bias } else { vec![0.0; bias.len()] };
        let wanted = product(&prepared.memory, Format::Bf16, &p, &weight, &bias);
        assert!(
            (found - wanted).abs() < 1e-6 * wanted.abs().max(0.1),
            "{}: {found}, expected {wanted}",
            case.name
        );
    }
}

#[test]
fn cases_take_the_kernels_that_their_names_tell() {
    for prepared in prepared().unwrap() {
        let direct = prepared.steps[0].launch.kernel == "weight_gradient_direct";
        assert_eq!(prepared.name.contains("direct"), direct, "{}", prepared.name);
        assert!(prepared.steps[0].launch.shared_bytes <= 48 * 1024, "{}", prepared.name);
    }
}

/// A step of the paper's recipe: batch 32 of 64 × 64 pixels on an H100, which has 132 multiprocessors.
#[test]
fn a_layer_fills_the_device_and_its_sums_stay_small() {
    let source = Source { address: 0x1_0000, pixel: 64, channels: 64 };
    let mut p = WeightGradient {
        input_count: 1,
        gradient_count: 1,
        images: 32,
        height: 64,
        width: 64,
        input_height: 64,
        input_width: 64,
        in_channels: 64,
        out_channels: 64,
        kernel: 3,
        stride: 1,
        padding: 1,
        groups: 1,
        ..WeightGradient::default()
    };
    p.inputs[0] = source;
    p.gradients[0] = source;
    for math in MATHS {
        p.splits = splits(&p, math, 132).unwrap();
        let launch = weight_gradient(&p, math).unwrap();
        let blocks: u32 = launch.grid.iter().product();
        let warps: u32 = blocks * launch.block.iter().product::<u32>() / 32;
        assert!((132 * 14..=132 * 16).contains(&warps), "{math:?}: {launch:?}");
        assert!(sums(&p) * 4 * p.splits as u64 <= 24 << 20, "{math:?}: {launch:?}");
    }
    assert!(fits(&p, Math::Bf16));
    assert!(splits(&p, Math::F16, 132).is_none() && weight_gradient(&p, Math::F16).is_none());
    p.stride = 2;
    assert!(!fits(&p, Math::Bf16));
}
