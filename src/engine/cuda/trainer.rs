//! Training steps on a device: weights, gradients and the optimiser's moments stay there; a step is one recorded graph.
//!
//! Folding, packing, forward, loss, backward, unfolding and Adam are launches of the same stream. What the host brings for a step is its batch and the six numbers of Adam; what it
//! gets back is the loss and whether there was an update.

use std::sync::Arc;

use super::compile::{End, Sites};
use super::draft::Draft;
use super::images::Images;
use super::kernels::{Kernels, Ready};
use super::launch::{self, Command};
use super::layout::Room;
use super::params::{Adam, AdamStep, Crop as CropTold, Fold as Told, Patch, bytes_of};
use super::tensors::Tensors;
use super::{Chooser, Computing, Math, Used, number, unsupported};
use crate::array::Array;
use crate::dataset::{Crop, Pairs};
use crate::engine::EngineError;
use crate::engine::cpu::adam::Step;
use crate::engine::plan::lower::{Mode, lower};
use crate::gpu::device::{DeviceMemory, Graph as Recorded, Pinned};
use crate::graph::fold::Fold;
use crate::graph::{Backward, Graph, ShapeError, backward, collapse, shapes};
use crate::imaging::ValueTable;
use crate::random::Random;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stepped {
    /// The mean absolute difference before the update.
    pub loss: f64,
    /// Whether there was an update: not if the loss or a gradient is infinite or not a number.
    pub updated: bool,
}

/// Trains one model on a device.
pub struct Trainer {
    kernels: Kernels,
    chooser: Option<Arc<Chooser>>,
    math: Math,
    scale: usize,
    channels: usize,
    backward: Backward,
    /// The expanded model's.
    weights: Tensors,
    gradients: Tensors,
    first: Tensors,
    second: Tensors,
    /// What is folded: weights and gradients of the collapsed model that no tensor of the expanded one is.
    folding: Option<Folding>,
    /// The numbers of a step, at the offsets of [`scalars`].
    scalars: DeviceMemory,
    /// Training images, where they fit.
    images: Option<Images>,
    planned: Option<Planned>,
}

/// Folded weights and their gradients.
struct Folding {
    weights: Tensors,
    gradients: Tensors,
    layers: Vec<(String, Fold)>,
}

/// A plan for one size of batch.
struct Planned {
    shape: [usize; 3],
    output: [usize; 3],
    /// Everything up to the gradients of the expanded model, and then Adam.
    gradients: Recorded,
    step: Recorded,
    /// The same with patches cut on the device before.
    step_on_images: Option<Recorded>,
    memory: DeviceMemory,
    /// A batch on its way: LR and HR.
    on_its_way: [Pinned; 2],
    lr_offset: u64,
    hr_offset: u64,
    patches_offset: u64,
    /// Kept, because recorded launches read them.
    packed: DeviceMemory,
    used: Used,
    _commands: Vec<Ready>,
}

/// Where the numbers of a step lie: the loss, Adam's numbers, and whether all is finite.
mod scalars {
    pub(super) const LOSS: u64 = 0;
    pub(super) const STEP: u64 = 8;
    pub(super) const FINITE: u64 = 32;
    pub(super) const BYTES: u64 = 40;
}

impl Trainer {
    /// Prepares to train `graph`, the expanded model, as it is or `folded` into the collapsed one at every step.
    ///
    /// # Errors
    /// [`EngineError::Backward`] when an operation has no gradient, [`EngineError::Unsupported`] for branches that are not folded on a device and for `f16`, whose range
    /// is too small for gradients; [`EngineError::Gpu`] when the device refuses.
    pub fn new(
        graph: &Graph,
        folded: bool,
        Computing { gpu, math, chooser }: Computing,
    ) -> Result<Self, EngineError> {
        if math == Math::F16 {
            return Err(unsupported("training in f16: gradients are too small for it; use bf16".into()));
        }
        let tensors = |shapes: &[(String, Vec<usize>)]| Tensors::new(&gpu, shapes.iter().cloned());
        let parameters = graph.parameters();
        let collapsed = folded.then(|| collapse(graph));
        let trained = collapsed.as_ref().map_or(graph, |collapsed| &collapsed.graph);
        let layers = collapsed.iter().flat_map(|collapsed| collapsed.folds.clone());
        let layers: Vec<(String, Fold)> = layers.filter(|(_, fold)| !fold.is_trivial()).collect();
        layers.iter().try_for_each(|(name, fold)| branches(name, fold).map(|_| ()))?;
        let own = layers.iter().flat_map(|(name, fold)| {
            let conv = fold.conv();
            let weight = (format!("{name}.weight"), conv.weight_shape().to_vec());
            let bias = conv.bias.then(|| (format!("{name}.bias"), vec![conv.out_channels]));
            [Some(weight), bias].into_iter().flatten()
        });
        let own: Vec<_> = own.collect();
        let folding = match layers.is_empty() {
            true => None,
            false => Some(Folding { weights: tensors(&own)?, gradients: tensors(&own)?, layers }),
        };
        let cudnn = chooser.as_ref().and_then(|chooser| chooser.cudnn().cloned());
        Ok(Self {
            chooser,
            math,
            scale: graph.scale(),
            channels: graph.input_channels(),
            backward: backward(trained)?,
            weights: tensors(&parameters)?,
            gradients: tensors(&parameters)?,
            first: tensors(&parameters)?,
            second: tensors(&parameters)?,
            folding,
            scalars: gpu.allocate(scalars::BYTES)?,
            images: None,
            planned: None,
            kernels: Kernels::new(gpu, cudnn),
        })
    }

    /// Replaces weights and moments: all values of the expanded model's tensors, in the order of their keys.
    ///
    /// # Errors
    /// [`EngineError::Gpu`], also for slices of another length.
    pub fn place(&mut self, weights: &[f32], first: &[f32], second: &[f32]) -> Result<(), EngineError> {
        self.weights.upload(weights)?;
        self.first.upload(first)?;
        self.second.upload(second)?;
        Ok(())
    }

    /// Reads weights and moments, in the order of [`Trainer::place`].
    ///
    /// # Errors
    /// [`EngineError::Gpu`]
    pub fn fetch(
        &self,
        weights: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
    ) -> Result<(), EngineError> {
        self.weights.download(weights)?;
        self.first.download(first)?;
        self.second.download(second)?;
        Ok(())
    }

    /// The loss of a batch and the gradients of the expanded model's tensors, in the order of their keys; nothing is updated.
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn gradients(
        &mut self,
        lr: &Array<f32>,
        hr: &Array<f32>,
        gradients: &mut [f32],
    ) -> Result<f64, EngineError> {
        self.bring(lr, hr)?;
        let Some(planned) = &self.planned else { return Err(self.input_error(lr)) };
        self.kernels.gpu().start(&planned.gradients)?;
        self.gradients.download(gradients)?;
        self.loss()
    }

    /// One step: loss, gradients, and the update with these numbers.
    ///
    /// # Errors
    /// [`EngineError::Input`] or [`EngineError::Shape`] when the batch does not fit, [`EngineError::Gpu`] when the device refuses.
    pub fn step(&mut self, lr: &Array<f32>, hr: &Array<f32>, adam: Step) -> Result<Stepped, EngineError> {
        self.bring(lr, hr)?;
        self.tell(adam)?;
        let Some(planned) = &self.planned else { return Err(self.input_error(lr)) };
        self.kernels.gpu().start(&planned.step)?;
        self.stepped()
    }

    /// Brings the numbers of an update to the device.
    fn tell(&mut self, adam: Step) -> Result<(), EngineError> {
        let Step { step_size, root_correction, lerp, decay, gain, epsilon } = adam;
        self.scalars.upload(scalars::STEP, &[step_size, root_correction, lerp, decay, gain, epsilon])?;
        self.scalars.upload(scalars::FINITE, &[1u32])?;
        Ok(())
    }

    /// What became of a step; waits for it.
    fn stepped(&self) -> Result<Stepped, EngineError> {
        let mut finite = [0u32];
        self.scalars.download(scalars::FINITE, &mut finite)?;
        Ok(Stepped { loss: self.loss()?, updated: finite == [1] })
    }

    /// The kernels, and the device.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// Brings a batch of random values and the numbers of an update, for [`Trainer::repeat`].
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn bring_random(
        &mut self,
        [patches, side]: [usize; 2],
        seed: u64,
        adam: Step,
    ) -> Result<(), EngineError> {
        let mut random = Random::new(&[seed, patches as u64, side as u64]);
        let mut values = |shape: [usize; 4]| {
            let mut array = Array::filled(shape, 0.0f32);
            array.data_mut().iter_mut().for_each(|value| *value = random.bits() as u8 as f32 / 255.0);
            array
        };
        let lr = values([patches, self.channels, side, side]);
        let hr = values([patches, self.channels, side * self.scale, side * self.scale]);
        self.bring(&lr, &hr)?;
        self.tell(adam)
    }

    /// Starts a step on the batch that is there; returns before it is done.
    ///
    /// # Errors
    /// [`EngineError::Gpu`]; [`EngineError::Input`] when nothing was brought.
    pub fn repeat(&self) -> Result<(), EngineError> {
        match &self.planned {
            Some(planned) => Ok(self.kernels.gpu().start(&planned.step)?),
            None => Err(EngineError::Input { found: Vec::new(), channels: self.channels }),
        }
    }

    /// Brings training images to the device, if they fit; whether they do.
    ///
    /// # Errors
    /// [`EngineError::Gpu`] when the device refuses.
    pub fn keep(&mut self, images: &dyn Pairs, values: &ValueTable) -> Result<bool, EngineError> {
        // Freed first, also because recorded launches name their addresses.
        (self.planned, self.images) = (None, None);
        self.images = Images::of(self.kernels.gpu(), images, values)?;
        Ok(self.images.is_some())
    }

    /// One step on patches of the images that [`Trainer::keep`] brought: the number of the pair, and what to cut. All are of one size.
    ///
    /// # Errors
    /// As for [`Trainer::step`]; [`EngineError::Input`] when there are no images on the device or no patches.
    pub fn step_on_images(&mut self, patches: &[(usize, Crop)], adam: Step) -> Result<Stepped, EngineError> {
        let (found, channels) = (vec![patches.len()], self.channels);
        let nothing = || EngineError::Input { found: found.clone(), channels };
        let Some((_, first)) = patches.first() else { return Err(nothing()) };
        let shape = [patches.len(), first.side, first.side];
        if patches.iter().any(|(_, crop)| (crop.side, crop.scale) != (first.side, self.scale)) {
            return Err(nothing());
        }
        self.plan_for(shape)?;
        let Some(images) = &self.images else { return Err(nothing()) };
        let told: Vec<Patch> = patches.iter().map(|(image, crop)| images.patch(*image, crop)).collect();
        let bytes: Vec<u8> = told.iter().flat_map(bytes_of).copied().collect();
        let Some(planned) = &mut self.planned else { return Err(nothing()) };
        planned.memory.upload(planned.patches_offset, &bytes)?;
        self.tell(adam)?;
        let recorded = self.planned.as_ref().and_then(|planned| planned.step_on_images.as_ref());
        let Some(recorded) = recorded else { return Err(nothing()) };
        self.kernels.gpu().start(recorded)?;
        self.stepped()
    }

    /// Bytes of device memory in use.
    pub fn planned_bytes(&self) -> u64 {
        let flat = [&self.weights, &self.gradients, &self.first, &self.second];
        let folded = self.folding.iter().flat_map(|folding| [&folding.weights, &folding.gradients]);
        let tensors: u64 = flat.into_iter().chain(folded).map(Tensors::bytes).sum();
        let planned =
            self.planned.as_ref().map_or(0, |planned| planned.memory.bytes() + planned.packed.bytes());
        tensors + planned + self.scalars.bytes()
    }

    /// What computes the convolutions of the last plan, where it was chosen by measurement.
    pub fn used(&self) -> Option<Used> {
        self.chooser.as_ref().and(self.planned.as_ref()).map(|planned| planned.used)
    }

    fn loss(&self) -> Result<f64, EngineError> {
        let mut loss = [0.0f64];
        self.scalars.download(scalars::LOSS, &mut loss)?;
        Ok(loss[0])
    }

    /// Plans for a batch and brings it to the device.
    fn bring(&mut self, lr: &Array<f32>, hr: &Array<f32>) -> Result<(), EngineError> {
        let &[images, channels, height, width] = lr.shape() else { return Err(self.input_error(lr)) };
        if channels != self.channels || images == 0 {
            return Err(self.input_error(lr));
        }
        self.plan_for([images, height, width])?;
        let scale = self.scale;
        let Some(planned) = &mut self.planned else {
            return Err(EngineError::Input { found: lr.shape().to_vec(), channels: self.channels });
        };
        let [c, h, w] = planned.output;
        if hr.shape() != [images, c, h, w] {
            let (found, wanted) = (hr.shape(), [images, c, h, w]);
            let problem =
                format!("the HR batch has shape {found:?}, and x{scale} of the LR batch is {wanted:?}");
            return Err(EngineError::Shape(ShapeError { width, height, node: "loss".into(), problem }));
        }
        // The device has to have read the batch before.
        self.kernels.gpu().synchronize()?;
        let offsets = [planned.lr_offset, planned.hr_offset];
        for ((batch, staged), offset) in [lr, hr].into_iter().zip(&mut planned.on_its_way).zip(offsets) {
            staged.values_mut().copy_from_slice(batch.data());
            planned.memory.upload_pinned(offset, staged)?;
        }
        Ok(())
    }

    fn plan_for(&mut self, shape: [usize; 3]) -> Result<(), EngineError> {
        if self.planned.as_ref().is_none_or(|planned| planned.shape != shape) {
            // Freed first: both together need not fit.
            self.planned = None;
            self.planned = Some(self.plan(shape)?);
        }
        Ok(())
    }

    fn plan(&self, shape: [usize; 3]) -> Result<Planned, EngineError> {
        let [images, height, width] = shape;
        let gpu = self.kernels.gpu();
        let roots = self.backward.step_roots();
        let program = lower(&self.backward.graph, Mode::Train, &roots, shape, width)?;
        let draft = Draft::new(program, self.math, &self.kernels, self.chooser.as_deref())?;
        let output = shapes(&self.backward.graph, width, height)?[self.backward.sr.index()];
        let floats = |count: usize| (images * count * size_of::<f32>()) as u64;
        let mut room = Room::behind(draft.layout.bytes);
        let lr_offset = room.take(floats(self.channels * height * width));
        let hr_offset = room.take(floats(output.iter().product()));
        let patches_offset = room.take((images * size_of::<Patch>()) as u64);
        let workspace = room.take(draft.choices.workspace_bytes);
        let memory = gpu.allocate(room.bytes())?;
        let packed_memory = gpu.allocate(draft.packed.bytes)?;
        let total = self.scalars.address() + scalars::LOSS;
        let (weight, gradient) = (|key: &str| self.weight(key), |key: &str| self.gradient(key));
        let compiler = draft.compiler(Sites {
            arena: memory.address(),
            packed: packed_memory.address(),
            workspace: memory.address() + workspace,
            weight: &weight,
            gradient: &gradient,
            lr: memory.address() + lr_offset,
            end: End::Loss { hr: memory.address() + hr_offset, total },
        });
        let crop = self.images.as_ref().map(|images| CropTold {
            patches: memory.address() + patches_offset,
            values: images.values(),
            lr: memory.address() + lr_offset,
            hr: memory.address() + hr_offset,
            images: number(shape[0]),
            side: number(width),
            scale: number(self.scale),
            unused: 0,
        });
        let mut commands: Vec<Command> = crop
            .iter()
            .map(|told| {
                let work = (launch::training::crop(told), *told).into();
                Command { label: "crop".into(), work, multiply_adds: 0 }
            })
            .collect();
        let first = commands.len();
        commands.extend(self.folds(false)?);
        commands.extend(compiler.prepare()?);
        commands.extend(compiler.run()?);
        commands.extend(self.folds(true)?);
        let until_gradients = commands.len();
        commands.extend(self.adam());
        let commands = self.kernels.ready(commands)?;
        // SAFETY: nothing runs while it is recorded; all memory is kept as long as the recordings.
        let record = |commands: &[Ready]| gpu.capture(|| unsafe { self.kernels.start(commands) });
        Ok(Planned {
            shape,
            output,
            gradients: record(&commands[first..until_gradients])?,
            step: record(&commands[first..])?,
            step_on_images: if crop.is_some() { Some(record(&commands)?) } else { None },
            memory,
            on_its_way: [
                gpu.pinned(images * self.channels * height * width)?,
                gpu.pinned(images * output.iter().product::<usize>())?,
            ],
            lr_offset,
            hr_offset,
            patches_offset,
            packed: packed_memory,
            used: draft.used(),
            _commands: commands,
        })
    }

    /// Where the collapsed model's weight is: folded, or the expanded one's.
    fn weight(&self, key: &str) -> Option<u64> {
        let folded = self.folding.as_ref().and_then(|folding| folding.weights.of(key));
        folded.or_else(|| self.weights.of(key))
    }

    fn gradient(&self, key: &str) -> Option<u64> {
        let folded = self.folding.as_ref().and_then(|folding| folding.gradients.of(key));
        folded.or_else(|| self.gradients.of(key))
    }

    /// Folds all branches, or carries the gradients back to them.
    fn folds(&self, back: bool) -> Result<Vec<Command>, EngineError> {
        let mut commands = Vec::new();
        let Some(folding) = &self.folding else { return Ok(commands) };
        for (name, fold) in &folding.layers {
            let conv = fold.conv();
            // The folded weight is written by the first branch and added to by the others; so is the bias, by those that have one.
            let mut begun = [false, false];
            for branch in branches(name, fold)? {
                let of = |suffix: &str, branch: &str| {
                    let (folded_key, key) = (format!("{name}.{suffix}"), format!("{branch}.{suffix}"));
                    let missing = || EngineError::Weight { key: key.clone(), shape: Vec::new() };
                    let (folded, own) = match back {
                        false => (folding.weights.of(&folded_key), self.weights.of(&key)),
                        true => (folding.gradients.of(&folded_key), self.gradients.of(&key)),
                    };
                    Ok::<_, EngineError>((folded.ok_or_else(missing)?, own.ok_or_else(missing)?))
                };
                let mut push = |slot: usize, told: Told| {
                    let told = Told { accumulate: i32::from(begun[slot]), ..told };
                    begun[slot] = true;
                    let launch = match back {
                        false => launch::training::fold(&told),
                        true => launch::training::unfold(&told),
                    };
                    let work = (launch, told).into();
                    commands.push(Command { label: name.clone(), work, multiply_adds: 0 });
                };
                let weight = Told {
                    channels: number(conv.out_channels * conv.in_channels),
                    in_channels: number(conv.in_channels),
                    kernel: number(conv.kernel),
                    ..Told::default()
                };
                match branch {
                    Fold::Conv { name: branch, conv: own } => {
                        let (folded, branch_weight) = of("weight", branch)?;
                        push(
                            0,
                            Told {
                                branch: branch_weight,
                                folded,
                                branch_kernel: number(own.kernel),
                                ..weight
                            },
                        );
                        if own.bias {
                            let (folded, branch) = of("bias", branch)?;
                            let channels = number(conv.out_channels);
                            let one =
                                Told { channels, in_channels: 1, kernel: 1, branch_kernel: 1, ..weight };
                            push(1, Told { branch, folded, ..one });
                        }
                    }
                    Fold::Identity { .. } if !back => {
                        let key = format!("{name}.weight");
                        let missing = || EngineError::Weight { key: key.clone(), shape: Vec::new() };
                        let folded = folding.weights.of(&key).ok_or_else(missing)?;
                        push(0, Told { branch: 0, folded, branch_kernel: 1, ..weight });
                    }
                    _ => {}
                }
            }
        }
        Ok(commands)
    }

    fn adam(&self) -> Vec<Command> {
        debug_assert_eq!(scalars::FINITE - scalars::STEP, size_of::<AdamStep>() as u64);
        let at = self.scalars.address();
        let told = Adam {
            weights: self.weights.address(),
            gradients: self.gradients.address(),
            first: self.first.address(),
            second: self.second.address(),
            step: at + scalars::STEP,
            loss: at + scalars::LOSS,
            finite: at + scalars::FINITE,
            count: number(self.weights.values()),
            unused: 0,
        };
        [launch::training::all_finite(&told), launch::training::adam(&told)]
            .map(|launch| Command { label: "adam".into(), work: (launch, told).into(), multiply_adds: 0 })
            .into()
    }

    fn input_error(&self, lr: &Array<f32>) -> EngineError {
        EngineError::Input { found: lr.shape().to_vec(), channels: self.channels }
    }
}

/// The branches of a sum of nothing but convolutions and identities.
///
/// # Errors
/// [`EngineError::Unsupported`] for any other.
fn branches<'a>(name: &str, fold: &'a Fold) -> Result<&'a [Fold], EngineError> {
    fold.plain_branches().ok_or_else(|| {
        unsupported(format!(
            "folding of the chain `{name}`: set `train_on = \"expanded\"`, or train on the CPU"
        ))
    })
}
