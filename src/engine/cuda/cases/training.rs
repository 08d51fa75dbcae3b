//! Cases of what training does besides running a network. All of them have to have the twins' bits.

use serde::Deserialize;

use super::{Builder, Prepared, Step};
use crate::engine::cuda::launch::folding::{self, Form, Lists};
use crate::engine::cuda::launch::training as launch;
use crate::engine::cuda::params::{Adam, Branch, Crop};
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
    /// `fold`.
    Fold {
        /// What is folded.
        tensors: Vec<Tensor>,
    },
    /// `unfold`.
    Unfold {
        /// What was folded.
        tensors: Vec<Tensor>,
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

/// A folded tensor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// Output channels, input channels, side of the kernel; of a bias the last two are 1.
    form: [usize; 3],
    /// Sides of the branches' kernels; 0 is the identity.
    branches: Vec<usize>,
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
            Self::Fold { tensors } => (of(tensors), vec![fold(&mut builder, tensors, false)]),
            Self::Unfold { tensors } => (of(tensors), vec![fold(&mut builder, tensors, true)]),
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

/// Names what is folded.
fn of(tensors: &[Tensor]) -> String {
    match tensors {
        [Tensor { form, branches }] => format!("{branches:?} in {form:?}"),
        _ => format!("{} tensors", tensors.len()),
    }
}

/// Folding, or carrying back.
fn fold(builder: &mut Builder, tensors: &[Tensor], back: bool) -> Step {
    let mut lists = Lists::default();
    let (mut expanded, mut folded) = (Vec::new(), Vec::new());
    for Tensor { form: [out_channels, in_channels, kernel], branches } in tensors {
        let form = |kernel: usize| Form { out_channels: *out_channels, in_channels: *in_channels, kernel };
        let mut place = |&kernel: &usize| {
            let is_read = (!back).then_some(&mut *builder);
            let first = if kernel == 0 { 0 } else { append(&mut expanded, form(kernel), is_read) };
            Branch { first, kernel: kernel as i32, unused: 0 }
        };
        let branches: Vec<Branch> = branches.iter().map(&mut place).collect();
        let first = append(&mut folded, form(*kernel), back.then_some(&mut *builder));
        lists.add(first, form(*kernel), branches);
    }
    let lists_at = lists.bytes().map(|list| builder.raw(&list));
    let [expanded, folded] = [expanded, folded].map(|values| builder.values(Format::F32, values));
    let p = lists.told(lists_at, expanded, folded);
    let launch = if back { folding::unfold(&p) } else { folding::fold(&p) };
    Step { launch, params: p.into() }
}

/// Appends a tensor behind a gap, with random values if it is read; returns the number of its first value.
fn append(values: &mut Vec<f32>, form: Form, is_read: Option<&mut Builder>) -> u64 {
    /// Values that belong to nothing.
    const GAP: usize = 3;
    values.extend([f32::NAN; GAP]);
    let first = values.len();
    values.resize(first + form.values(), f32::NAN);
    if let Some(builder) = is_read {
        for (at, value) in values.iter_mut().skip(first).enumerate() {
            // Negative zeros become positive ones in sums and stay as they are in gradients.
            *value = if at % 5 == 1 { -0.0 } else { builder.value(0.1) };
        }
    }
    first as u64
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
