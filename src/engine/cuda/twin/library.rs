//! What a library's convolutions need besides themselves.

use crate::engine::cuda::params::Filter;
use crate::engine::cuda::{Format, HostMemory, Math, Outside};

/// `pack_filter`: weights from OIHW in f32 to OHWI as values are stored, with zeros for channels that there are not; and the bias, likewise.
///
/// # Errors
/// [`Outside`]
pub fn pack_filter(memory: &mut HostMemory, math: Math, p: &Filter) -> Result<(), Outside> {
    for output in 0..p.padded_outputs {
        let bias = match p.bias != 0 && output < p.outputs {
            true => memory.value(Format::F32, p.bias, output as u64)?,
            false => 0.0,
        };
        memory.set_value(Format::F32, p.padded_bias, output as u64, bias.into())?;
    }
    each(p, |in_filter, in_weight| {
        let value = match in_weight {
            Some(index) => memory.value(Format::F32, p.weight, index)?,
            None => 0.0,
        };
        memory.set_value(math.format(), p.filter, in_filter, value.into())
    })
}

/// `unpack_filter`: the other way, without what only filled up.
///
/// # Errors
/// [`Outside`]
pub fn unpack_filter(memory: &mut HostMemory, math: Math, p: &Filter) -> Result<(), Outside> {
    each(p, |in_filter, in_weight| match in_weight {
        Some(index) => {
            let value = memory.value(math.format(), p.filter, in_filter)?;
            memory.set_value(Format::F32, p.weight, index, value.into())
        }
        None => Ok(()),
    })
}

/// Calls `act` with the index of every value of the filter, and with that of the weight if there is one.
fn each(p: &Filter, mut act: impl FnMut(u64, Option<u64>) -> Result<(), Outside>) -> Result<(), Outside> {
    let taps = p.kernel * p.kernel;
    for output in 0..p.padded_outputs {
        for tap in 0..taps {
            for input in 0..p.padded_inputs {
                let in_filter = (output * taps + tap) * p.padded_inputs + input;
                let in_weight = (output * p.inputs + input) * taps + tap;
                let real = output < p.outputs && input < p.inputs;
                act(in_filter as u64, real.then_some(in_weight as u64))?;
            }
        }
    }
    Ok(())
}
