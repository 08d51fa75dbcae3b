//! How the gradients of weights and biases are started, and into how many parts their pixels are divided.
//!
//! Everything follows from the shape, the mathematics and a number of multiprocessors that the caller gives: so do the bits of the result.

use super::Launch;
use crate::engine::cuda::Math;
use crate::engine::cuda::params::{Finish, Source, WeightGradient};

const WARP: u32 = 32;
/// Warps of a block: what the kernels are compiled for.
const MAX_WARPS: u32 = 8;
/// Warps on a multiprocessor: two full blocks, with 128 registers a thread.
const RESIDENT_WARPS: u32 = 16;
/// The most dynamic shared memory of a block: with the few bytes that the kernels have besides, what needs no permission, and lets two blocks run on a
/// multiprocessor of any architecture from 8.0 on.
const MAX_SHARED_BYTES: u32 = 48 * 1024 - 64;
/// What sums are written in where weights allow it.
const VECTOR_BYTES: u64 = 16;
/// Width of a strip in pixels.
const STRIP: u32 = 16;
/// Rows that a step has at most: within a step, kernels count values in 32 bits.
const STEP_ROWS: i64 = 8;
/// Of a slab of channels: 32 bytes of each pixel, and a gap behind the last.
const SLAB_BYTES: u32 = 32;
/// The most memory for the sums of all parts: two blocks with 64 × 64 × 9 sums in registers on each of 148 multiprocessors write 22 MB, which second-level
/// caches of 40 MB and more hold.
const MAX_SUMS_BYTES: u64 = 24 << 20;
/// Rows of a strip in a part: at least as many as make the writing of sums small beside the products, at most as many as keep one f32 sum from growing
/// over more than 16,384 pixels.
const PART_ROWS: (u64, u64) = (16, 1024);
/// Pixels of a part of the direct kernel: for the same reasons.
const PART_PIXELS: (u64, u64) = (64, 16_384);
/// Threads on a multiprocessor that the direct kernel aims at.
const DIRECT_THREADS: u64 = 2048;
/// Threads of a block of the direct kernel.
const DIRECT_BLOCK: u32 = 256;
/// The largest grid in y and z.
const MAX_PARTS: u64 = 65_535;
/// Values that a block of `finish_gradient` adds, and stretches of parts that it adds side by side.
const FINISH_BLOCK: (u32, u32) = (32, 8);

/// How a kernel divides the work: as in `kernels/gradient_strip.cuh`.
struct Tile {
    /// Vectors of 8 channels in a slab.
    slab_octets: u32,
    /// Slabs of outputs and of inputs of a warp.
    slabs: (u32, u32),
    /// Rows of a step, of dy and of x.
    rows: (u32, u32),
    /// From one row of x to the next in shared memory, in pixels.
    x_pitch: u32,
}

impl Tile {
    fn of(math: Math, kernel: i32) -> Option<Self> {
        let large = kernel == 3;
        let in_slabs = if large { 1 } else { 4 };
        let (slab_octets, out_slabs, rows, more_rows) = match math {
            Math::F32 => (1, 4, 2, if large { 2 } else { 0 }),
            Math::Tf32 => (1, 2, if large { 4 } else { 2 }, 0),
            Math::Bf16 => (2, 1, if large { 6 } else { 3 }, 0),
            Math::F16 => return None,
        };
        let x_pitch = match (large, slab_octets) {
            (true, 2) => STRIP + 8,
            (true, _) => STRIP + 2,
            (false, _) => STRIP,
        };
        Some(Self { slab_octets, slabs: (out_slabs, in_slabs), rows: (rows, rows + more_rows), x_pitch })
    }

    /// Bytes of a slab of dy and of one of x in a step, without the gap.
    fn slab_bytes(&self) -> (u32, u32) {
        (self.rows.0 * STRIP * SLAB_BYTES, self.rows.1 * self.x_pitch * SLAB_BYTES)
    }

    /// Dynamic shared memory: two steps, later a warp's sums of 16 × 8 channels.
    fn shared_bytes(&self, kernel: u32, warps: (u32, u32)) -> u32 {
        let (dy, x) = self.slab_bytes();
        let step = warps.0 * self.slabs.0 * (dy + SLAB_BYTES) + warps.1 * self.slabs.1 * (x + SLAB_BYTES);
        let sums = warps.0 * warps.1 * 16 * (8 * kernel * kernel + 4) * size_of::<f32>() as u32;
        (2 * step).max(sums)
    }
}

/// Warps of a block and blocks, both along outputs and along inputs.
#[derive(Clone, Copy)]
struct Shape {
    warps: (u32, u32),
    blocks: (u32, u32),
    shared_bytes: u32,
}

impl Shape {
    /// Of all shapes whose blocks are small enough the one that copies the fewest bytes into shared memory; then the one with the fewest warps that have
    /// nothing to do.
    fn of(p: &WeightGradient, math: Math) -> Option<Self> {
        let tile = Tile::of(math, p.kernel)?;
        let out_tiles = octets(&p.gradients, p.gradient_count).div_ceil(tile.slabs.0 * tile.slab_octets);
        let in_tiles = octets(&p.inputs, p.input_count).div_ceil(tile.slabs.1 * tile.slab_octets);
        let shapes = (1..=MAX_WARPS).flat_map(|out| (1..=MAX_WARPS / out).map(move |input| (out, input)));
        let shapes = shapes.map(|warps| {
            let blocks = (out_tiles.div_ceil(warps.0), in_tiles.div_ceil(warps.1));
            Self { warps, blocks, shared_bytes: tile.shared_bytes(p.kernel.unsigned_abs(), warps) }
        });
        let shapes = shapes.filter(|shape| shape.shared_bytes <= MAX_SHARED_BYTES);
        shapes.min_by_key(|shape| {
            let (dy, x) = tile.slab_bytes();
            let copied = |warps: u32, blocks: (u32, u32), slabs: u32, bytes: u32| {
                u64::from(warps * slabs) * u64::from(blocks.0) * u64::from(blocks.1) * u64::from(bytes)
            };
            let copied = (copied(shape.warps.0, shape.blocks, tile.slabs.0, dy)
                + copied(shape.warps.1, shape.blocks, tile.slabs.1, x))
                / u64::from(tile.rows.0);
            (copied, shape.warps.0 * shape.warps.1 * shape.blocks.0 * shape.blocks.1)
        })
    }
}

/// Whether `weight_gradient_3` or `weight_gradient_1` can do it: stride 1, no groups, a kernel of 3 or 1 with an output as large as the input, and every
/// range of channels at a multiple
/// of 8. What is behind a range's last channel may be anything that can be read.
pub fn fits(p: &WeightGradient, math: Math) -> bool {
    let aligned = |sources: &[Source], count: i32| {
        let mut sources = sources.iter().take(count.max(0).unsigned_abs() as usize);
        sources.all(|one| {
            one.pixel % 8 == 0
                && one.address.is_multiple_of(8 * math.format().bytes() as u64)
                && i64::from(one.pixel) * i64::from(p.width) * STEP_ROWS <= i64::from(i32::MAX)
        })
    };
    math != Math::F16
        && p.stride == 1
        && p.groups == 1
        && matches!(p.kernel, 1 | 3)
        && p.padding == p.kernel / 2
        && (p.height, p.width) == (p.input_height, p.input_width)
        && aligned(&p.inputs, p.input_count)
        && aligned(&p.gradients, p.gradient_count)
        && p.sums.is_multiple_of(VECTOR_BYTES)
        && rows(p) <= i32::MAX as u64
}

/// Into how many parts the pixels are divided, so that each of `multiprocessors` has two full blocks, or as many warps. `p.splits` is not read. None where
/// there are no such kernels: f16.
pub fn splits(p: &WeightGradient, math: Math, multiprocessors: u32) -> Option<i32> {
    if math == Math::F16 {
        return None;
    }
    let all = sums(p) + u64::from(p.out_channels.unsigned_abs());
    let most = (MAX_SUMS_BYTES / (size_of::<f32>() as u64 * all.max(1))).max(1);
    let (wanted, units, bounds) = if fits(p, math) {
        let shape = Shape::of(p, math)?;
        let resident =
            u64::from(multiprocessors) * u64::from(RESIDENT_WARPS / (shape.warps.0 * shape.warps.1));
        (resident / u64::from((shape.blocks.0 * shape.blocks.1).max(1)), rows(p), PART_ROWS)
    } else {
        (u64::from(multiprocessors) * DIRECT_THREADS / all.max(1), pixels(p), PART_PIXELS)
    };
    // That sums stay accurate comes before that they stay small.
    let parts =
        wanted.min(most).min(units.div_ceil(bounds.0)).max(units.div_ceil(bounds.1)).clamp(1, MAX_PARTS);
    i32::try_from(parts).ok()
}

/// Sums of one part, without those of the bias: as many as there are weights.
pub fn sums(p: &WeightGradient) -> u64 {
    let [outs, ins, kernel, groups] =
        [p.out_channels, p.in_channels, p.kernel, p.groups].map(|n| u64::from(n.unsigned_abs()));
    outs * (ins / groups.max(1)) * kernel * kernel
}

/// The sums of a weight's and a bias' gradient. None where there are no such kernels: f16.
pub fn weight_gradient(p: &WeightGradient, math: Math) -> Option<Launch> {
    if !fits(p, math) {
        return weight_gradient_direct(p, math);
    }
    let shape = Shape::of(p, math)?;
    Some(Launch {
        module: module(math)?,
        kernel: if p.kernel == 3 { "weight_gradient_3" } else { "weight_gradient_1" },
        grid: [shape.blocks.1, shape.blocks.0, p.splits.unsigned_abs()],
        block: [WARP * shape.warps.0, shape.warps.1, 1],
        shared_bytes: shape.shared_bytes,
    })
}

/// The same by the kernel that takes every convolution.
pub fn weight_gradient_direct(p: &WeightGradient, math: Math) -> Option<Launch> {
    let biases = if p.bias_sums == 0 { 0 } else { u64::from(p.out_channels.unsigned_abs()) };
    let blocks = (sums(p) + biases).div_ceil(u64::from(DIRECT_BLOCK));
    Some(Launch {
        module: module(math)?,
        kernel: "weight_gradient_direct",
        grid: [u32::try_from(blocks).ok()?, p.splits.unsigned_abs(), 1],
        block: [DIRECT_BLOCK, 1, 1],
        shared_bytes: 0,
    })
}

/// The sum of all parts.
pub fn finish_gradient(p: &Finish, math: Math) -> Option<Launch> {
    Some(Launch {
        module: module(math)?,
        kernel: "finish_gradient",
        grid: [p.count.unsigned_abs().div_ceil(FINISH_BLOCK.0), 1, 1],
        block: [FINISH_BLOCK.0 * FINISH_BLOCK.1, 1, 1],
        shared_bytes: 0,
    })
}

fn module(math: Math) -> Option<&'static str> {
    match math {
        Math::F32 => Some("gradient.f32"),
        Math::Tf32 => Some("gradient.tf32"),
        Math::Bf16 => Some("gradient.bf16"),
        Math::F16 => None,
    }
}

/// Vectors of 8 channels, each source with its own.
fn octets(sources: &[Source], count: i32) -> u32 {
    let sources = sources.iter().take(count.max(0).unsigned_abs() as usize);
    sources.map(|one| one.channels.unsigned_abs().div_ceil(8)).sum()
}

/// Rows of all strips.
fn rows(p: &WeightGradient) -> u64 {
    let strips = p.width.unsigned_abs().div_ceil(STRIP);
    u64::from(p.images.unsigned_abs()) * u64::from(strips) * u64::from(p.height.unsigned_abs())
}

/// Pixels of dy.
fn pixels(p: &WeightGradient) -> u64 {
    [p.images, p.height, p.width].into_iter().map(|n| u64::from(n.unsigned_abs())).product()
}
