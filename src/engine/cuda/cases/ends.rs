//! Cases of the kernels at both ends of a network, and of the loss. All of them have to have the twins' bits.

use serde::Deserialize;

use super::elementwise::MATHS;
use super::{Builder, Prepared, Step, for_each_math};
use crate::engine::cuda::launch::ends as launch;
use crate::engine::cuda::params::{Ends, Loss};
use crate::engine::cuda::{Format, Math};

/// A kernel, or the two of the loss.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kernel {
    Load,
    Store,
    StoreImage,
    Loss,
}

/// A case of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    kernel: Kernel,
    images: i32,
    /// Of the planes.
    channels: i32,
    /// Of the pixels of NHWC.
    height: i32,
    width: i32,
    #[serde(default = "one")]
    factor: i32,
    pixel: i32,
    /// The loss: elements from one pixel of the gradient to the next; 0 puts it where SR lies.
    #[serde(default)]
    gradient_pixel: i32,
    #[serde(default)]
    data_range: f32,
    /// One value is not a number.
    #[serde(default)]
    not_a_number: bool,
}

fn one() -> i32 {
    1
}

/// All cases.
///
/// # Errors
/// None in practice: the list is part of the program.
pub fn cases() -> Result<Vec<Case>, serde_json::Error> {
    serde_json::from_str(include_str!("../../../../tests/fixtures/cuda/cases/ends.json"))
}

/// All cases for each compilation of the kernels, ready to run.
///
/// # Errors
/// As for [`cases`].
pub fn prepared() -> Result<Vec<Prepared>, serde_json::Error> {
    Ok(for_each_math(&cases()?, MATHS, Case::prepare))
}

impl Case {
    /// The case for one compilation of the kernels. `number` is its number in the list.
    pub fn prepare(&self, math: Math, number: usize) -> Prepared {
        let mut builder = Builder::new(&[0x656e_6473, number as u64]);
        let steps = match self.kernel {
            Kernel::Loss => self.loss(math, &mut builder),
            _ => vec![self.ends(math, &mut builder)],
        };
        let kernel = steps.first().map_or("", |step| step.launch.kernel);
        let what = format!("{}x{}x{}x{}", self.images, self.height, self.width, self.channels);
        Prepared {
            name: format!("{kernel} {number} {math:?}: {what}, factor {}", self.factor),
            math,
            memory: builder.finish(),
            steps,
            compared: Vec::new(),
            pointers: Vec::new(),
        }
    }

    /// Channels of NHWC.
    fn coarse_channels(&self) -> usize {
        (self.channels * self.factor * self.factor) as usize
    }

    fn pixels(&self) -> usize {
        (self.images * self.height * self.width) as usize
    }

    /// Pixels of NHWC in f32, with zeros behind the last channel.
    fn values(&self, builder: &mut Builder, mut value: impl FnMut(&mut Builder) -> f32) -> u64 {
        let (pixel, channels) = (self.pixel as usize, self.coarse_channels());
        let mut values = Vec::new();
        for _ in 0..self.pixels() {
            values.extend((0..pixel).map(|channel| if channel < channels { value(builder) } else { 0.0 }));
        }
        if self.not_a_number {
            let middle = self.pixels() / 2 * pixel + channels / 2;
            values.iter_mut().skip(middle).take(1).for_each(|value| *value = f32::NAN);
        }
        builder.values(Format::F32, values)
    }

    fn ends(&self, math: Math, builder: &mut Builder) -> Step {
        let fine = self.pixels() * self.coarse_channels();
        let mut p = Ends {
            planes: 0,
            values: 0,
            finite: 0,
            pixel: self.pixel,
            images: self.images,
            channels: self.channels,
            height: self.height,
            width: self.width,
            factor: self.factor,
            data_range: self.data_range,
            unused: 0,
        };
        let launch = match self.kernel {
            Kernel::Load | Kernel::Loss => {
                p.planes = builder.random_values(Format::F32, fine, 1.0);
                p.values = builder.garbage(self.pixels() * self.pixel as usize * math.format().bytes());
                launch::load(math, &p)
            }
            Kernel::Store => {
                p.values = self.values(builder, |builder| builder.value(1.0));
                p.planes = builder.garbage(fine * 4);
                launch::store(math, &p)
            }
            Kernel::StoreImage => {
                let range = self.data_range;
                p.values = self.values(builder, |builder| image_value(builder, range));
                p.planes = builder.garbage(fine);
                p.finite = builder.raw(&1u32.to_le_bytes());
                launch::store_image(math, &p)
            }
        };
        Step { launch, params: p.into() }
    }

    fn loss(&self, math: Math, builder: &mut Builder) -> Vec<Step> {
        let count = self.pixels() * self.coarse_channels();
        // Both are often on a coarse grid, so that some are equal.
        let value = |builder: &mut Builder| {
            let value = builder.value(1.0);
            if builder.random().below(2) == 0 { (value * 4.0).round() / 4.0 } else { value }
        };
        let sr = self.values(builder, value);
        let hr: Vec<f32> = (0..count).map(|_| value(builder)).collect();
        let gradient_bytes = self.pixels() * self.gradient_pixel as usize * math.format().bytes();
        let in_place = self.gradient_pixel == 0;
        let p = Loss {
            sr,
            hr: builder.values(Format::F32, hr),
            gradient: if in_place { sr } else { builder.garbage(gradient_bytes) },
            row_sums: builder.garbage((self.images * self.height) as usize * 8),
            total: builder.garbage(8),
            sr_pixel: self.pixel,
            gradient_pixel: if in_place { self.pixel } else { self.gradient_pixel },
            images: self.images,
            channels: self.channels,
            height: self.height,
            width: self.width,
            factor: self.factor,
            unit: (1.0 / count as f64) as f32,
        };
        vec![
            Step { launch: launch::loss(math, &p), params: p.into() },
            Step { launch: launch::loss_total(math, &p), params: p.into() },
        ]
    }
}

/// A value of an image: mostly inside of the range, often half way between two bytes, now and then far outside.
fn image_value(builder: &mut Builder, range: f32) -> f32 {
    let random = builder.random();
    let half_way = (random.below(255) as f32 + 0.5) / 255.0 * range;
    match random.below(16) {
        0 => f32::INFINITY,
        1 => f32::NEG_INFINITY,
        2 => -0.0,
        3 => range,
        4..=7 => half_way,
        8 => half_way.next_up(),
        9 => half_way.next_down(),
        _ => (random.uniform() as f32 * 1.2 - 0.1) * range,
    }
}
