//! The kernels that the program carries, loaded when they are first needed.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::{Arc, Mutex, PoisonError};

use super::launch::Command;
use crate::gpu::device::{Function, Gpu, Module, Shape};
use crate::gpu::driver::GpuError;

macro_rules! modules {
    ($($name:literal)*) => {
        /// PTX by the name of its file, each ending with a zero as the driver wants it.
        const MODULES: &[(&str, &str)] =
            &[$(($name, concat!(include_str!(concat!("kernels/ptx/", $name, ".ptx")), "\0"))),*];
    };
}

modules! {
    "convolution.f32" "convolution.tf32" "convolution.f16" "convolution.bf16"
    "gradient.f32" "gradient.tf32" "gradient.bf16"
    "elementwise.f32" "elementwise.f16" "elementwise.bf16"
    "training" "measure"
}

/// The PTX of a module.
pub(super) fn ptx(module: &str) -> Option<&'static CStr> {
    let (_, text) = MODULES.iter().find(|(name, _)| *name == module)?;
    CStr::from_bytes_with_nul(text.as_bytes()).ok()
}

/// The names of all modules.
pub(super) fn modules() -> impl Iterator<Item = &'static str> {
    MODULES.iter().map(|(name, _)| *name)
}

/// Kernels on a device.
pub struct Kernels {
    gpu: Arc<Gpu>,
    modules: Mutex<BTreeMap<&'static str, Module>>,
}

/// A command whose kernel is loaded.
pub(crate) struct Ready {
    function: Function,
    command: Command,
}

impl Kernels {
    /// Loads nothing yet.
    pub fn new(gpu: Arc<Gpu>) -> Self {
        Self { gpu, modules: Mutex::default() }
    }

    /// The device.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Loads the kernels of some commands. The driver translates a module when it is first loaded on a machine, which takes seconds; it keeps the result.
    ///
    /// # Errors
    /// [`GpuError`] where the driver refuses a module or a kernel.
    pub(crate) fn ready(&self, commands: Vec<Command>) -> Result<Vec<Ready>, GpuError> {
        let ready = |command: Command| {
            let launch = &command.launch;
            let module = self.module(launch.module)?;
            let function = self.gpu.function(&module, launch.kernel, launch.shared_bytes)?;
            Ok(Ready { function, command })
        };
        commands.into_iter().map(ready).collect()
    }

    fn module(&self, name: &'static str) -> Result<Module, GpuError> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(name) {
            return Ok(module.clone());
        }
        let missing = || GpuError::Call {
            doing: format!("load the kernels `{name}`"),
            name: "the program does not carry them".into(),
            words: None,
        };
        let module = self.gpu.module(name, ptx(name).ok_or_else(missing)?)?;
        Ok(modules.entry(name).or_insert(module).clone())
    }

    /// Starts commands in order.
    ///
    /// # Errors
    /// [`GpuError`]
    ///
    /// # Safety
    /// All memory that the commands name is alive until they have run.
    pub(crate) unsafe fn start(&self, commands: &[Ready]) -> Result<(), GpuError> {
        for Ready { function, command } in commands {
            let launch = &command.launch;
            let shape = Shape { grid: launch.grid, block: launch.block, shared_bytes: launch.shared_bytes };
            // SAFETY: the parameters are those of the kernel, which a test compares with the PTX; the caller promises the memory.
            unsafe { self.gpu.launch(launch.kernel, *function, shape, command.params.address()) }?;
        }
        Ok(())
    }
}
