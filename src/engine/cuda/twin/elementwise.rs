//! Value by value.

use super::part::finished;
use crate::engine::cuda::params::{Elementwise, Operand};
use crate::engine::cuda::{Format, HostMemory, Math, Outside};

/// `sum`: of all inputs, and of the bias; zero of none.
///
/// # Errors
/// [`Outside`]
pub fn sum(memory: &mut HostMemory, math: Math, p: &Elementwise) -> Result<(), Outside> {
    each(memory, math, p, |inputs| inputs.iter().sum())
}

/// `product`: of all inputs; one of none.
///
/// # Errors
/// [`Outside`]
pub fn product(memory: &mut HostMemory, math: Math, p: &Elementwise) -> Result<(), Outside> {
    each(memory, math, p, |inputs| inputs.iter().product())
}

/// `sigmoid`: of the first input.
///
/// # Errors
/// [`Outside`]
pub fn sigmoid(memory: &mut HostMemory, math: Math, p: &Elementwise) -> Result<(), Outside> {
    each(memory, math, p, |inputs| {
        let x = inputs.first().copied().unwrap_or(0.0);
        // The kernels go no further, where the value is below the normal numbers of f32.
        1.0 / (1.0 + (-x).clamp(f64::NEG_INFINITY, 88.0).exp())
    })
}

/// `sigmoid_gradient`: of dy and sigmoid's own value y.
///
/// # Errors
/// [`Outside`]
pub fn sigmoid_gradient(memory: &mut HostMemory, math: Math, p: &Elementwise) -> Result<(), Outside> {
    each(memory, math, p, |inputs| match inputs {
        [dy, y, ..] => dy * (1.0 - y) * y,
        _ => 0.0,
    })
}

/// A function of the inputs' values, channel by channel, then the last stage; zeros up to `written`.
fn each(
    memory: &mut HostMemory,
    math: Math,
    p: &Elementwise,
    function: impl Fn(&[f64]) -> f64,
) -> Result<(), Outside> {
    let format = math.format();
    for pixel in 0..p.pixels {
        for channel in 0..p.part.written {
            let mut value = 0.0;
            if channel < p.part.channels {
                let inputs = p.inputs.iter().take(p.input_count as usize);
                let inputs: Result<Vec<f64>, Outside> =
                    inputs.map(|input| operand(memory, format, input, pixel, channel)).collect();
                let bias = match p.bias {
                    0 => 0.0,
                    bias => f64::from(memory.value(Format::F32, bias, channel as u64)?),
                };
                value = finished(memory, format, &p.part, function(&inputs?) + bias, pixel, channel)?;
            }
            memory.set_value(format, p.target, pixel * p.target_pixel as u64 + channel as u64, value)?;
        }
    }
    Ok(())
}

fn operand(
    memory: &HostMemory,
    format: Format,
    from: &Operand,
    pixel: u64,
    channel: i32,
) -> Result<f64, Outside> {
    Ok(memory.value(format, from.address, pixel * from.pixel as u64 + channel as u64)?.into())
}
