//! The last stage of a range of channels.

use crate::engine::cuda::params::{Operand, Part};
use crate::engine::cuda::{Format, HostMemory, Outside};

/// What becomes of a value of a channel of a part; nothing but zero of those behind its last one.
///
/// # Errors
/// [`Outside`]
pub(super) fn finished(
    memory: &HostMemory,
    format: Format,
    part: &Part,
    value: f64,
    pixel: u64,
    channel: i32,
) -> Result<f64, Outside> {
    if channel >= part.channels {
        return Ok(0.0);
    }
    let operand = |operand: &Operand, otherwise: f64| {
        if operand.address == 0 {
            return Ok(otherwise);
        }
        let index = pixel * operand.pixel as u64 + channel as u64;
        memory.value(format, operand.address, index).map(f64::from)
    };
    let mut value = value + operand(&part.before, 0.0)?;
    if part.activation != 0 && value <= 0.0 {
        value *= f64::from(part.slope);
    }
    value += operand(&part.after, 0.0)?;
    if operand(&part.mask, 1.0)? > 0.0 { Ok(value) } else { Ok(value * f64::from(part.mask_slope)) }
}
