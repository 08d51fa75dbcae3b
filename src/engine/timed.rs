//! A model and its inputs as something that can be timed.

use std::sync::Arc;

use super::cpu::adam::Step;
use super::cuda::{self, Launches, Timer};
use super::upscaler::{Forwarded, Prepared, Upscaler};
use super::{Backend, Compute, EngineError};
use crate::fsio;
use crate::imaging::RgbImage;
use crate::measure::nvml::RecorderOptions;
use crate::measure::{
    self, DeviceMemory, DeviceTime, GpuOptions, GpuSession, Item, Outcome, Plan, Setup, Subject, Workload,
    WorkloadError,
};
use crate::random::Random;

/// Key of the random stream for inputs that are no image.
const STREAM: u64 = 0x713e;

/// What a measurement says of how a model is run.
fn setup(compute: &Compute) -> Setup {
    Setup {
        device: compute.backend.device(),
        engine: compute.backend.engine().name().into(),
        precision: compute.backend.precision().into(),
        threads: compute.threads,
    }
}

/// Measures with this machine's clock, and where the models are on a GPU with its own and with NVML beside it; the log of the GPU is then returned too.
///
/// # Errors
/// As of [`measure::measure_here`] and [`measure::measure_on_gpu`].
pub fn measured(
    plan: &Plan,
    compute: &Compute,
    candidate: Subject<'_>,
    baseline: Option<Subject<'_>>,
    watched: Option<&mut GpuSession>,
) -> Result<Outcome, measure::Error> {
    match watched {
        None => measure::measure_here(plan, &setup(compute), candidate, baseline),
        Some(session) => measure::measure_on_gpu(plan, &setup(compute), candidate, baseline, session),
    }
}

/// Begins to watch the GPU that `compute` is on, if it is on one: to be called before models are brought there, so that what others hold of its memory can be told from what is ours.
///
/// # Errors
/// [`measure::Error::Lock`] where clocks were to be locked and cannot be.
pub fn watch(compute: &Compute, lock_mhz: Option<u32>) -> Result<Option<GpuSession>, measure::Error> {
    let Backend::Cuda(cuda::Computing { gpu, .. }) = &compute.backend else { return Ok(None) };
    let recorder = RecorderOptions::new(gpu.facts().uuid.clone());
    Ok(Some(GpuSession::start(&GpuOptions { recorder, lock_mhz })?))
}

/// Times exactly what the official script times: the forward pass from values on the device to values on the device. Conversion to floating point
/// comes before, clamping and rounding after. On a GPU the device's own events time it.
pub struct TimedModel<'a> {
    upscaler: &'a Upscaler,
    items: Vec<Item>,
    images: Vec<RgbImage>,
    prepared: Option<Prepared>,
    output: Option<Forwarded>,
    on_gpu: Option<OnGpu>,
}

/// A network on a GPU, with what times it.
struct OnGpu {
    network: Arc<cuda::Network>,
    timer: Timer,
    launches: Launches,
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
        Self { upscaler, items, images, prepared: None, output: None, on_gpu: None }
    }

    /// Times the model on one input of random values.
    pub fn on_size(upscaler: &'a Upscaler, width: usize, height: usize) -> Self {
        let mut random = Random::new(&[STREAM, width as u64, height as u64]);
        let pixels = (0..width * height * 3).map(|_| random.bits() as u8).collect();
        // A zero side gives no input at all, which the measuring core reports.
        let images: Vec<RgbImage> = RgbImage::new(width, height, pixels).into_iter().collect();
        let items = images.iter().map(|_| Item { name: None, width, height }).collect();
        Self { upscaler, items, images, prepared: None, output: None, on_gpu: None }
    }

    /// Where the model is on a GPU, lets its events time it, and says how its kernels are started. Nothing changes on the CPU.
    ///
    /// # Errors
    /// [`EngineError::Gpu`] where the device refuses.
    pub fn timed_by_device(mut self, launches: Launches) -> Result<Self, EngineError> {
        if let Some(network) = self.upscaler.on_gpu() {
            let timer = Timer::new(network.kernels())?;
            self.on_gpu = Some(OnGpu { network, timer, launches });
        }
        Ok(self)
    }

    fn prepared(&self, item: usize) -> Result<&Prepared, WorkloadError> {
        self.prepared.as_ref().ok_or_else(|| format!("input {item} was not prepared").into())
    }
}

impl Workload for TimedModel<'_> {
    fn items(&self) -> &[Item] {
        &self.items
    }

    fn prepare(&mut self, item: usize) -> Result<(), WorkloadError> {
        self.prepared = self.images.get(item).map(|image| self.upscaler.prepare(image));
        if let (Some(OnGpu { network, .. }), Some(prepared)) = (&self.on_gpu, &self.prepared)
            && let Some(values) = self.upscaler.values(prepared)
        {
            network.load(values)?;
        }
        Ok(())
    }

    fn run(&mut self, item: usize) -> Result<(), WorkloadError> {
        let previous = self.output.take();
        let prepared = self.prepared(item)?;
        match &self.on_gpu {
            Some(OnGpu { network, launches, .. }) => {
                network.run(*launches)?;
                network.gpu().synchronize()?;
            }
            None => self.output = Some(self.upscaler.forward(prepared, previous)?),
        }
        Ok(())
    }

    fn run_timed(&mut self, item: usize) -> Result<Option<DeviceTime>, WorkloadError> {
        let Some(OnGpu { network, timer, launches }) = &self.on_gpu else {
            self.run(item)?;
            return Ok(None);
        };
        self.prepared(item)?;
        Ok(Some(timer.time(network.kernels(), || network.run(*launches))?))
    }

    fn before_forward(&mut self, _item: usize) -> Result<(), WorkloadError> {
        match &self.on_gpu {
            Some(OnGpu { network, timer, .. }) => Ok(timer.flush(network.kernels())?),
            None => Ok(()),
        }
    }

    fn timer(&self) -> Option<String> {
        self.on_gpu.as_ref().map(|on_gpu| timed_by(on_gpu.launches) + &by(on_gpu.network.used()))
    }

    fn state_before_forward(&self) -> Option<String> {
        self.on_gpu.as_ref().map(|on_gpu| flushed(&on_gpu.timer))
    }

    fn reset_device_peaks(&mut self) {
        if let Some(OnGpu { network, .. }) = &self.on_gpu {
            // A driver without pools says so by reporting no peak.
            let _ = network.gpu().reset_pool_peak();
        }
    }

    fn device_memory(&mut self) -> Option<DeviceMemory> {
        let OnGpu { network, timer, .. } = self.on_gpu.as_ref()?;
        Some(memory_of(network.kernels(), network.planned_bytes(), timer))
    }

    fn output_digest(&mut self) -> Option<String> {
        let output = match &self.on_gpu {
            Some(OnGpu { network, .. }) => network.fetch(Vec::new()).ok()?.into(),
            None => self.output.take()?,
        };
        let image = self.upscaler.finish(output).ok()?;
        Some(fsio::sha256_hex(image.pixels()))
    }
}

/// Times whole training steps: forward, loss, backward, Adam. On a GPU the batch stays where it is.
pub struct TimedStep {
    trainer: cuda::Trainer,
    timer: Timer,
    items: Vec<Item>,
    batch: [usize; 2],
}

impl TimedStep {
    /// Times steps of `trainer`, which has weights, on a batch of random values of `[patches, side]` LR pixels, each with the same update.
    ///
    /// # Errors
    /// [`EngineError`] where the batch does not fit or the device refuses.
    pub fn new(
        mut trainer: cuda::Trainer,
        [patches, side]: [usize; 2],
        adam: Step,
    ) -> Result<Self, EngineError> {
        trainer.bring_random([patches, side], STREAM, adam)?;
        let timer = Timer::new(trainer.kernels())?;
        let items = vec![Item { name: None, width: side, height: side }];
        Ok(Self { trainer, timer, items, batch: [patches, side] })
    }
}

impl Workload for TimedStep {
    fn items(&self) -> &[Item] {
        &self.items
    }

    fn run(&mut self, _item: usize) -> Result<(), WorkloadError> {
        self.trainer.repeat()?;
        Ok(self.trainer.kernels().gpu().synchronize()?)
    }

    fn run_timed(&mut self, _item: usize) -> Result<Option<DeviceTime>, WorkloadError> {
        Ok(Some(self.timer.time(self.trainer.kernels(), || self.trainer.repeat())?))
    }

    fn before_forward(&mut self, _item: usize) -> Result<(), WorkloadError> {
        Ok(self.timer.flush(self.trainer.kernels())?)
    }

    fn timer(&self) -> Option<String> {
        let [patches, side] = self.batch;
        Some(format!(
            "{} of one training step, {patches} patches of {side}x{side}{}",
            timed_by(Launches::Graph),
            by(self.trainer.used())
        ))
    }

    fn state_before_forward(&self) -> Option<String> {
        Some(flushed(&self.timer))
    }

    fn reset_device_peaks(&mut self) {
        let _ = self.trainer.kernels().gpu().reset_pool_peak();
    }

    fn device_memory(&mut self) -> Option<DeviceMemory> {
        Some(memory_of(self.trainer.kernels(), self.trainer.planned_bytes(), &self.timer))
    }
}

fn timed_by(launches: Launches) -> String {
    match launches {
        Launches::Graph => "CUDA events around the replay of a graph".into(),
        Launches::Eager => "CUDA events around kernels started one by one".into(),
    }
}

/// Which kernels computed it, where they were chosen by a trial.
fn by(used: Option<cuda::Used>) -> String {
    used.map(|used| format!("; {used}")).unwrap_or_default()
}

fn flushed(timer: &Timer) -> String {
    format!("the second-level cache is overwritten ({} bytes)", timer.flushed_bytes())
}

/// What the timer itself holds all the time is not the model's.
fn memory_of(kernels: &cuda::Kernels, planned_bytes: u64, timer: &Timer) -> DeviceMemory {
    let peak = kernels.gpu().pool_peak();
    DeviceMemory {
        planned_bytes: Some(planned_bytes),
        pool_peak_bytes: peak.map(|peak| peak.used_bytes.saturating_sub(timer.bytes())),
        pool_reserved_peak_bytes: peak.map(|peak| peak.reserved_bytes),
    }
}
