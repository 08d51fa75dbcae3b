//! Cases of the kernels between images of different heights and widths. All of them have to have the twins' values.

use serde::Deserialize;

use super::elementwise::{MATHS, Range, any_value, operand};
use super::{Builder, Compared, Prepared, Step, for_each_math};
use crate::engine::cuda::Math;
use crate::engine::cuda::launch::spatial as launch;
use crate::engine::cuda::params::{Operand, Spatial};

/// A kernel.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kernel {
    PixelShuffle,
    PixelUnshuffle,
    MaxPool,
    MaxPoolGradient,
    ResizeBilinear,
    ResizeBilinearGradient,
}

/// A case of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    kernel: Kernel,
    images: i32,
    /// Height and width of what is read; of the forward direction's input if the kernel is the gradient of a pool or a resize.
    size: [i32; 2],
    /// Height and width of what the forward direction of a resize writes.
    #[serde(default)]
    resized: [i32; 2],
    /// Of what is written.
    channels: i32,
    #[serde(default)]
    factor: i32,
    /// Of a pool.
    #[serde(default)]
    window: i32,
    #[serde(default)]
    stride: i32,
    input: Range,
    /// The pool's input.
    #[serde(default)]
    other: Range,
    target_pixel: i32,
    /// Other channels follow in all buffers that are read.
    #[serde(default)]
    goes_on: bool,
    /// Some values that a pool looks at are infinite or not numbers.
    #[serde(default)]
    not_finite: bool,
}

/// All cases.
///
/// # Errors
/// None in practice: the list is part of the program.
pub fn cases() -> Result<Vec<Case>, serde_json::Error> {
    serde_json::from_str(include_str!("../../../../tests/fixtures/cuda/cases/spatial.json"))
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
        let ([read_height, read_width], [height, width]) = self.sizes();
        let mut builder = Builder::new(&[0x7370_6174, number as u64]);
        let area = self.factor * self.factor;
        let read_channels = match self.kernel {
            Kernel::PixelShuffle => self.channels * area,
            Kernel::PixelUnshuffle => self.channels / area,
            _ => self.channels,
        };
        let pixels = |height: i32, width: i32| (self.images * height * width) as usize;
        // Few different values where maxima are looked for, so that some are equal.
        let few = |builder: &mut Builder| match self.not_finite {
            true => any_value(builder, 2.0).round(),
            false => builder.value(2.0).round(),
        };
        let (read, written) = (pixels(read_height, read_width), pixels(height, width));
        let (format, range) = (math.format(), (self.input, read_channels, self.goes_on));
        let input = match self.kernel {
            Kernel::MaxPool => operand(&mut builder, format, read, range, few),
            _ => operand(&mut builder, format, read, range, |builder| builder.value(2.0)),
        };
        let other = match self.kernel {
            Kernel::MaxPoolGradient => {
                operand(&mut builder, format, written, (self.other, self.channels, self.goes_on), few)
            }
            _ => Operand::default(),
        };
        let target_bytes = written * self.target_pixel as usize * format.bytes();
        let p = Spatial {
            input,
            other,
            target: builder.garbage(target_bytes),
            target_pixel: self.target_pixel,
            images: self.images,
            input_height: read_height,
            input_width: read_width,
            height,
            width,
            channels: self.channels,
            factor: self.factor,
            kernel: self.window,
            stride: self.stride,
        };
        let launch = match self.kernel {
            Kernel::PixelShuffle => launch::pixel_shuffle(math, &p),
            Kernel::PixelUnshuffle => launch::pixel_unshuffle(math, &p),
            Kernel::MaxPool => launch::max_pool(math, &p),
            Kernel::MaxPoolGradient => launch::max_pool_gradient(math, &p),
            Kernel::ResizeBilinear => launch::resize_bilinear(math, &p),
            Kernel::ResizeBilinearGradient => launch::resize_bilinear_gradient(math, &p),
        };
        let what = format!("{}x{height}x{width}x{}", self.images, self.channels);
        Prepared {
            name: format!("{} {number} {math:?}: {what}", launch.kernel),
            math,
            memory: builder.finish(),
            steps: vec![Step { launch, params: p.into() }],
            // Only what is not a number may have other bits.
            compared: vec![Compared {
                name: "target",
                address: p.target,
                count: (written * self.target_pixel as usize) as u64,
                stored: format.into(),
                tolerance: 0.0,
                exact_zeros: true,
            }],
            pointers: Vec::new(),
        }
    }

    /// Heights and widths of what is read and of what is written.
    fn sizes(&self) -> ([i32; 2], [i32; 2]) {
        let pooled = || self.size.map(|side| (side - self.window) / self.stride + 1);
        match self.kernel {
            Kernel::PixelShuffle => (self.size, self.size.map(|side| side * self.factor)),
            Kernel::PixelUnshuffle => (self.size, self.size.map(|side| side / self.factor)),
            Kernel::MaxPool => (self.size, pooled()),
            Kernel::MaxPoolGradient => (pooled(), self.size),
            Kernel::ResizeBilinear => (self.size, self.resized),
            Kernel::ResizeBilinearGradient => (self.resized, self.size),
        }
    }
}
