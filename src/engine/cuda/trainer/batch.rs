//! How a batch comes to the device: as planes from the host, or as patches that are cut there out of images.

use std::sync::Arc;

use crate::array::Array;
use crate::dataset::Crop;
use crate::engine::EngineError;
use crate::engine::cuda::launch::{self, Command};
use crate::engine::cuda::layout::Room;
use crate::engine::cuda::params::{self, Patch, bytes_of};
use crate::engine::cuda::{Images, number};
use crate::gpu::device::{DeviceMemory, Gpu, Pinned};
use crate::graph::ShapeError;
use crate::random::Random;

/// The form of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Patches.
    pub(super) patches: usize,
    /// Channels, height and width of an LR patch.
    pub(super) lr: [usize; 3],
    /// The same of an HR patch.
    pub(super) hr: [usize; 3],
}

/// Room for one batch in device memory, and for what is on its way there.
pub(super) struct Batch {
    form: Form,
    lr_offset: u64,
    hr_offset: u64,
    patches_offset: u64,
    /// LR and HR.
    on_its_way: [Pinned; 2],
}

impl Batch {
    /// Takes room for batches of a form.
    ///
    /// # Errors
    /// [`EngineError::Gpu`] where there is no memory to send from.
    pub(super) fn new(gpu: &Arc<Gpu>, room: &mut Room, form: Form) -> Result<Self, EngineError> {
        let values = |[channels, height, width]: [usize; 3]| form.patches * channels * height * width;
        let (lr, hr) = (values(form.lr), values(form.hr));
        let bytes = |count: usize| (count * size_of::<f32>()) as u64;
        Ok(Self {
            form,
            lr_offset: room.take(bytes(lr)),
            hr_offset: room.take(bytes(hr)),
            patches_offset: room.take((form.patches * size_of::<Patch>()) as u64),
            on_its_way: [gpu.pinned(lr)?, gpu.pinned(hr)?],
        })
    }

    /// Where LR lies in memory that begins at `base`.
    pub(super) fn lr(&self, base: u64) -> u64 {
        base + self.lr_offset
    }

    /// The same of HR.
    pub(super) fn hr(&self, base: u64) -> u64 {
        base + self.hr_offset
    }

    /// Cuts the patches that [`Batch::bring_patches`] names, in memory that begins at `base`.
    pub(super) fn crop(&self, base: u64, images: &Images, scale: usize) -> Command {
        let [_, _, side] = self.form.lr;
        let told = params::Crop {
            patches: base + self.patches_offset,
            values: images.values(),
            lr: self.lr(base),
            hr: self.hr(base),
            images: number(self.form.patches),
            side: number(side),
            scale: number(scale),
            unused: 0,
        };
        let work = (launch::training::crop(&told), told).into();
        Command { label: "crop".into(), work, multiply_adds: 0 }
    }

    /// Brings LR and HR to `memory`, which has to have been read before.
    ///
    /// # Errors
    /// [`EngineError::Shape`] when HR does not fit, [`EngineError::Gpu`] when the device refuses.
    pub(super) fn bring(
        &mut self,
        memory: &mut DeviceMemory,
        lr: &Array<f32>,
        hr: &Array<f32>,
    ) -> Result<(), EngineError> {
        let Form { patches, lr: [_, height, width], hr: [channels, hr_height, hr_width] } = self.form;
        let (found, wanted) = (hr.shape(), [patches, channels, hr_height, hr_width]);
        if found != wanted {
            let scale = hr_height / height.max(1);
            let problem =
                format!("the HR batch has shape {found:?}, and x{scale} of the LR batch is {wanted:?}");
            return Err(EngineError::Shape(ShapeError { width, height, node: "loss".into(), problem }));
        }
        let offsets = [self.lr_offset, self.hr_offset];
        for ((batch, staged), offset) in [lr, hr].into_iter().zip(&mut self.on_its_way).zip(offsets) {
            staged.values_mut().copy_from_slice(batch.data());
            memory.upload_pinned(offset, staged)?;
        }
        Ok(())
    }

    /// Brings what to cut to `memory`: the number of each pair, and where.
    ///
    /// # Errors
    /// [`EngineError::Gpu`] when the device refuses.
    pub(super) fn bring_patches(
        &self,
        memory: &mut DeviceMemory,
        images: &Images,
        patches: &[(usize, Crop)],
    ) -> Result<(), EngineError> {
        let told: Vec<Patch> = patches.iter().map(|(image, crop)| images.patch(*image, crop)).collect();
        let bytes: Vec<u8> = told.iter().flat_map(bytes_of).copied().collect();
        Ok(memory.upload(self.patches_offset, &bytes)?)
    }
}

/// LR and HR patches of random values, from 0 to 1 in steps of 1/255.
pub(super) fn random(
    [patches, side]: [usize; 2],
    channels: usize,
    scale: usize,
    seed: u64,
) -> [Array<f32>; 2] {
    let mut random = Random::new(&[seed, patches as u64, side as u64]);
    [side, side * scale].map(|side| {
        let mut array = Array::filled([patches, channels, side, side], 0.0f32);
        array.data_mut().iter_mut().for_each(|value| *value = random.bits() as u8 as f32 / 255.0);
        array
    })
}
