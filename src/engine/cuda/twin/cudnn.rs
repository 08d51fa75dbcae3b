//! What cuDNN computes: its convolutions over NHWC values and OHWI filters, in f64.

use super::round::factor;
use crate::engine::cuda::launch::Call;
use crate::engine::cuda::{HostMemory, Math, Outside};
use crate::gpu::cudnn::{Arithmetic, Pass, Tensor};

/// A convolution, its input gradient or its weight gradient.
///
/// # Errors
/// [`Outside`]
pub(in crate::engine::cuda) fn convolution(memory: &mut HostMemory, call: &Call) -> Result<(), Outside> {
    let shape = &call.shape;
    let math = match shape.arithmetic {
        Arithmetic::F32 => Math::F32,
        Arithmetic::Tf32 => Math::Tf32,
        Arithmetic::F16 => Math::F16,
        Arithmetic::Bf16 => Math::Bf16,
    };
    let format = math.format();
    let (x, y, at) = (shape.x, shape.y, call.at);
    let inputs = x.channels / shape.groups;
    let outputs_of_group = y.channels / shape.groups;
    let index = |tensor: &Tensor, [image, row, column, channel]: [i32; 4]| {
        let pixel = (i64::from(image) * i64::from(tensor.height) + i64::from(row)) * i64::from(tensor.width)
            + i64::from(column);
        (pixel * i64::from(tensor.pixel) + i64::from(channel)) as u64
    };
    let filter_values = (y.channels * shape.kernel * shape.kernel * inputs) as usize;
    let (address, values) = match shape.pass {
        Pass::Forward => (at.y, index(&y, [y.images, 0, 0, 0]) as usize),
        Pass::InputGradient => (at.x, index(&x, [x.images, 0, 0, 0]) as usize),
        Pass::WeightGradient => (at.filter, filter_values),
    };
    let mut sums = vec![None; values];
    let mut add = |index: u64, product: f64| {
        if let Some(sum) = sums.get_mut(index as usize) {
            *sum = Some(sum.unwrap_or(0.0) + product);
        }
    };
    let read =
        |address: u64, index: u64| memory.value(format, address, index).map(|value| factor(math, value));
    for image in 0..y.images {
        for (row, column) in (0..y.height).flat_map(|row| (0..y.width).map(move |column| (row, column))) {
            for (output, tap) in (0..y.channels)
                .flat_map(|output| (0..shape.kernel * shape.kernel).map(move |tap| (output, tap)))
            {
                let down = row * shape.stride + tap / shape.kernel - shape.padding;
                let across = column * shape.stride + tap % shape.kernel - shape.padding;
                let outside = !((0..x.height).contains(&down) && (0..x.width).contains(&across));
                for input in 0..inputs {
                    let channel = output / outputs_of_group * inputs + input;
                    let of_x = index(&x, [image, down, across, channel]);
                    let of_y = index(&y, [image, row, column, output]);
                    let weight = (output * shape.kernel * shape.kernel + tap) * inputs + input;
                    let of_filter = weight as u64;
                    match shape.pass {
                        Pass::Forward if outside => add(of_y, 0.0),
                        Pass::Forward => add(of_y, read(at.x, of_x)? * read(at.filter, of_filter)?),
                        Pass::InputGradient if outside => {}
                        Pass::InputGradient => add(of_x, read(at.y, of_y)? * read(at.filter, of_filter)?),
                        Pass::WeightGradient if outside => add(of_filter, 0.0),
                        Pass::WeightGradient => add(of_filter, read(at.x, of_x)? * read(at.y, of_y)?),
                    }
                }
            }
        }
    }
    // Where no output reaches a pixel, the gradient of its channels is 0.
    if shape.pass == Pass::InputGradient {
        let (pitch, channels) = (x.pixel as usize, x.channels as usize);
        for pixel in sums.chunks_mut(pitch) {
            pixel.iter_mut().take(channels).for_each(|sum| *sum = Some(sum.unwrap_or(0.0)));
        }
    }
    for (index, sum) in sums.into_iter().enumerate() {
        if let Some(sum) = sum {
            memory.set_value(format, address, index as u64, sum)?;
        }
    }
    Ok(())
}
