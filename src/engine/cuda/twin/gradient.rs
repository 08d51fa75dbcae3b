//! What the gradients of weights and biases are: kernels `weight_gradient_3` and `weight_gradient_1`, `weight_gradient_direct`, `finish_gradient`.

use super::round::factor;
use crate::engine::cuda::host::{HostMemory, Outside};
use crate::engine::cuda::params::{Finish, Source, WeightGradient};
use crate::engine::cuda::{Format, Math};

/// Width of the strips in which the tensor cores' kernels walk down an image, in pixels.
const STRIP: usize = 16;

/// A pixel of dy.
#[derive(Clone, Copy)]
struct Pixel {
    image: usize,
    y: usize,
    x: usize,
}

/// Kernels `weight_gradient_3` and `weight_gradient_1`. Images are cut into strips, 16 pixels wide and as high as the image; the rows of all strips, from
/// top to bottom, strip by
/// strip, image by image, are divided among the parts: part s of S has rows `n * s / S` to `n * (s + 1) / S` of n. Factors are rounded as `math` says, but
/// for the sums of dy.
///
/// # Errors
/// [`Outside`]
pub fn weight_gradient(memory: &mut HostMemory, math: Math, p: &WeightGradient) -> Result<(), Outside> {
    let (height, width) = (of(p.height), of(p.width));
    let strips = width.div_ceil(STRIP);
    let pixels_of = |row: usize| {
        let (strip, y) = (row / height, row % height);
        let first = strip % strips * STRIP;
        (first..width.min(first + STRIP)).map(move |x| Pixel { image: strip / strips, y, x })
    };
    let rows = of(p.images) * strips * height;
    sum_parts(
        memory,
        math.format(),
        p,
        |value| factor(math, value),
        |part, parts| (rows * part / parts..rows * (part + 1) / parts).flat_map(pixels_of).collect(),
    )
}

/// Kernel `weight_gradient_direct`. The pixels of dy, row by row, image by image, are divided among the parts: part s of S has pixels `n * s / S` to `n *
/// (s + 1) / S` of n.
/// Factors are what is stored, also where `math` is TF32.
///
/// # Errors
/// [`Outside`]
pub fn weight_gradient_direct(
    memory: &mut HostMemory,
    math: Math,
    p: &WeightGradient,
) -> Result<(), Outside> {
    let (height, width) = (of(p.height), of(p.width));
    let pixels = of(p.images) * height * width;
    sum_parts(memory, math.format(), p, f64::from, |part, parts| {
        let numbers = pixels * part / parts..pixels * (part + 1) / parts;
        numbers
            .map(|at| Pixel { image: at / (height * width), y: at / width % height, x: at % width })
            .collect()
    })
}

/// Kernel `bias_gradient`: what `weight_gradient_direct` writes of the bias.
///
/// # Errors
/// [`Outside`]
pub fn bias_gradient(memory: &mut HostMemory, math: Math, p: &WeightGradient) -> Result<(), Outside> {
    let pixels = of(p.images) * of(p.height) * of(p.width);
    let (channels, parts) = (of(p.out_channels), of(p.splits));
    let dy = gather(memory, math.format(), &p.gradients, p.gradient_count, pixels)?;
    for part in 0..parts {
        let of_part = pixels * part / parts..pixels * (part + 1) / parts;
        for channel in 0..channels {
            let values = of_part.clone().filter_map(|pixel| dy.get(pixel * channels + channel));
            let sum = values.map(|&value| f64::from(value)).sum();
            memory.set_value(Format::F32, p.bias_sums, (part * channels + channel) as u64, sum)?;
        }
    }
    Ok(())
}

/// Kernel `finish_gradient`: the sum of all parts.
///
/// # Errors
/// [`Outside`]
pub fn finish_gradient(memory: &mut HostMemory, p: &Finish) -> Result<(), Outside> {
    for index in 0..of(p.count) {
        let mut sum = 0.0;
        for part in 0..of(p.splits) {
            sum += f64::from(memory.value(Format::F32, p.sums, (part * of(p.count) + index) as u64)?);
        }
        memory.set_value(Format::F32, p.target, index as u64, sum)?;
    }
    Ok(())
}

/// Writes the sums of every part, whose pixels `pixels_of` tells from the part's number and the number of parts.
fn sum_parts(
    memory: &mut HostMemory,
    format: Format,
    p: &WeightGradient,
    factor: impl Fn(f32) -> f64,
    pixels_of: impl Fn(usize, usize) -> Vec<Pixel>,
) -> Result<(), Outside> {
    let (height, width, input_height, input_width) =
        (of(p.height), of(p.width), of(p.input_height), of(p.input_width));
    let (ins, outs, kernel, groups) = (of(p.in_channels), of(p.out_channels), of(p.kernel), of(p.groups));
    let x = gather(memory, format, &p.inputs, p.input_count, of(p.images) * input_height * input_width)?;
    let dy = gather(memory, format, &p.gradients, p.gradient_count, of(p.images) * height * width)?;
    let at = |plane: &[f32], channels: usize, pixel: usize, channel: usize| {
        plane.get(pixel * channels + channel).copied().unwrap_or_default()
    };
    let group_ins = ins / groups;
    let parts = of(p.splits);
    for part in 0..parts {
        let pixels = pixels_of(part, parts);
        for out in 0..outs {
            let gradient =
                |pixel: &Pixel| at(&dy, outs, (pixel.image * height + pixel.y) * width + pixel.x, out);
            for group_in in 0..group_ins {
                let channel = out / (outs / groups) * group_ins + group_in;
                for tap in 0..kernel * kernel {
                    let mut sum = 0.0;
                    for pixel in &pixels {
                        // Where this tap lies on the input, if it does.
                        let along = |at: usize, tap: usize, length: usize| {
                            (at * of(p.stride) + tap).checked_sub(of(p.padding)).filter(|&at| at < length)
                        };
                        let y = along(pixel.y, tap / kernel, input_height);
                        let column = along(pixel.x, tap % kernel, input_width);
                        if let (Some(y), Some(column)) = (y, column) {
                            let value =
                                at(&x, ins, (pixel.image * input_height + y) * input_width + column, channel);
                            sum += factor(gradient(pixel)) * factor(value);
                        }
                    }
                    let index = ((part * outs + out) * group_ins + group_in) * kernel * kernel + tap;
                    memory.set_value(Format::F32, p.sums, index as u64, sum)?;
                }
            }
            if p.bias_sums != 0 {
                let sum: f64 = pixels.iter().map(|pixel| f64::from(gradient(pixel))).sum();
                memory.set_value(Format::F32, p.bias_sums, (part * outs + out) as u64, sum)?;
            }
        }
    }
    Ok(())
}

/// The channels of all sources, side by side, pixel by pixel.
fn gather(
    memory: &HostMemory,
    format: Format,
    sources: &[Source],
    count: i32,
    pixels: usize,
) -> Result<Vec<f32>, Outside> {
    let mut values = Vec::new();
    for pixel in 0..pixels {
        for source in sources.iter().take(of(count)) {
            for channel in 0..of(source.channels) {
                let index = pixel * of(source.pixel) + channel;
                values.push(memory.value(format, source.address, index as u64)?);
            }
        }
    }
    Ok(values)
}

/// A number of things; none where it is negative.
fn of(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}
