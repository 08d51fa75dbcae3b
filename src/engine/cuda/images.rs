//! Training images in device memory, as 8-bit RGB: patches are cut there, and what a step brings from the host is where to cut.

use std::sync::Arc;

use super::number;
use super::params::Patch;
use crate::dataset::{Crop, Pairs};
use crate::gpu::device::{DeviceMemory, Gpu};
use crate::gpu::driver::GpuError;
use crate::imaging::{RgbView, ValueTable};

/// The share of free memory that images may take: the rest is for activations, whose size is only known with the first batch.
const SHARE: f64 = 0.6;

/// Images begin at multiples of this, so that their first bytes are read in whole vectors.
const ALIGNMENT_BYTES: u64 = 16;

/// Image pairs on a device.
pub struct Images {
    /// Kept: patches name addresses in it.
    _pixels: DeviceMemory,
    /// What each of the 256 bytes becomes.
    values: DeviceMemory,
    pairs: Vec<Placed>,
}

/// Where a pair lies.
#[derive(Clone, Copy)]
struct Placed {
    lr: u64,
    hr: u64,
    /// Width and height of the LR image.
    size: [usize; 2],
}

impl Images {
    /// Brings all pairs to a device, if they fit beside everything else; `None` if not.
    ///
    /// # Errors
    /// [`GpuError`] where the device refuses.
    pub fn of(gpu: &Arc<Gpu>, images: &dyn Pairs, values: &ValueTable) -> Result<Option<Self>, GpuError> {
        let pairs = || (0..images.len()).filter_map(|index| images.pair(index));
        let aligned = |bytes: usize| (bytes as u64).next_multiple_of(ALIGNMENT_BYTES);
        let bytes: u64 = pairs().map(|pair| aligned(bytes_of(&pair.lr)) + aligned(bytes_of(&pair.hr))).sum();
        if bytes as f64 > SHARE * gpu.memory()?.free_bytes as f64 {
            return Ok(None);
        }
        let mut pixels = gpu.allocate(bytes)?;
        let mut table = gpu.allocate(size_of_val(values.values()) as u64)?;
        table.upload(0, values.values())?;
        let (mut offset, mut placed, mut image) = (0, Vec::with_capacity(images.len()), Vec::new());
        for pair in pairs() {
            let mut put = |view: &RgbView<'_>| {
                let at = offset;
                image.clear();
                view.rows().for_each(|line| image.extend_from_slice(line));
                pixels.upload(at, &image)?;
                offset += aligned(image.len());
                Ok::<_, GpuError>(at)
            };
            let (lr, hr) = (put(&pair.lr)?, put(&pair.hr)?);
            placed.push(Placed { lr, hr, size: [pair.lr.width(), pair.lr.height()] });
        }
        let base = pixels.address();
        placed.iter_mut().for_each(|pair| (pair.lr, pair.hr) = (pair.lr + base, pair.hr + base));
        Ok(Some(Self { _pixels: pixels, values: table, pairs: placed }))
    }

    /// The table of what bytes become.
    pub(super) fn values(&self) -> u64 {
        self.values.address()
    }

    /// What the device is told of a patch of pair `image`; a patch of nothing for a pair that is not there.
    pub(super) fn patch(&self, image: usize, crop: &Crop) -> Patch {
        let Some(Placed { lr, hr, size: [width, height] }) = self.pairs.get(image).copied() else {
            return Patch::default();
        };
        Patch {
            lr,
            hr,
            lr_width: number(width),
            lr_height: number(height),
            x: number(crop.x),
            y: number(crop.y),
            augmentation: i32::from(crop.augmentation.mode()),
            unused: 0,
        }
    }
}

fn bytes_of(view: &RgbView<'_>) -> usize {
    view.width() * view.height() * 3
}
