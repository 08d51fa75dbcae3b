//! Convolutions and the packing of their weights.

use super::part::finished;
use super::round::{factor, tf32};
use crate::engine::cuda::launch::convolution::{Family, chunk, chunks};
use crate::engine::cuda::params::{Convolution, Pack, Part, Source};
use crate::engine::cuda::{Format, HostMemory, Math, Outside};

/// Bytes of an output channel's weights for one tap of a chunk.
const ROW_BYTES: u64 = 32;

/// Where packed weights are: `[block][chunk][tap]`, and of each tap `[output channel][32 bytes]`, the two halves of the 32 bytes exchanged in every other group of four output
/// channels. For Hopper it is `[half][output channel][16 bytes]` of each tap.
struct Packed {
    family: Family,
    math: Math,
    chunks: u64,
    taps: u64,
    block: u64,
}

impl Packed {
    /// Bytes from the beginning to a weight, for channel `within` of a chunk.
    fn offset(&self, output: u64, chunk_number: u64, tap: u64, within: u64) -> u64 {
        let (block, column) = (output / self.block, output % self.block);
        let half_channels = chunk(self.math) as u64 / 2;
        let (half, within) = (within / half_channels, within % half_channels);
        let halves = match self.family {
            Family::Ampere => column * 2 + (half ^ (column / 4 % 2)),
            Family::Hopper => half * self.block + column,
        };
        let tap = (block * self.chunks + chunk_number) * self.taps + tap;
        tap * self.block * ROW_BYTES + halves * (ROW_BYTES / 2) + within * self.math.format().bytes() as u64
    }
}

/// Kernels `pack_weights` and `pack_weights_hopper`.
///
/// # Errors
/// [`Outside`]
pub fn pack(memory: &mut HostMemory, math: Math, p: &Pack, family: Family) -> Result<(), Outside> {
    let taps = (p.kernel * p.kernel) as u64;
    let sources: Vec<i32> = p.source_channels.iter().take(p.source_count as usize).copied().collect();
    let layout = Packed {
        family,
        math,
        chunks: chunks(math, sources.iter().copied()) as u64,
        taps,
        block: p.block as u64,
    };
    for output in 0..(p.blocks * p.block) as u64 {
        let real = output < p.out_channels as u64;
        let bias = if real && p.bias != 0 { memory.value(Format::F32, p.bias, output)? } else { 0.0 };
        memory.set_value(Format::F32, p.packed_bias, output, f64::from(bias))?;
        let (mut number, mut first) = (0, 0);
        for &channels in &sources {
            let channels = channels as u64;
            for begin in (0..channels).step_by(chunk(math) as usize) {
                for (tap, within) in (0..taps).flat_map(|tap| (0..chunk(math) as u64).map(move |c| (tap, c)))
                {
                    let input = first + begin + within;
                    let index = if p.input_gradient != 0 {
                        (input * p.out_channels as u64 + output) * taps + taps - 1 - tap
                    } else {
                        (output * p.in_channels as u64 + input) * taps + tap
                    };
                    let real = real && begin + within < channels;
                    let weight = if real { memory.value(Format::F32, p.weight, index)? } else { 0.0 };
                    let weight = if math == Math::Tf32 { tf32(weight) } else { weight };
                    let to = p.packed + layout.offset(output, number, tap, within);
                    memory.set_value(math.format(), to, 0, f64::from(weight))?;
                }
                number += 1;
            }
            first += channels;
        }
    }
    Ok(())
}

/// Kernels `convolution_n…` and `convolution_hopper_n…`, of which `block` is the number: weights are packed for the family, and what is read is as large as what is written.
///
/// # Errors
/// [`Outside`]
pub fn packed(
    memory: &mut HostMemory,
    math: Math,
    p: &Convolution,
    family: Family,
    block: i32,
) -> Result<(), Outside> {
    let sources = || p.sources.iter().take(p.source_count as usize);
    let taps = p.kernel * p.kernel;
    let layout = Packed {
        family,
        math,
        chunks: chunks(math, sources().map(|source| source.channels)) as u64,
        taps: taps as u64,
        block: block as u64,
    };
    every_value(memory, math, p, |memory, at, output| {
        let mut sum = 0.0;
        for tap in 0..taps {
            let (y, x) = (at.y + tap / p.kernel - p.padding, at.x + tap % p.kernel - p.padding);
            let Some(pixel) = pixel_of(p, at.image, y, x) else { continue };
            let mut number = 0;
            for source in sources() {
                for channel in 0..source.channels {
                    let value = factor(math, channel_of(memory, math, source, pixel, channel)?);
                    let (chunk_number, within) = (number + channel / chunk(math), channel % chunk(math));
                    let offset = layout.offset(output as u64, chunk_number as u64, tap as u64, within as u64);
                    sum += value * f64::from(memory.value(math.format(), p.weights + offset, 0)?);
                }
                number += chunks(math, [source.channels]);
            }
        }
        Ok(sum)
    })
}

/// Kernel `convolution_direct`: any convolution or its input gradient, with weights in f32 that are not rounded, whatever the mathematics.
///
/// # Errors
/// [`Outside`]
pub fn direct(memory: &mut HostMemory, math: Math, p: &Convolution) -> Result<(), Outside> {
    let (inputs, outputs) = (p.in_channels / p.groups, p.out_channels / p.groups);
    every_value(memory, math, p, |memory, at, output| {
        let group = output / outputs;
        let mut sum = 0.0;
        for tap in 0..p.kernel * p.kernel {
            let (down, right) = (tap / p.kernel, tap % p.kernel);
            let (y, x) = if p.input_gradient != 0 {
                let (y, x) = (at.y + p.padding - down, at.x + p.padding - right);
                if y.rem_euclid(p.stride) != 0 || x.rem_euclid(p.stride) != 0 {
                    continue;
                }
                (y.div_euclid(p.stride), x.div_euclid(p.stride))
            } else {
                (at.y * p.stride + down - p.padding, at.x * p.stride + right - p.padding)
            };
            let Some(pixel) = pixel_of(p, at.image, y, x) else { continue };
            let mut first = 0;
            for source in p.sources.iter().take(p.source_count as usize) {
                for channel in 0..source.channels {
                    let input = first + channel;
                    if input / inputs != group {
                        continue;
                    }
                    let row = if p.input_gradient != 0 {
                        input * outputs + output % outputs
                    } else {
                        output * inputs + input % inputs
                    };
                    let index = row as u64 * (p.kernel * p.kernel) as u64 + tap as u64;
                    let value = f64::from(channel_of(memory, math, source, pixel, channel)?);
                    sum += value * f64::from(memory.value(Format::F32, p.weights, index)?);
                }
                first += source.channels;
            }
        }
        Ok(sum)
    })
}

/// A pixel of what is written.
struct At {
    image: i32,
    y: i32,
    x: i32,
}

/// The number of a pixel of what is read, if it is inside of its image.
fn pixel_of(p: &Convolution, image: i32, y: i32, x: i32) -> Option<u64> {
    let inside = (0..p.input_height).contains(&y) && (0..p.input_width).contains(&x);
    inside.then(|| (image as u64 * p.input_height as u64 + y as u64) * p.input_width as u64 + x as u64)
}

/// A channel of a pixel.
fn channel_of(
    memory: &HostMemory,
    math: Math,
    source: &Source,
    pixel: u64,
    channel: i32,
) -> Result<f32, Outside> {
    memory.value(math.format(), source.address, pixel * source.pixel as u64 + channel as u64)
}

/// Stores every value that is written: the sum that a function gives for a pixel and an output channel, with everything that the channel's part does to it.
fn every_value(
    memory: &mut HostMemory,
    math: Math,
    p: &Convolution,
    sum_of: impl Fn(&HostMemory, &At, i32) -> Result<f64, Outside>,
) -> Result<(), Outside> {
    let target = if p.target_f32 != 0 { Format::F32 } else { math.format() };
    let parts: Vec<&Part> = p.parts.iter().take(p.part_count as usize).collect();
    for pixel in 0..p.images * p.height * p.width {
        let at = At { image: pixel / p.width / p.height, y: pixel / p.width % p.height, x: pixel % p.width };
        for (part, channel) in parts.iter().flat_map(|&part| (0..part.written).map(move |c| (part, c))) {
            let output = part.start + channel;
            let mut value = 0.0;
            if channel < part.channels {
                value = sum_of(memory, &at, output)?;
                if p.bias != 0 {
                    value += f64::from(memory.value(Format::F32, p.bias, output as u64)?);
                }
            }
            let value = finished(memory, math.format(), part, value, pixel as u64, channel)?;
            let index = pixel as u64 * p.target_pixel as u64 + output as u64;
            memory.set_value(target, p.target, index, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory with one image of x (6 x 7 pixels of 8 channels), weights and space for y.
    fn prepared(stride: i32, groups: i32) -> (HostMemory, Convolution) {
        let (height, width, channels) = (6, 7, 8);
        let values: Vec<u8> = (0..4096u32)
            .flat_map(|at| ((at.wrapping_mul(2_654_435_761) >> 16) as f32 / 65536.0 - 0.5).to_le_bytes())
            .collect();
        let mut p = Convolution {
            weights: HostMemory::BASE + 4 * 1024,
            target: HostMemory::BASE + 4 * 2048,
            target_pixel: channels,
            source_count: 1,
            part_count: 1,
            images: 1,
            height: (height - 1) / stride + 1,
            width: (width - 1) / stride + 1,
            input_height: height,
            input_width: width,
            in_channels: channels,
            out_channels: channels,
            kernel: 3,
            stride,
            padding: 1,
            groups,
            ..Convolution::default()
        };
        p.sources[0] = Source { address: HostMemory::BASE, pixel: channels, channels };
        p.parts[0].channels = channels;
        p.parts[0].written = channels;
        (HostMemory::of(values), p)
    }

    #[test]
    fn a_value_is_the_sum_that_one_writes_down() {
        let (mut memory, p) = prepared(2, 2);
        let read = |memory: &HostMemory, at: u64, index: i32| {
            f64::from(memory.value(Format::F32, at, index as u64).unwrap())
        };
        // Output channel 5 of pixel (1, 0): the second group's input channels, rows 1 to 3, columns 0 and 1 (column -1 is outside).
        let mut expected = 0.0;
        for c in 0..4 {
            for (ky, kx) in [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)] {
                let weight = read(&memory, p.weights, ((5 * 4 + c) * 3 + ky) * 3 + kx);
                expected += weight * read(&memory, p.sources[0].address, ((1 + ky) * 7 + kx - 1) * 8 + 4 + c);
            }
        }
        direct(&mut memory, Math::F32, &p).unwrap();
        assert_eq!(read(&memory, p.target, 4 * 8 + 5), f64::from(expected as f32));
    }

    #[test]
    fn the_gradient_is_the_adjoint() {
        for (stride, groups) in [(1, 1), (2, 1), (1, 4), (2, 2)] {
            let (mut memory, p) = prepared(stride, groups);
            let dot = |memory: &HostMemory, a: u64, b: u64, count: i32| -> f64 {
                let read = |at, index| f64::from(memory.value(Format::F32, at, index).unwrap());
                (0..count as u64).map(|index| read(a, index) * read(b, index)).sum()
            };
            // <conv(x), dy> = <x, gradient(dy)> for any dy.
            let (dy, dx) = (HostMemory::BASE + 4 * 3000, HostMemory::BASE + 4 * 3500);
            let mut back = p;
            back.input_gradient = 1;
            back.sources[0].address = dy;
            back.target = dx;
            (back.height, back.width, back.input_height, back.input_width) =
                (p.input_height, p.input_width, p.height, p.width);
            direct(&mut memory, Math::F32, &p).unwrap();
            let forward = dot(&memory, p.target, dy, p.height * p.width * 8);
            direct(&mut memory, Math::F32, &back).unwrap();
            let backward = dot(&memory, HostMemory::BASE, dx, 6 * 7 * 8);
            assert!((forward - backward).abs() < 1e-5 * forward.abs().max(1.0), "{forward} {backward}");
        }
    }
}
