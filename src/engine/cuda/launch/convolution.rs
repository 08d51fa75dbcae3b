//! How convolutions are started, and which of them the fast kernels can compute.

use super::Launch;
use crate::engine::cuda::Math;
use crate::engine::cuda::params::{Convolution, MAX_PARTS, MAX_SOURCES, Pack, Part};

/// Pixels of a block of threads, in each direction: `TILE` of the kernels.
const TILE: u64 = 16;
/// Threads of a block.
const THREADS: u32 = 256;
/// Stages in shared memory at a time.
const STAGES: u32 = 3;
/// Bytes from one row of a stage's pixels to the next.
const ROW_BYTES: u32 = 18 * PIXEL_BYTES;
/// Bytes of a pixel, or of an output channel's weights for one tap, in a chunk.
const PIXEL_BYTES: u32 = 32;
/// What 16-byte copies and vectors of 8 channels need.
const ALIGNMENT_BYTES: u64 = 16;
/// Bytes from one row of pixels to the next in one half of a stage of [`Family::Hopper`].
const HALF_ROW_BYTES: u32 = ROW_BYTES / 2;
/// Output channels that a block of threads can compute, and the kernels of both families for it.
const BLOCKS: [(i32, [&str; 2]); 4] = [
    (64, ["convolution_n64", "convolution_hopper_n64"]),
    (48, ["convolution_n48", "convolution_hopper_n48"]),
    (32, ["convolution_n32", "convolution_hopper_n32"]),
    (16, ["convolution_n16", "convolution_hopper_n16"]),
];

/// The fast kernels come in two families. Both compute the same sums, each from weights that its own kernel has packed; packed weights take the same room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Family {
    /// Kernels for every GPU since Ampere.
    #[default]
    Ampere,
    /// Kernels for Hopper only, compute capability 9.0, in f16 and bf16.
    Hopper,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ampere, Self::Hopper];

    /// Whether a device of a compute capability (major and minor number) runs the kernels. Code for Hopper's own instructions runs on nothing older and nothing newer.
    pub fn runs_on(self, compute_capability: (u32, u32)) -> bool {
        match self {
            Self::Ampere => compute_capability >= (8, 0),
            Self::Hopper => compute_capability == (9, 0),
        }
    }

    /// The family whose kernels compute in this way: there is one for f32 and TF32.
    fn with(self, math: Math) -> Self {
        match math {
            Math::F32 | Math::Tf32 => Self::Ampere,
            Math::F16 | Math::Bf16 => self,
        }
    }
}

/// Family and output channels of a block, by the name of a fast kernel.
pub fn named(kernel: &str) -> Option<(Family, i32)> {
    BLOCKS.iter().find_map(|&(block, kernels)| {
        let place = kernels.iter().position(|&name| name == kernel)?;
        Some((*Family::ALL.get(place)?, block))
    })
}

/// The module with convolutions for a kind of mathematics.
fn module(family: Family, math: Math) -> &'static str {
    match (family, math) {
        (_, Math::F32) => "convolution.f32",
        (_, Math::Tf32) => "convolution.tf32",
        (Family::Ampere, Math::F16) => "convolution.f16",
        (Family::Ampere, Math::Bf16) => "convolution.bf16",
        (Family::Hopper, Math::F16) => "convolution.f16.hopper",
        (Family::Hopper, Math::Bf16) => "convolution.bf16.hopper",
    }
}

/// What a block costs besides its channels, in channels: it reads all pixels, from device memory as well as from shared memory. With 16 such channels, blocks of 16 are for
/// what has no more, and a block of 64 costs less than two of 32 or four of 16.
const BLOCK_CHANNELS: i32 = 16;

/// Output channels that a block of threads computes best: those that cost least with everything that is padded, then the most.
pub fn block(out_channels: i32) -> i32 {
    let cost = |block: i32| blocks(out_channels, block).saturating_mul(block + BLOCK_CHANNELS);
    BLOCKS.iter().map(|&(block, _)| block).min_by_key(|&block| cost(block)).unwrap_or(BLOCKS[0].0)
}

/// Output channels that all blocks of threads compute.
fn padded(out_channels: i32, block: i32) -> i32 {
    blocks(out_channels, block).saturating_mul(block)
}

/// Blocks of output channels.
pub fn blocks(out_channels: i32, block: i32) -> i32 {
    ceil(out_channels, block)
}

/// A quotient of numbers that are not negative, rounded up.
fn ceil(number: i32, by: i32) -> i32 {
    number.unsigned_abs().div_ceil(by.unsigned_abs().max(1)).cast_signed()
}

/// Input channels of a chunk.
pub fn chunk(math: Math) -> i32 {
    PIXEL_BYTES.cast_signed() / math.format().bytes() as i32
}

/// Chunks of all sources: none has channels of two.
pub fn chunks(math: Math, source_channels: impl IntoIterator<Item = i32>) -> i32 {
    source_channels.into_iter().map(|channels| ceil(channels, chunk(math))).sum()
}

/// Whether the fast kernels, with packed weights, can compute this; otherwise [`direct`] has to. Addresses of weights and bias are not looked at. A source may begin only where
/// vectors do, but end anywhere.
pub fn fits(math: Math, p: &Convolution) -> bool {
    let same_size =
        p.stride == 1 && p.padding == p.kernel / 2 && p.height == p.input_height && p.width == p.input_width;
    let counts =
        (1..=MAX_SOURCES as i32).contains(&p.source_count) && (1..=MAX_PARTS as i32).contains(&p.part_count);
    if !(matches!(p.kernel, 1 | 3) && p.groups == 1 && same_size && counts) {
        return false;
    }
    let value_bytes = math.format().bytes() as u64;
    let aligned = |address: u64, pixel: i32, bytes: u64| {
        address.is_multiple_of(ALIGNMENT_BYTES)
            && (pixel.unsigned_abs() as u64 * bytes).is_multiple_of(ALIGNMENT_BYTES)
    };
    let parts = p.parts.get(..p.part_count as usize).unwrap_or_default();
    let sources = || p.sources.iter().take(p.source_count as usize);
    let computed = padded(p.out_channels, block(p.out_channels));
    let part = |part: &Part| {
        let operands = [part.before, part.after, part.mask];
        operands.iter().all(|operand| aligned(operand.address, operand.pixel, value_bytes))
            && part.start % 8 == 0
            && part.written % 8 == 0
            && part.start + part.written <= computed
    };
    sources().all(|source| source.channels > 0 && aligned(source.address, source.pixel, value_bytes))
        && sources().map(|source| source.channels).sum::<i32>() == p.in_channels
        && parts.iter().all(part)
        && parts.windows(2).all(|two| two[0].start + two[0].written <= two[1].start)
        && aligned(p.target, p.target_pixel, if p.target_f32 == 1 { 4 } else { value_bytes })
        && pixels(p) <= i32::MAX as u64
}

/// Whether the fast kernels for Hopper can compute this: what [`fits`], in f16 or bf16. Matrix instructions that read shared memory themselves would cut off what TF32 rounds.
pub fn fits_hopper(math: Math, p: &Convolution) -> bool {
    Family::Hopper.with(math) == Family::Hopper && fits(math, p)
}

/// Pixels of all images. Kernels number them with 31 bits.
fn pixels(p: &Convolution) -> u64 {
    u64::from(p.images.unsigned_abs())
        * u64::from(p.height.unsigned_abs())
        * u64::from(p.width.unsigned_abs())
}

/// The fast kernel, for weights that are packed for [`block`] channels by [`pack`] of the same family. Only where [`fits`]. In f32 and TF32 it is [`Family::Ampere`]'s, whichever
/// family is asked for.
pub fn packed(family: Family, math: Math, p: &Convolution) -> Launch {
    let family = family.with(math);
    let block = block(p.out_channels);
    let [ampere, hopper] = BLOCKS.iter().find(|(one, _)| *one == block).unwrap_or(&BLOCKS[0]).1;
    let side = |extent: i32| u64::from(extent.unsigned_abs()).div_ceil(TILE);
    let tiles = u64::from(p.images.unsigned_abs()) * side(p.height) * side(p.width);
    Launch {
        module: module(family, math),
        kernel: if family == Family::Hopper { hopper } else { ampere },
        grid: [tiles as u32, blocks(p.out_channels, block).unsigned_abs(), 1],
        block: [THREADS, 1, 1],
        shared_bytes: shared_bytes(family, math, block.unsigned_abs(), p.kernel.unsigned_abs()),
    }
}

/// Dynamic shared memory: stages, and after them the sums, which go to the lanes that store them.
fn shared_bytes(family: Family, math: Math, block: u32, kernel: u32) -> u32 {
    let rows = TILE as u32 + kernel - 1;
    let pixels = match family {
        Family::Ampere => rows * ROW_BYTES,
        // Halves begin in different banks: 64 bytes more than a multiple of 128 apart.
        Family::Hopper => 2 * ((rows * HALF_ROW_BYTES) | 64),
    };
    let stage = pixels + kernel * kernel * block * PIXEL_BYTES;
    // Warps, pixels of a warp, and floats from one pixel to the next: as `Sums` of the kernels has them.
    let (pixels, pitch) = match (family, math, block) {
        (Family::Hopper, ..) | (_, Math::F32, _) => (32, block + 8),
        (.., 16) => (32, 24),
        (.., 48) => (64, 24),
        _ => (64, block / 2 + 8),
    };
    (STAGES * stage).max(THREADS / 32 * pixels * pitch * 4)
}

/// The kernel for everything else.
pub fn direct(math: Math, p: &Convolution) -> Launch {
    let parts = p.parts.iter().take(p.part_count.unsigned_abs() as usize);
    let written: u32 = parts.map(|part| part.written.unsigned_abs()).sum();
    // Threads are channels, but not many more than there are.
    let across = written.next_power_of_two().min(32);
    let down = THREADS / across;
    Launch {
        module: module(Family::Ampere, math),
        kernel: "convolution_direct",
        grid: [pixels(p).div_ceil(u64::from(down)) as u32, written.div_ceil(across), 1],
        block: [across, down, 1],
        shared_bytes: 0,
    }
}

/// The packing of weights for the fast kernels of a family; in f32 and TF32 for those of [`Family::Ampere`].
pub fn pack(family: Family, math: Math, p: &Pack) -> Launch {
    let family = family.with(math);
    let kernel = if family == Family::Hopper { "pack_weights_hopper" } else { "pack_weights" };
    let sources = p.source_channels.iter().take(p.source_count.unsigned_abs() as usize).copied();
    let values = packed_bytes(math, sources, p.out_channels, p.kernel) / math.format().bytes() as u64;
    let values = values.max(packed_bias_bytes(p.out_channels) / 4);
    let grid = [values.div_ceil(u64::from(THREADS)) as u32, 1, 1];
    Launch { module: module(family, math), kernel, grid, block: [THREADS, 1, 1], shared_bytes: 0 }
}

/// Bytes of packed weights, of either family: every block of output channels has every chunk of every source.
pub fn packed_bytes(
    math: Math,
    source_channels: impl IntoIterator<Item = i32>,
    out_channels: i32,
    kernel: i32,
) -> u64 {
    let rows = chunks(math, source_channels).unsigned_abs() * (kernel * kernel).unsigned_abs();
    u64::from(rows)
        * u64::from(padded(out_channels, block(out_channels)).unsigned_abs())
        * u64::from(PIXEL_BYTES)
}

/// Bytes of the bias beside them.
pub fn packed_bias_bytes(out_channels: i32) -> u64 {
    u64::from(padded(out_channels, block(out_channels)).unsigned_abs()) * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_waste_little() {
        let chosen: Vec<i32> = [1, 3, 16, 17, 25, 32, 48, 50, 64, 80, 96, 100, 128, 192].map(block).into();
        assert_eq!(chosen, [16, 16, 16, 32, 32, 32, 48, 64, 64, 48, 48, 64, 64, 64]);
    }

    #[test]
    fn two_blocks_of_threads_fit_an_h100_and_one_fits_every_later_gpu_than_ampere() {
        for (family, math) in Family::ALL.into_iter().flat_map(|family| Math::ALL.map(|math| (family, math)))
        {
            for (block, _) in BLOCKS {
                for kernel in [1, 3] {
                    let bytes = shared_bytes(family, math, block.unsigned_abs(), kernel);
                    assert!(bytes <= 99 << 10, "{family:?} {math:?} {block} {kernel}: {bytes}");
                }
            }
        }
    }

    #[test]
    fn families_have_kernels_of_their_own_where_both_compute() {
        let p = Convolution {
            out_channels: 50,
            kernel: 3,
            images: 1,
            height: 4,
            width: 5,
            ..Convolution::default()
        };
        let told = Pack { out_channels: 50, kernel: 3, source_count: 1, ..Pack::default() };
        for math in Math::ALL {
            let launches = Family::ALL.map(|family| (packed(family, math, &p), pack(family, math, &told)));
            assert_eq!(named(launches[0].0.kernel), Some((Family::Ampere, 64)));
            if matches!(math, Math::F16 | Math::Bf16) {
                assert_eq!(named(launches[1].0.kernel), Some((Family::Hopper, 64)));
                assert_eq!(launches[1].0.module, format!("convolution.{}.hopper", math.name()));
                assert_eq!(
                    (launches[1].1.module, launches[1].1.kernel),
                    (launches[1].0.module, "pack_weights_hopper")
                );
                assert_eq!(
                    (launches[1].0.grid, launches[1].1.grid),
                    (launches[0].0.grid, launches[0].1.grid)
                );
            } else {
                assert_eq!(launches[0], launches[1]);
            }
        }
        assert_eq!(named("convolution_direct"), None);
        let capabilities = [(7, 5), (8, 0), (8, 9), (9, 0), (10, 0), (12, 0)];
        assert_eq!(
            capabilities.map(|one| Family::Ampere.runs_on(one)),
            [false, true, true, true, true, true]
        );
        assert_eq!(
            capabilities.map(|one| Family::Hopper.runs_on(one)),
            [false, false, false, true, false, false]
        );
    }

    #[test]
    fn what_is_not_aligned_or_not_plain_is_computed_directly() {
        let mut p = Convolution {
            kernel: 3,
            padding: 1,
            stride: 1,
            groups: 1,
            images: 1,
            height: 4,
            width: 5,
            input_height: 4,
            input_width: 5,
            in_channels: 25,
            out_channels: 50,
            source_count: 1,
            part_count: 1,
            target: 0x1000,
            target_pixel: 56,
            ..Convolution::default()
        };
        p.sources[0].address = 0x2000;
        p.sources[0].pixel = 32;
        p.sources[0].channels = 25;
        p.parts[0].channels = 50;
        p.parts[0].written = 56;
        assert!(fits(Math::F16, &p));
        assert_eq!(Math::ALL.map(|math| fits_hopper(math, &p)), [false, false, true, true]);
        let spoilt: [fn(&mut Convolution); 9] = [
            |p| p.stride = 2,
            |p| p.groups = 5,
            |p| p.padding = 0,
            |p| p.kernel = 5,
            |p| p.sources[0].address += 8,
            |p| p.target += 2,
            |p| p.parts[0].written = 50,
            |p| p.parts[0].written = 72,
            |p| p.parts[0].mask.address = 0x3004,
        ];
        for (number, spoil) in spoilt.iter().enumerate() {
            let mut p = p;
            spoil(&mut p);
            assert!(!fits(Math::F16, &p) && !fits_hopper(Math::F16, &p), "{number}");
        }
    }
}
