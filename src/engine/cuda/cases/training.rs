//! Cases of what training does besides running a network. All of them have to have the twins' bits.

use serde::Deserialize;

use super::{Builder, Prepared, Step};
use crate::engine::cuda::launch::training as launch;
use crate::engine::cuda::params::{Adam, Crop, Fold};
use crate::engine::cuda::{Format, Math};

/// A case of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kernel", rename_all = "snake_case", deny_unknown_fields)]
pub enum Case {
    /// `all_finite` and `adam`.
    Adam {
        /// Weights.
        count: usize,
        /// Number of the update, from 1 on.
        update: i32,
        /// What is not finite.
        #[serde(default)]
        wrong: Wrong,
    },
    /// `fold`: one launch for each branch.
    Fold {
        /// The weight's channels.
        out_channels: i32,
        /// The same.
        in_channels: i32,
        /// Side of the folded kernel.
        folded_side: i32,
        /// Sides of the branches' kernels; 0 is the identity.
        branches: Vec<i32>,
    },
    /// `unfold`: one launch for each branch.
    Unfold {
        /// The weight's channels.
        out_channels: i32,
        /// The same.
        in_channels: i32,
        /// Side of the folded kernel.
        folded_side: i32,
        /// Sides of the branches' kernels.
        branches: Vec<i32>,
    },
    /// `crop`.
    Crop {
        /// Side of the LR patches.
        side: i32,
        /// The scale.
        scale: i32,
        /// For each image: width and height of the LR image, the patch's x and y, the augmentation.
        patches: Vec<[i32; 5]>,
    },
}

/// What is not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// Nothing: the update is done.
    #[default]
    Nothing,
    /// The last gradient is infinite.
    Gradient,
    /// The loss is not a number.
    Loss,
}

/// All cases.
///
/// # Errors
/// None in practice: the list is part of the program.
pub fn cases() -> Result<Vec<Case>, serde_json::Error> {
    serde_json::from_str(include_str!("../../../../tests/fixtures/cuda/cases/training.json"))
}

/// All cases, ready to run.
///
/// # Errors
/// As for [`cases`].
pub fn prepared() -> Result<Vec<Prepared>, serde_json::Error> {
    Ok(cases()?.iter().enumerate().map(|(number, case)| case.prepare(number)).collect())
}

impl Case {
    /// The case. `number` is its number in the list.
    pub fn prepare(&self, number: usize) -> Prepared {
        let mut builder = Builder::new(&[0x7472_6169, number as u64]);
        let mut pointers = Vec::new();
        let (what, steps) = match self {
            Self::Adam { count, update, wrong } => {
                (format!("{count} weights, {wrong:?} wrong"), adam(&mut builder, *count, *update, *wrong))
            }
            Self::Fold { out_channels, in_channels, folded_side, branches } => (
                format!("{branches:?} in {folded_side}, {in_channels} to {out_channels}"),
                fold(&mut builder, [*out_channels, *in_channels, *folded_side], branches),
            ),
            Self::Unfold { out_channels, in_channels, folded_side, branches } => (
                format!("{branches:?} in {folded_side}, {in_channels} to {out_channels}"),
                unfold(&mut builder, [*out_channels, *in_channels, *folded_side], branches),
            ),
            Self::Crop { side, scale, patches } => (
                format!("{} of {side}, scale {scale}", patches.len()),
                crop(&mut builder, (*side, *scale), patches, &mut pointers),
            ),
        };
        let kernel = steps.last().map_or("", |step: &Step| step.launch.kernel);
        Prepared {
            name: format!("{kernel} {number}: {what}"),
            math: Math::F32,
            memory: builder.finish(),
            steps,
            compared: Vec::new(),
            pointers,
        }
    }
}

fn adam(builder: &mut Builder, count: usize, update: i32, wrong: Wrong) -> Vec<Step> {
    // Some gradients are so small that their squares are not normal numbers.
    let tiny = |index: usize| if index % 7 == 3 { 1e-20 } else { 1.0 };
    let mut gradients: Vec<f32> = (0..count).map(|index| builder.value(0.01) * tiny(index)).collect();
    if let (Wrong::Gradient, Some(last)) = (wrong, gradients.last_mut()) {
        *last = f32::NEG_INFINITY;
    }
    let second: Vec<f32> = (0..count).map(|index| builder.value(1e-4).abs() * tiny(index)).collect();
    let (rate, beta1, beta2) = (5e-4f64, 0.9f64, 0.999f64);
    let step = [
        rate / (1.0 - beta1.powi(update)),
        (1.0 - beta2.powi(update)).sqrt(),
        1.0 - beta1,
        beta2,
        1.0 - beta2,
        1e-8,
    ];
    let p = Adam {
        weights: builder.random_values(Format::F32, count, 0.1),
        gradients: builder.values(Format::F32, gradients),
        first: builder.random_values(Format::F32, count, 0.01),
        second: builder.values(Format::F32, second),
        step: builder.values(Format::F32, step.map(|number| number as f32)),
        loss: builder.raw(&if wrong == Wrong::Loss { f64::NAN } else { 0.25 }.to_le_bytes()),
        finite: builder.raw(&1u32.to_le_bytes()),
        count: count as i32,
        unused: 0,
    };
    vec![
        Step { launch: launch::all_finite(&p), params: p.into() },
        Step { launch: launch::adam(&p), params: p.into() },
    ]
}

fn fold(builder: &mut Builder, [out, inputs, kernel]: [i32; 3], branches: &[i32]) -> Vec<Step> {
    let channels = out * inputs;
    let folded = builder.garbage((channels * kernel * kernel * 4) as usize);
    let mut steps = Vec::new();
    for (index, &branch_kernel) in branches.iter().enumerate() {
        let count = (channels * branch_kernel * branch_kernel) as usize;
        // A negative zero becomes a positive one, because it is added to zero.
        let values: Vec<f32> =
            (0..count).map(|at| if at % 5 == 1 { -0.0 } else { builder.value(0.1) }).collect();
        let branch = if branch_kernel == 0 { 0 } else { builder.values(Format::F32, values) };
        let accumulate = i32::from(index > 0);
        let p = Fold {
            branch,
            folded,
            channels,
            in_channels: inputs,
            kernel,
            branch_kernel,
            accumulate,
            unused: 0,
        };
        steps.push(Step { launch: launch::fold(&p), params: p.into() });
    }
    steps
}

fn unfold(builder: &mut Builder, [out, inputs, kernel]: [i32; 3], branches: &[i32]) -> Vec<Step> {
    let channels = out * inputs;
    let folded = builder.random_values(Format::F32, (channels * kernel * kernel) as usize, 0.1);
    let mut steps = Vec::new();
    for &branch_kernel in branches {
        let branch = builder.garbage((channels * branch_kernel * branch_kernel * 4) as usize);
        let p = Fold {
            branch,
            folded,
            channels,
            in_channels: inputs,
            kernel,
            branch_kernel,
            accumulate: 0,
            unused: 0,
        };
        steps.push(Step { launch: launch::unfold(&p), params: p.into() });
    }
    steps
}

fn crop(
    builder: &mut Builder,
    (side, scale): (i32, i32),
    patches: &[[i32; 5]],
    pointers: &mut Vec<u64>,
) -> Vec<Step> {
    let mut table = Vec::new();
    for &[width, height, x, y, augmentation] in patches {
        let mut image = |scale: i32| {
            let bytes: Vec<u8> =
                (0..width * height * scale * scale * 3).map(|_| builder.random().below(256) as u8).collect();
            builder.raw(&bytes)
        };
        for address in [image(1), image(scale)] {
            table.extend_from_slice(&address.to_le_bytes());
        }
        for number in [width, height, x, y, augmentation, 0] {
            table.extend_from_slice(&number.to_le_bytes());
        }
    }
    let patch_bytes = table.len() / patches.len().max(1);
    let at = builder.raw(&table);
    for index in 0..patches.len() {
        let patch = at + (index * patch_bytes) as u64;
        pointers.extend([patch, patch + 8]);
    }
    let values: Vec<f32> = (0..256u16).map(|byte| f32::from(byte) / 255.0).collect();
    let patch_values = patches.len() * 3 * (side * side) as usize;
    let p = Crop {
        patches: at,
        values: builder.values(Format::F32, values),
        lr: builder.garbage(patch_values * 4),
        hr: builder.garbage(patch_values * (scale * scale) as usize * 4),
        images: patches.len() as i32,
        side,
        scale,
        unused: 0,
    };
    vec![Step { launch: launch::crop(&p), params: p.into() }]
}
