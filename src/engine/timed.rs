//! A model and its inputs as something that can be timed.

use super::Compute;
use super::upscaler::{Forwarded, Prepared, Upscaler};
use crate::fsio;
use crate::imaging::RgbImage;
use crate::measure::{Item, Setup, Workload, WorkloadError};
use crate::random::Random;

/// Key of the random stream for inputs that are no image.
const STREAM: u64 = 0x713e;

/// What a measurement says of how a model is run.
pub fn setup(compute: &Compute) -> Setup {
    Setup {
        device: compute.backend.device(),
        engine: compute.backend.engine().name().into(),
        precision: compute.backend.precision().into(),
        threads: compute.threads,
    }
}

/// Times exactly what the official script times: the forward pass from values on the device to values on the device. Conversion to floating point
/// comes before, clamping and rounding after.
pub struct TimedModel<'a> {
    upscaler: &'a Upscaler,
    items: Vec<Item>,
    images: Vec<RgbImage>,
    prepared: Option<Prepared>,
    output: Option<Forwarded>,
}

impl<'a> TimedModel<'a> {
    /// Times the model on named images, in the order given.
    pub fn on_images(upscaler: &'a Upscaler, images: Vec<(String, RgbImage)>) -> Self {
        let item = |(name, image): &(String, RgbImage)| Item {
            name: Some(name.clone()),
            width: image.width(),
            height: image.height(),
        };
        let items = images.iter().map(item).collect();
        let images = images.into_iter().map(|(_, image)| image).collect();
        Self { upscaler, items, images, prepared: None, output: None }
    }

    /// Times the model on one input of random values.
    pub fn on_size(upscaler: &'a Upscaler, width: usize, height: usize) -> Self {
        let mut random = Random::new(&[STREAM, width as u64, height as u64]);
        let pixels = (0..width * height * 3).map(|_| random.bits() as u8).collect();
        // A zero side gives no input at all, which the measuring core reports.
        let images: Vec<RgbImage> = RgbImage::new(width, height, pixels).into_iter().collect();
        let items = images.iter().map(|_| Item { name: None, width, height }).collect();
        Self { upscaler, items, images, prepared: None, output: None }
    }
}

impl Workload for TimedModel<'_> {
    fn items(&self) -> &[Item] {
        &self.items
    }

    fn prepare(&mut self, item: usize) -> Result<(), WorkloadError> {
        self.prepared = self.images.get(item).map(|image| self.upscaler.prepare(image));
        Ok(())
    }

    fn run(&mut self, item: usize) -> Result<(), WorkloadError> {
        let prepared = self.prepared.as_ref().ok_or_else(|| format!("input {item} was not prepared"))?;
        self.output = Some(self.upscaler.forward(prepared, self.output.take())?);
        Ok(())
    }

    fn output_digest(&mut self) -> Option<String> {
        let image = self.upscaler.finish(self.output.take()?).ok()?;
        Some(fsio::sha256_hex(image.pixels()))
    }
}
