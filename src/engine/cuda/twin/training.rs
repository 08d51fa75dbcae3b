//! What training does besides running a network. Everything has the CPU's bits.

use crate::engine::cuda::params::{Adam, Crop, Fold, Patch};
use crate::engine::cuda::{Format, HostMemory, Outside};

/// Bytes of a patch in memory.
const PATCH_BYTES: u64 = size_of::<Patch>() as u64;

fn value(memory: &HostMemory, address: u64, index: u64) -> Result<f32, Outside> {
    memory.value(Format::F32, address, index)
}

fn set(memory: &mut HostMemory, address: u64, index: u64, value: f32) -> Result<(), Outside> {
    memory.set_value(Format::F32, address, index, value.into())
}

/// `all_finite`: clears the flag if a gradient or the loss is not finite.
///
/// # Errors
/// [`Outside`]
pub fn all_finite(memory: &mut HostMemory, p: &Adam) -> Result<(), Outside> {
    let mut finite = f64::from_le_bytes(memory.read(p.loss)?).is_finite();
    for index in 0..p.count as u64 {
        finite &= value(memory, p.gradients, index)?.is_finite();
    }
    if finite { Ok(()) } else { memory.write(p.finite, 0u32.to_le_bytes()) }
}

/// `adam`: one update, a rounding after every operation, in the order of `torch.optim.Adam`; nothing where the flag is clear.
///
/// # Errors
/// [`Outside`]
pub fn adam(memory: &mut HostMemory, p: &Adam) -> Result<(), Outside> {
    if u32::from_le_bytes(memory.read(p.finite)?) == 0 {
        return Ok(());
    }
    let mut step = [0.0; 6];
    for (index, number) in step.iter_mut().enumerate() {
        *number = value(memory, p.step, index as u64)?;
    }
    let [step_size, root_correction, lerp, decay, gain, epsilon] = step;
    for index in 0..p.count as u64 {
        let (g, mut m) = (value(memory, p.gradients, index)?, value(memory, p.first, index)?);
        m += (g - m) * lerp;
        let v = value(memory, p.second, index)? * decay + g * g * gain;
        let denominator = v.sqrt() / root_correction + epsilon;
        let weight = value(memory, p.weights, index)? - step_size * (m / denominator);
        set(memory, p.first, index, m)?;
        set(memory, p.second, index, v)?;
        set(memory, p.weights, index, weight)?;
    }
    Ok(())
}

/// `fold`: adds a branch, or the identity, to the middle of the folded kernels; the first branch is added to zeros.
///
/// # Errors
/// [`Outside`]
pub fn fold(memory: &mut HostMemory, p: &Fold) -> Result<(), Outside> {
    if p.accumulate == 0 {
        for index in 0..(p.channels * p.kernel * p.kernel) as u64 {
            set(memory, p.folded, index, 0.0)?;
        }
    }
    for channel in 0..p.channels {
        match p.branch {
            0 => {
                if channel / p.in_channels == channel % p.in_channels {
                    let middle = p.kernel / 2;
                    add(memory, p.folded, tap(p.kernel, channel, middle, middle), 1.0)?;
                }
            }
            _ => {
                for (branch, folded) in taps(p, channel) {
                    let value = value(memory, p.branch, branch)?;
                    add(memory, p.folded, folded, value)?;
                }
            }
        }
    }
    Ok(())
}

/// `unfold`: cuts a branch's gradient out of the middle of the folded one's.
///
/// # Errors
/// [`Outside`]
pub fn unfold(memory: &mut HostMemory, p: &Fold) -> Result<(), Outside> {
    for channel in 0..p.channels {
        for (branch, folded) in taps(p, channel) {
            let value = value(memory, p.folded, folded)?;
            set(memory, p.branch, branch, value)?;
        }
    }
    Ok(())
}

fn add(memory: &mut HostMemory, address: u64, index: u64, term: f32) -> Result<(), Outside> {
    let sum = value(memory, address, index)? + term;
    set(memory, address, index, sum)
}

/// The number of a tap in a weight with square kernels.
fn tap(kernel: i32, channel: i32, row: i32, column: i32) -> u64 {
    ((channel * kernel + row) * kernel + column) as u64
}

/// The taps of a branch's kernel, and where they lie in the folded kernel.
fn taps(p: &Fold, channel: i32) -> impl Iterator<Item = (u64, u64)> {
    let (small, large, offset) = (p.branch_kernel, p.kernel, (p.kernel - p.branch_kernel) / 2);
    (0..small).flat_map(move |row| {
        (0..small).map(move |column| {
            (tap(small, channel, row, column), tap(large, channel, row + offset, column + offset))
        })
    })
}

/// `crop`: the patches of a batch as planes, flipped and turned as [`crate::imaging::augment`] does it; outside of an image is black.
///
/// # Errors
/// [`Outside`]
pub fn crop(memory: &mut HostMemory, p: &Crop) -> Result<(), Outside> {
    for image in 0..p.images as u64 {
        let at = p.patches + image * PATCH_BYTES;
        let (lr, hr) = (u64::from_le_bytes(memory.read(at)?), u64::from_le_bytes(memory.read(at + 8)?));
        let mut numbers = [0i64; 5];
        for (index, number) in numbers.iter_mut().enumerate() {
            *number = i32::from_le_bytes(memory.read(at + 16 + index as u64 * 4)?).into();
        }
        let [width, height, x, y, augmentation] = numbers;
        for (from, to, scale) in [(lr, p.lr, 1), (hr, p.hr, i64::from(p.scale))] {
            let square =
                Square { from, width: width * scale, height: height * scale, x: x * scale, y: y * scale };
            let side = i64::from(p.side) * scale;
            let to = to + image * 3 * (side * side) as u64 * 4;
            square.cut(memory, (to, p.values), side, augmentation)?;
        }
    }
    Ok(())
}

/// The place of a patch in an 8-bit image.
struct Square {
    from: u64,
    width: i64,
    height: i64,
    x: i64,
    y: i64,
}

impl Square {
    fn cut(
        &self,
        memory: &mut HostMemory,
        (to, values): (u64, u64),
        side: i64,
        augmentation: i64,
    ) -> Result<(), Outside> {
        for row in 0..side {
            for column in 0..side {
                let swaps = [1, 3, 5, 7].contains(&augmentation);
                let (mut y, mut x) = if swaps { (column, row) } else { (row, column) };
                if [2, 3, 6, 7].contains(&augmentation) {
                    y = side - 1 - y;
                }
                if [4, 5, 6, 7].contains(&augmentation) {
                    x = side - 1 - x;
                }
                let (y, x) = (self.y + y, self.x + x);
                for channel in 0..3 {
                    let mut byte = [0];
                    if y < self.height && x < self.width {
                        byte = memory.read(self.from + ((y * self.width + x) * 3 + channel) as u64)?;
                    }
                    let found = value(memory, values, byte[0].into())?;
                    set(memory, to, ((channel * side + row) * side + column) as u64, found)?;
                }
            }
        }
        Ok(())
    }
}
