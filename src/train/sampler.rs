//! Which patches a step sees.
//!
//! Order, crop and augmentation are pure functions of (seed, stage, step, index in the batch): nothing about the position in the data is ever saved.

use rayon::prelude::*;

use super::settings::StageSettings;
use crate::array::Array;
use crate::dataset::{Coverage, Crop, Pairs};
use crate::imaging::{Augmentation, ValueTable};
use crate::random::Random;

/// Keys of the random streams, beside seed and stage.
const ORDER_STREAM: u64 = 0x0de5;
const CROP_STREAM: u64 = 0xc409;

/// Number of flips and rotations of a square.
const AUGMENTATIONS: usize = 8;

/// The input of one step, values in the model's data range.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// LR patches, N×3×P×P.
    pub lr: Array<f32>,
    /// HR patches, N×3×(scale·P)×(scale·P).
    pub hr: Array<f32>,
    /// How many of them were zero-padded, because their image is smaller than the patch.
    pub padded_patches: u64,
}

/// One patch of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The number of its image pair.
    pub image: usize,
    /// What is cut out of the pair.
    pub crop: Crop,
    /// Whether it reaches beyond its image.
    pub coverage: Coverage,
}

/// Where a patch comes from: an epoch, and a slot of its order.
struct Place {
    epoch: u64,
    slot: u32,
}

/// Makes the batches of one stage.
pub struct Sampler<'a> {
    images: &'a dyn Pairs,
    stage: &'a StageSettings,
    key: [u64; 2],
    scale: usize,
    values: ValueTable,
    /// The order of the epoch that was asked for last: it is used a whole epoch long.
    order: Option<(u64, Vec<u32>)>,
}

impl<'a> Sampler<'a> {
    /// The batches of `stage` (number `stage_index`) on `images`.
    pub fn new(
        images: &'a dyn Pairs,
        stage: &'a StageSettings,
        seed: u64,
        stage_index: u64,
        scale: usize,
        data_range: f32,
    ) -> Self {
        let values = ValueTable::new(data_range);
        Self { images, stage, key: [seed, stage_index], scale, values, order: None }
    }

    /// The patches of a step, counted from 0 in the stage.
    pub fn patches(&mut self, step: u64) -> Vec<Patch> {
        let first = step * self.stage.batch as u64;
        let places: Vec<Place> =
            (first..first + self.stage.batch as u64).map(|position| self.place(position)).collect();
        places.iter().map(|place| self.patch(place)).collect()
    }

    /// The batch of a step: its patches, cut out.
    pub fn batch(&mut self, step: u64) -> Batch {
        let (patches, patch, scale) = (self.stage.batch, self.stage.patch_lr, self.scale);
        let chosen = self.patches(step);
        let zeros = |side: usize| Array::filled([patches, 3, side, side], 0.0);
        let (mut lr, mut hr) = (zeros(patch), zeros(patch * scale));
        let lr_patches = lr.data_mut().par_chunks_mut(3 * patch.pow(2));
        let hr_patches = hr.data_mut().par_chunks_mut(3 * (patch * scale).pow(2));
        let pairs = chosen.par_iter().zip(lr_patches.zip(hr_patches));
        pairs.for_each(|(patch, (lr, hr))| self.cut(patch, lr, hr));
        Batch { lr, hr, padded_patches: padded(&chosen) }
    }

    /// The place at a position in the endless stream of epochs.
    fn place(&mut self, position: u64) -> Place {
        let per_epoch = (self.images.len() * self.stage.crops_per_image).max(1) as u64;
        let (epoch, within) = (position / per_epoch, (position % per_epoch) as usize);
        Place { epoch, slot: self.order(epoch).get(within).copied().unwrap_or(0) }
    }

    /// The patch at a place.
    fn patch(&self, &Place { epoch, slot }: &Place) -> Patch {
        let image = slot as usize % self.images.len().max(1);
        let size = self.images.pair(image).map_or((0, 0), |pair| (pair.lr.width(), pair.lr.height()));
        let [seed, stage] = self.key;
        let mut random = Random::new(&[seed, stage, CROP_STREAM, epoch, u64::from(slot)]);
        let side = self.stage.patch_lr;
        let place = |length: usize, random: &mut Random| random.below(length.saturating_sub(side) + 1);
        let x = place(size.0, &mut random);
        let y = place(size.1, &mut random);
        let augmentation = Augmentation::new(random.below(AUGMENTATIONS) as u8);
        let crop = Crop { x, y, side, scale: self.scale, augmentation };
        let coverage = match x + side > size.0 || y + side > size.1 {
            true => Coverage::Padded,
            false => Coverage::Inside,
        };
        Patch { image, crop, coverage }
    }

    /// Writes a patch's values, channel by channel.
    fn cut(&self, &Patch { image, crop, coverage }: &Patch, lr: &mut [f32], hr: &mut [f32]) {
        let Some(pair) = self.images.pair(image) else {
            unreachable!("patches are of images there are");
        };
        match pair.crop_values(&crop, &self.values, lr, hr) {
            Ok(found) => debug_assert_eq!(found, coverage),
            Err(error) => unreachable!("the batch was cut into patches of this size: {error}"),
        }
    }

    /// The order of an epoch: slot `i + n·crop` stands for image `i` of `n`.
    fn order(&mut self, epoch: u64) -> &[u32] {
        if self.order.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let [seed, stage] = self.key;
            let mut slots: Vec<u32> = (0..(self.images.len() * self.stage.crops_per_image) as u32).collect();
            Random::new(&[seed, stage, ORDER_STREAM, epoch]).shuffle(&mut slots);
            self.order = Some((epoch, slots));
        }
        self.order.as_ref().map_or(&[], |(_, slots)| slots)
    }
}

/// How many patches reach beyond their images.
pub(super) fn padded(patches: &[Patch]) -> u64 {
    patches.iter().filter(|patch| patch.coverage == Coverage::Padded).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::packed::{Packed, pack};
    use crate::dataset::{LoadedPair, Pair};
    use crate::imaging::{RgbImage, augment, write_png};
    use crate::train::settings::paper_stage;

    /// An image whose red and green values tell the position of each pixel, in LR pixels.
    fn pair(width: usize, height: usize, blue: u8) -> LoadedPair {
        let image = |scale: usize| {
            let (w, h) = (width * scale, height * scale);
            let pixel = |at: usize| [(at % w / scale) as u8 + 1, (at / w / scale) as u8 + 1, blue];
            RgbImage::new(w, h, (0..w * h).flat_map(pixel).collect()).unwrap()
        };
        LoadedPair { name: format!("{blue}"), lr: image(1), hr: image(4) }
    }

    fn stage(patch_lr: usize) -> StageSettings {
        StageSettings { batch: 4, crops_per_image: 3, ..paper_stage("test", patch_lr) }
    }

    #[test]
    fn a_batch_depends_on_nothing_but_its_step() {
        let (images, stage) = ([pair(20, 15, 1), pair(16, 16, 2)], stage(8));
        let mut forwards = Sampler::new(&images, &stage, 7, 0, 4, 1.0);
        let batches: Vec<Batch> = (0..6).map(|step| forwards.batch(step)).collect();
        let mut backwards = Sampler::new(&images, &stage, 7, 0, 4, 1.0);
        for step in (0..6).rev() {
            assert_eq!(backwards.batch(step), batches[step as usize]);
        }
        assert_ne!(Sampler::new(&images, &stage, 8, 0, 4, 1.0).batch(0), batches[0]);
        assert_ne!(Sampler::new(&images, &stage, 7, 1, 4, 1.0).batch(0), batches[0]);
    }

    #[test]
    fn lr_and_hr_show_the_same_place_in_every_augmentation() {
        let (images, stage) = ([pair(20, 15, 1), pair(16, 16, 2)], stage(8));
        let mut sampler = Sampler::new(&images, &stage, 3, 0, 4, 255.0);
        for step in 0..12 {
            let batch = sampler.batch(step);
            for plane in 0..4 * 3 {
                for y in 0..32 {
                    for x in 0..32 {
                        let hr = batch.hr.data()[(plane * 32 + y) * 32 + x];
                        assert_eq!(hr, batch.lr.data()[(plane * 8 + y / 4) * 8 + x / 4]);
                    }
                }
            }
        }
    }

    #[test]
    fn every_image_is_cropped_equally_often_in_an_epoch() {
        let (images, stage) = ([pair(20, 15, 1), pair(16, 16, 2), pair(9, 9, 3), pair(30, 8, 4)], stage(8));
        let mut sampler = Sampler::new(&images, &stage, 1, 0, 4, 255.0);
        let mut seen = [0; 5];
        for step in 0..3 {
            let batch = sampler.batch(step);
            for image in 0..4 {
                seen[batch.lr.data()[(image * 3 + 2) * 64] as usize] += 1;
            }
        }
        assert_eq!(seen, [0, 3, 3, 3, 3]);
    }

    #[test]
    fn small_images_are_padded_with_zeros_and_counted() {
        let (images, stage) = ([pair(5, 12, 9)], stage(8));
        let batch = Sampler::new(&images, &stage, 1, 0, 4, 255.0).batch(0);
        assert_eq!(batch.padded_patches, 4);
        let blue = &batch.lr.data()[2 * 64..3 * 64];
        assert_eq!(blue.iter().filter(|&&value| value == 9.0).count(), 40);
        assert_eq!(blue.iter().filter(|&&value| value == 0.0).count(), 24);
    }

    #[test]
    fn a_packed_set_gives_the_same_batches_as_memory() {
        let folder = tempfile::tempdir().unwrap();
        // The second image is smaller than a patch, the third lower.
        let images = [pair(20, 15, 1), pair(5, 6, 2), pair(31, 7, 3)];
        let files = images.iter().map(|image| {
            let path = |end: &str| folder.path().join(format!("{}{end}", image.name));
            let (lr, hr) = (path("x4.png"), path(".png"));
            write_png(&lr, &image.lr).unwrap();
            write_png(&hr, &image.hr).unwrap();
            Pair { name: image.name.clone(), lr, hr }
        });
        let out = folder.path().join("set");
        pack(&files.collect::<Vec<_>>(), 4, &out, &|_, _| {}, &|| None).unwrap();
        let (packed, stage) = (Packed::open(&out).unwrap(), stage(8));
        let mut from_memory = Sampler::new(&images, &stage, 11, 1, 4, 1.0);
        let mut from_file = Sampler::new(&packed, &stage, 11, 1, 4, 1.0);
        for step in 0..8 {
            assert_eq!(from_memory.batch(step), from_file.batch(step));
        }
    }

    /// Crop, flip and convert as separate steps, each the plain way.
    #[test]
    fn patches_are_the_plain_ones_bit_for_bit() {
        let (images, stage) = ([pair(20, 15, 1), pair(16, 16, 2)], stage(8));
        let mut sampler = Sampler::new(&images, &stage, 5, 0, 4, 1.0);
        let batch = sampler.batch(0);
        for number in 0..4 {
            let Place { epoch, slot } = sampler.place(number as u64);
            let image = &images[slot as usize % 2];
            let mut random = Random::new(&[5, 0, CROP_STREAM, epoch, u64::from(slot)]);
            let x = random.below(image.lr.width() - 8 + 1);
            let y = random.below(image.lr.height() - 8 + 1);
            let augmentation = Augmentation::new(random.below(8) as u8);
            for (image, scale, found) in [(&image.lr, 1, &batch.lr), (&image.hr, 4, &batch.hr)] {
                let side = 8 * scale;
                let patch = augment(&image.crop(x * scale, y * scale, side, side).unwrap(), augmentation);
                let found = &found.data()[number * 3 * side * side..][..3 * side * side];
                for (at, &value) in found.iter().enumerate() {
                    let byte = patch.pixels()[at % (side * side) * 3 + at / (side * side)];
                    assert_eq!(value.to_bits(), (f32::from(byte) / 255.0).to_bits());
                }
            }
        }
    }
}
