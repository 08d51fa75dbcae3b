//! A network on a device: weights, and the plan for the size it has met last.

use std::sync::{Arc, Mutex, PoisonError};

use super::compile::{End, Sites};
use super::draft::Draft;
use super::kernels::{Kernels, Ready};
use super::layout::Room;
use super::packed::Packed;
use super::tensors::Tensors;
use super::{Chooser, Computing, Math, Used};
use crate::array::Array;
use crate::engine::EngineError;
use crate::engine::plan::lower::{Mode, lower};
use crate::gpu::device::{DeviceMemory, Gpu, Graph as Recorded};
use crate::graph::{Graph, shapes};
use crate::imaging::RgbImage;
use crate::weights::StateDict;

/// How the kernels of a forward pass are started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Launches {
    /// All at once, recorded as a CUDA graph
    #[default]
    Graph,
    /// One after another, as PyTorch does unless told otherwise
    Eager,
}

/// A model ready to run on a device.
pub struct Network {
    graph: Graph,
    math: Math,
    chooser: Option<Arc<Chooser>>,
    kernels: Kernels,
    weights: Tensors,
    state: Mutex<State>,
    /// Held by whoever brings a batch, runs it and takes the result.
    turn: Mutex<()>,
}

#[derive(Default)]
struct State {
    planned: Option<Planned>,
    /// Weights as kernels read them. They do not depend on the size, so that they are packed once.
    packed: Option<(Packed, DeviceMemory)>,
}

/// A plan for one size.
struct Planned {
    /// Images, height and width of the LR batch.
    shape: [usize; 3],
    /// Channels, height and width of the SR images.
    output: [usize; 3],
    commands: Vec<Ready>,
    recorded: Recorded,
    /// Values between layers, behind them the LR and the SR batch.
    memory: DeviceMemory,
    lr_offset: u64,
    sr_offset: u64,
    /// Makes 8-bit images of what the last pass left.
    to_image: Vec<Ready>,
    image_offset: u64,
    finite_offset: u64,
    used: Used,
}

impl Network {
    /// Brings a model's weights to a device.
    ///
    /// # Errors
    /// [`EngineError::Weight`] when a weight is missing or misshapen, [`EngineError::Gpu`] when the device refuses.
    pub fn new(
        graph: Graph,
        weights: &StateDict,
        Computing { gpu, math, chooser }: Computing,
    ) -> Result<Self, EngineError> {
        let parameters = graph.parameters();
        let mut tensors = Tensors::new(&gpu, parameters.iter().cloned())?;
        let mut values = Vec::with_capacity(tensors.values());
        // In the order of the keys, as they lie on the device.
        let sorted: std::collections::BTreeMap<_, _> = parameters.into_iter().collect();
        for (key, shape) in sorted {
            values.extend_from_slice(crate::engine::weight(weights, &key, &shape)?.data());
        }
        tensors.upload(&values)?;
        let cudnn = chooser.as_ref().and_then(|chooser| chooser.cudnn().cloned());
        Ok(Self {
            graph,
            math,
            chooser,
            kernels: Kernels::new(gpu, cudnn),
            weights: tensors,
            state: Mutex::default(),
            turn: Mutex::default(),
        })
    }

    /// The kernels, and the device.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// The device.
    pub fn gpu(&self) -> &Arc<Gpu> {
        self.kernels.gpu()
    }

    /// The SR batch (NCHW in the model's data range) of an LR batch. `memory` is used for it where it is large enough.
    ///
    /// # Errors
    /// [`EngineError`]
    pub fn forward_into(&self, lr: &Array<f32>, memory: Vec<f32>) -> Result<Array<f32>, EngineError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.load(lr)?;
        self.run(Launches::Graph)?;
        self.fetch(memory)
    }

    /// The 8-bit SR image of one LR image (1×3×H×W in the model's data range), clamped and rounded on the device; `None` where a value is not a number.
    ///
    /// # Errors
    /// [`EngineError`]
    pub fn image(&self, lr: &Array<f32>) -> Result<Option<RgbImage>, EngineError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.load(lr)?;
        self.run(Launches::Graph)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(planned) = &mut state.planned else { return Err(self.nothing()) };
        let ([_, height, width], [1, ..]) = (planned.output, planned.shape) else { return Ok(None) };
        let mut pixels = vec![0u8; 3 * height * width];
        planned.memory.upload(planned.finite_offset, &[1u32])?;
        // SAFETY: the memory is that of the same plan.
        unsafe { self.kernels.start(&planned.to_image) }?;
        planned.memory.download(planned.image_offset, &mut pixels)?;
        let mut finite = [0u32];
        planned.memory.download(planned.finite_offset, &mut finite)?;
        Ok((finite == [1]).then(|| RgbImage::new(width, height, pixels)).and_then(Result::ok))
    }

    /// Plans for the size of an LR batch and brings it to the device. [`Network::run`] then computes.
    ///
    /// # Errors
    /// [`EngineError::Input`] when the batch is none, [`EngineError::Shape`] when it does not go through the model, [`EngineError::Gpu`] when the device refuses.
    pub fn load(&self, lr: &Array<f32>) -> Result<(), EngineError> {
        let channels = self.graph.input_channels();
        let error = || EngineError::Input { found: lr.shape().to_vec(), channels };
        let &[images, found, height, width] = lr.shape() else { return Err(error()) };
        if found != channels || images == 0 {
            return Err(error());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let planned = self.planned(&mut state, [images, height, width])?;
        planned.memory.upload(planned.lr_offset, lr.data())?;
        Ok(())
    }

    /// Starts a forward pass of what was loaded; returns before it is done.
    ///
    /// # Errors
    /// [`EngineError::Gpu`]; [`EngineError::Input`] when nothing was loaded.
    pub fn run(&self, launches: Launches) -> Result<(), EngineError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(planned) = &state.planned else { return Err(self.nothing()) };
        match launches {
            Launches::Graph => self.gpu().start(&planned.recorded)?,
            // SAFETY: the memory is that of the same plan, and is freed in the order of the stream.
            Launches::Eager => unsafe { self.kernels.start(&planned.commands) }?,
        }
        Ok(())
    }

    /// The SR batch of the last pass; waits for it.
    ///
    /// # Errors
    /// As for [`Network::run`], and for what went wrong in it.
    pub fn fetch(&self, mut memory: Vec<f32>) -> Result<Array<f32>, EngineError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(planned) = &state.planned else { return Err(self.nothing()) };
        let [channels, height, width] = planned.output;
        let shape = [planned.shape[0], channels, height, width];
        memory.resize(shape.iter().product(), 0.0);
        planned.memory.download(planned.sr_offset, &mut memory)?;
        Array::new(shape, memory).map_err(|_| self.nothing())
    }

    /// Bytes of device memory that the plan, the weights and the packed weights take; 0 before anything was loaded.
    pub fn planned_bytes(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let planned = state.planned.as_ref().map_or(0, |planned| planned.memory.bytes());
        let packed = state.packed.as_ref().map_or(0, |(_, memory)| memory.bytes());
        planned + packed + self.weights.bytes()
    }

    /// What computes the convolutions of the last plan, where it was chosen by measurement.
    pub fn used(&self) -> Option<Used> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.chooser.as_ref().and(state.planned.as_ref()).map(|planned| planned.used)
    }

    fn nothing(&self) -> EngineError {
        EngineError::Input { found: Vec::new(), channels: self.graph.input_channels() }
    }

    fn planned<'a>(&self, state: &'a mut State, shape: [usize; 3]) -> Result<&'a mut Planned, EngineError> {
        if state.planned.as_ref().is_none_or(|planned| planned.shape != shape) {
            // Freed first: both together need not fit.
            state.planned = None;
            let planned = self.plan(&mut state.packed, shape)?;
            state.planned = Some(planned);
        }
        match &mut state.planned {
            Some(planned) => Ok(planned),
            None => Err(self.nothing()),
        }
    }

    fn plan(
        &self,
        packed: &mut Option<(Packed, DeviceMemory)>,
        shape: [usize; 3],
    ) -> Result<Planned, EngineError> {
        let [images, height, width] = shape;
        let gpu = self.gpu();
        let program = lower(&self.graph, Mode::Infer, &[self.graph.output()], shape, width)?;
        let draft = Draft::new(program, self.math, &self.kernels, self.chooser.as_deref())?;
        let output = shapes(&self.graph, width, height)?[self.graph.output().index()];
        let floats = |shape: &[usize]| (images * shape.iter().product::<usize>() * size_of::<f32>()) as u64;
        let mut room = Room::behind(draft.layout.bytes);
        let lr_offset = room.take(floats(&[self.graph.input_channels(), height, width]));
        let sr_offset = room.take(floats(&output));
        // The pixels of one image, and whether they are all numbers.
        let image_offset = room.take(output.iter().product::<usize>() as u64);
        let finite_offset = room.take(size_of::<u32>() as u64);
        let workspace = room.take(draft.choices.workspace_bytes);
        let memory = gpu.allocate(room.bytes())?;
        let fresh = packed.as_ref().is_none_or(|(known, _)| *known != draft.packed);
        if fresh {
            *packed = None;
            let memory = gpu.allocate(draft.packed.bytes)?;
            *packed = Some((draft.packed.clone(), memory));
        }
        let Some((_, packed_memory)) = packed else { return Err(self.nothing()) };
        let weight = |key: &str| self.weights.of(key);
        let compiler = draft.compiler(Sites {
            arena: memory.address(),
            packed: packed_memory.address(),
            workspace: memory.address() + workspace,
            weight: &weight,
            gradient: &|_| None,
            lr: memory.address() + lr_offset,
            end: End::Planes(memory.address() + sr_offset),
        });
        if fresh {
            let prepare = self.kernels.ready(compiler.prepare()?)?;
            // SAFETY: weights and packed weights live as long as the network.
            unsafe { self.kernels.start(&prepare) }?;
        }
        let at = |offset: u64| memory.address() + offset;
        let to_image = compiler.image(at(image_offset), at(finite_offset), self.graph.data_range());
        let to_image = self.kernels.ready(to_image.into_iter().collect())?;
        let commands = self.kernels.ready(compiler.run()?)?;
        // SAFETY: nothing runs while it is recorded; the memory is kept beside the recording.
        let recorded = gpu.capture(|| unsafe { self.kernels.start(&commands) })?;
        Ok(Planned {
            shape,
            output,
            commands,
            recorded,
            memory,
            lr_offset,
            sr_offset,
            to_image,
            image_offset,
            finite_offset,
            used: draft.used(),
        })
    }
}
