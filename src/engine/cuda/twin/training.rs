//! What training does besides running a network. Everything has the CPU's bits.

use crate::engine::cuda::params::{Adam, Branch, Crop, Fold, Folded, Patch};
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

/// `fold`: adds branches, and identities, to the middle of kernels that are zero before.
///
/// # Errors
/// [`Outside`]
pub fn fold(memory: &mut HostMemory, p: &Fold) -> Result<(), Outside> {
    for tensor in tensors(memory, p)? {
        let taps = u64::from((tensor.kernel * tensor.kernel).unsigned_abs());
        for index in 0..u64::from(tensor.channels.unsigned_abs()) * taps {
            set(memory, p.folded, tensor.first + index, 0.0)?;
        }
        for branch in branches(memory, p, &tensor)? {
            for (own, folded) in taps_of(&tensor, &branch) {
                let term = match own {
                    Some(own) => value(memory, p.expanded, own)?,
                    None => 1.0,
                };
                let sum = value(memory, p.folded, folded)? + term;
                set(memory, p.folded, folded, sum)?;
            }
        }
    }
    Ok(())
}

/// `unfold`: cuts every branch's gradient out of the middle of the folded one's.
///
/// # Errors
/// [`Outside`]
pub fn unfold(memory: &mut HostMemory, p: &Fold) -> Result<(), Outside> {
    for tensor in tensors(memory, p)? {
        for branch in branches(memory, p, &tensor)? {
            for (own, folded) in taps_of(&tensor, &branch) {
                if let Some(own) = own {
                    let gradient = value(memory, p.folded, folded)?;
                    set(memory, p.expanded, own, gradient)?;
                }
            }
        }
    }
    Ok(())
}

/// The folded tensors of a list. Which block of threads works on which is not asked: the result is all of them.
fn tensors(memory: &HostMemory, p: &Fold) -> Result<Vec<Folded>, Outside> {
    let one = |index: u64| {
        let at = p.tensors + index * size_of::<Folded>() as u64;
        let first = u64::from_le_bytes(memory.read(at)?);
        let [channels, in_channels, kernel, first_branch, branch_count, first_block] =
            numbers(memory, at + 8)?;
        Ok(Folded { first, channels, in_channels, kernel, first_branch, branch_count, first_block })
    };
    (0..u64::from(p.tensor_count.unsigned_abs())).map(one).collect()
}

/// The branches of a folded tensor.
fn branches(memory: &HostMemory, p: &Fold, tensor: &Folded) -> Result<Vec<Branch>, Outside> {
    let one = |index: i32| {
        let at = p.branches + u64::from(index.unsigned_abs()) * size_of::<Branch>() as u64;
        let [kernel, unused] = numbers(memory, at + 8)?;
        Ok(Branch { first: u64::from_le_bytes(memory.read(at)?), kernel, unused })
    };
    (tensor.first_branch..tensor.first_branch + tensor.branch_count).map(one).collect()
}

/// Whole numbers from an address on.
fn numbers<const N: usize>(memory: &HostMemory, address: u64) -> Result<[i32; N], Outside> {
    let mut numbers = [0; N];
    for (index, number) in numbers.iter_mut().enumerate() {
        *number = i32::from_le_bytes(memory.read(address + index as u64 * 4)?);
    }
    Ok(numbers)
}

/// A branch's values, or none for the ones of an identity, each with the folded value that it lies on.
fn taps_of(tensor: &Folded, branch: &Branch) -> Vec<(Option<u64>, u64)> {
    let (small, large) = (branch.kernel.max(1), tensor.kernel);
    let offset = (large - small) / 2;
    let mut taps = Vec::new();
    for channel in 0..tensor.channels {
        if branch.kernel == 0 && channel / tensor.in_channels != channel % tensor.in_channels {
            continue;
        }
        for row in 0..small {
            for column in 0..small {
                let own = branch.first + tap(small, channel, row, column);
                let folded = tensor.first + tap(large, channel, row + offset, column + offset);
                taps.push(((branch.kernel > 0).then_some(own), folded));
            }
        }
    }
    taps
}

/// The number of a tap in a weight with square kernels.
fn tap(kernel: i32, channel: i32, row: i32, column: i32) -> u64 {
    let [kernel, channel, row, column] =
        [kernel, channel, row, column].map(|number| u64::from(number.unsigned_abs()));
    (channel * kernel + row) * kernel + column
}

/// `crop`: the patches of a batch as planes, flipped and turned as [`crate::imaging::augment`] does it; outside of an image is black.
///
/// # Errors
/// [`Outside`]
pub fn crop(memory: &mut HostMemory, p: &Crop) -> Result<(), Outside> {
    for image in 0..p.images as u64 {
        let at = p.patches + image * PATCH_BYTES;
        let (lr, hr) = (u64::from_le_bytes(memory.read(at)?), u64::from_le_bytes(memory.read(at + 8)?));
        let [width, height, x, y, augmentation] = numbers(memory, at + 16)?.map(i64::from);
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
