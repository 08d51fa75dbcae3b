//! Updates, folded branches and patches.

use super::{bits, on_the_cpu, values};
use crate::array::Array;
use crate::engine::cpu::adam::{Adam, Step};
use crate::engine::cuda::cases::Prepared;
use crate::engine::cuda::{HostMemory, params};
use crate::graph::Conv2d;
use crate::graph::fold::{Fold, Linear, Named};
use crate::imaging::{Augmentation, RgbImage, RgbView, augment};

pub(super) fn adam(p: &params::Adam, before: &HostMemory, after: &HostMemory, name: &str) -> usize {
    let count = p.count as usize;
    let all = |memory: &HostMemory| [p.weights, p.first, p.second].map(|at| values(memory, at, count));
    let gradients = values(before, p.gradients, count);
    let [mut weights, mut first_moment, mut second_moment] = all(before);
    let loss = f64::from_le_bytes(before.read(p.loss).unwrap());
    if loss.is_finite() && gradients.iter().all(|gradient| gradient.is_finite()) {
        let step = values(before, p.step, 6);
        on_the_cpu(Adam {
            step: Step {
                step_size: step[0],
                root_correction: step[1],
                lerp: step[2],
                decay: step[3],
                gain: step[4],
                epsilon: step[5],
            },
            weights: &mut weights,
            gradients: &gradients,
            first_moment: &mut first_moment,
            second_moment: &mut second_moment,
        });
    }
    for (expected, found) in [weights, first_moment, second_moment].iter().zip(all(after)) {
        assert_eq!(bits(expected), bits(&found), "{name}");
    }
    1
}

pub(super) fn fold(case: &Prepared, p: params::Fold, after: &HostMemory) -> usize {
    for index in 0..p.tensor_count as u64 {
        let at = p.tensors + index * size_of::<params::Folded>() as u64;
        let [channels, inputs, kernel, first_branch, branch_count, _] = numbers(after, at + 8);
        let out = channels / inputs;
        let place = |address: u64, at: u64| address + 4 * u64::from_le_bytes(after.read(at).unwrap());
        let (mut branches, mut weights) = (Vec::new(), Named::new());
        for branch in first_branch..first_branch + branch_count {
            let at = p.branches + (branch * size_of::<params::Branch>()) as u64;
            let [side, _] = numbers(after, at + 8);
            if side == 0 {
                branches.push(Fold::Identity { channels: inputs });
                continue;
            }
            let conv = Conv2d {
                in_channels: inputs,
                out_channels: out,
                kernel: side,
                stride: 1,
                padding: side / 2,
                groups: 1,
                bias: false,
            };
            let shape = conv.weight_shape();
            let data = values(after, place(p.expanded, at), shape.iter().product());
            weights.insert(format!("{branch}.weight"), Array::new(shape, data).unwrap());
            branches.push(Fold::Conv { name: branch.to_string(), conv });
        }
        let sum = Fold::Sum(branches);
        assert_eq!(sum.kernel(), kernel, "{}: tensor {index} has a branch of its own size", case.name);
        let folded = values(after, place(p.folded, at), out * inputs * kernel * kernel);
        if case.steps[0].launch.kernel == "fold" {
            let expected = sum.evaluate(&weights).unwrap().weight;
            assert_eq!(bits(&folded), bits(expected.data()), "{}: tensor {index}", case.name);
        } else {
            let weight = Array::new([out, inputs, kernel, kernel], folded).unwrap();
            let mut gradients = Named::new();
            sum.backward(&weights, &Linear { weight, bias: None }, &mut gradients).unwrap();
            for (key, expected) in gradients {
                assert_eq!(bits(weights[&key].data()), bits(expected.data()), "{}: {key}", case.name);
            }
        }
    }
    1
}

fn numbers<const N: usize>(memory: &HostMemory, address: u64) -> [usize; N] {
    std::array::from_fn(|at| i32::from_le_bytes(memory.read(address + at as u64 * 4).unwrap()) as usize)
}

pub(super) fn crop(p: &params::Crop, before: &HostMemory, after: &HostMemory, name: &str) -> usize {
    let table = values(before, p.values, 256);
    for index in 0..p.images as u64 {
        let at = p.patches + index * size_of::<params::Patch>() as u64;
        let number = |offset: u64| i32::from_le_bytes(before.read(at + offset).unwrap()) as usize;
        let [width, height, x, y, mode] = [16, 20, 24, 28, 32].map(number);
        for (offset, to, scale) in [(0, p.lr, 1), (8, p.hr, p.scale as usize)] {
            let from = u64::from_le_bytes(before.read(at + offset).unwrap());
            let bytes: Vec<u8> = (0..(width * height * scale * scale * 3) as u64)
                .map(|i| before.read::<1>(from + i).unwrap()[0])
                .collect();
            let image = RgbImage::new(width * scale, height * scale, bytes).unwrap();
            let side = p.side as usize * scale;
            let patch = RgbView::from(&image).padded_square(x * scale, y * scale, side).unwrap();
            let patch = augment(&patch, Augmentation::new(mode as u8));
            let found = values(after, to + index * (side * side * 12) as u64, side * side * 3);
            for (at, &byte) in patch.pixels().iter().enumerate() {
                let found = found[at % 3 * side * side + at / 3];
                assert_eq!(
                    found,
                    table[usize::from(byte)],
                    "{name}: patch {index}, scale {scale}, byte {at}"
                );
            }
        }
    }
    1
}
