//! The kernels that the program carries, loaded when they are first needed.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::{Arc, Mutex, PoisonError};

use super::launch::{Command, Launch, Work};
use super::told::AnyParams;
use crate::gpu::cudnn::{Addresses, Convolution, Cudnn};
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
    "convolution.f16.hopper" "convolution.bf16.hopper"
    "gradient.f32" "gradient.tf32" "gradient.bf16"
    "elementwise.f32" "elementwise.f16" "elementwise.bf16"
    "library.f32" "library.f16" "library.bf16"
    "training" "measure"
}

/// SHA-256 of all PTX: what chose among kernels chose among these.
pub(super) fn fingerprint() -> String {
    let all: Vec<u8> = MODULES.iter().flat_map(|(_, text)| text.bytes()).collect();
    crate::fsio::sha256_hex(&all)
}

/// The PTX of a module.
pub(super) fn ptx(module: &str) -> Option<&'static CStr> {
    let (_, text) = MODULES.iter().find(|(name, _)| *name == module)?;
    CStr::from_bytes_with_nul(text.as_bytes()).ok()
}

/// Kernels on a device.
pub struct Kernels {
    gpu: Arc<Gpu>,
    modules: Mutex<BTreeMap<&'static str, Module>>,
    cudnn: Option<Arc<Cudnn>>,
}

/// A command whose kernel is loaded, or whose convolution cuDNN was told of.
#[expect(clippy::large_enum_variant, reason = "nearly all are kernels")]
pub(crate) enum Ready {
    Kernel(Function, Launch, AnyParams),
    Cudnn { convolution: Convolution, algorithm: u32, at: Addresses },
}

impl Kernels {
    /// Loads nothing yet. Commands of cuDNN need one.
    pub fn new(gpu: Arc<Gpu>, cudnn: Option<Arc<Cudnn>>) -> Self {
        Self { gpu, modules: Mutex::default(), cudnn }
    }

    /// The cuDNN that commands may use.
    pub fn cudnn(&self) -> Option<&Arc<Cudnn>> {
        self.cudnn.as_ref()
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
        commands.into_iter().map(|command| self.one_ready(command.work)).collect()
    }

    fn one_ready(&self, work: Work) -> Result<Ready, GpuError> {
        Ok(match work {
            Work::Kernel(launch, params) => {
                let module = self.module(launch.module)?;
                let function = self.gpu.function(&module, launch.kernel, launch.shared_bytes)?;
                Ready::Kernel(function, launch, params)
            }
            Work::Cudnn(call) => {
                let missing = || GpuError::Call {
                    doing: "prepare a convolution of cuDNN".into(),
                    name: "no cuDNN was loaded".into(),
                    words: None,
                };
                let cudnn = self.cudnn.as_ref().ok_or_else(missing)?;
                let convolution = Convolution::new(cudnn, &call.shape)?;
                Ready::Cudnn { convolution, algorithm: call.algorithm, at: call.at }
            }
        })
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
        for command in commands {
            match command {
                Ready::Kernel(function, launch, params) => {
                    let &Launch { grid, block, shared_bytes, .. } = launch;
                    let shape = Shape { grid, block, shared_bytes };
                    // SAFETY: the parameters are those of the kernel, which a test compares with the PTX; the caller promises the memory.
                    unsafe { self.gpu.launch(launch.kernel, *function, shape, params.address()) }?;
                }
                // SAFETY: the caller promises the memory.
                Ready::Cudnn { convolution, algorithm, at } => unsafe { convolution.start(*algorithm, at) }?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::engine::cuda::cases;
    use crate::fsio;

    fn folder() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/engine/cuda/kernels")
    }

    /// Bytes of the parameter of every kernel, as the PTX says.
    fn parameters() -> BTreeMap<(&'static str, String), usize> {
        let mut found = BTreeMap::new();
        for (module, text) in MODULES {
            for entry in text.split(".visible .entry ").skip(1) {
                let name = entry.split('(').next().unwrap();
                let size = entry.split(&format!("{name}_param_0[")).nth(1).unwrap();
                let size = size.split(']').next().unwrap().parse().unwrap();
                assert!(!entry.contains(&format!("{name}_param_1")), "{name} takes one structure");
                found.insert((*module, name.to_owned()), size);
            }
        }
        found
    }

    #[test]
    fn every_kernel_takes_the_structure_that_it_is_told_and_has_a_case() {
        let mut parameters = parameters();
        let mut told: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for case in cases::all().unwrap() {
            for step in case.steps {
                told.insert((step.launch.module, step.launch.kernel.into()), step.params.bytes().len());
            }
        }
        // Clocks are of no interest to twins.
        let stamp = parameters.remove(&("measure", "clock_stamp".into()));
        assert_eq!(stamp, Some(size_of::<crate::engine::cuda::params::Stamp>()));
        assert_eq!(told, parameters);
    }

    /// `make kernels` and `build.py check` compile; this sees at once, without a compiler, that sources were changed and the PTX was not made anew.
    #[test]
    fn the_ptx_is_of_these_sources() {
        let mut headers: Vec<PathBuf> =
            std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
        headers.retain(|path| path.extension().is_some_and(|end| end == "cuh"));
        assert!(headers.len() >= 2);
        for (module, text) in MODULES {
            let source = folder().join(format!("{}.cu", module.split('.').next().unwrap()));
            let mut files = headers.clone();
            files.push(source.clone());
            files.sort();
            let mut all = Vec::new();
            for file in files {
                all.extend(file.file_name().unwrap().as_encoded_bytes());
                all.push(0);
                all.extend(std::fs::read(&file).unwrap());
                all.push(0);
            }
            let name = source.file_name().unwrap().to_str().unwrap();
            let head = format!(
                "// Made from {name} by build.py; the sources' SHA-256 is {}\n",
                fsio::sha256_hex(&all)
            );
            assert!(text.starts_with(&head), "{module}.ptx is stale: run `make kernels`");
        }
        let carried = MODULES.iter().map(|(name, _)| format!("{name}.ptx"));
        let files = std::fs::read_dir(folder().join("ptx")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut files: Vec<String> = files.map(|name| name.into_string().unwrap()).collect();
        files.retain(|name| name != "README.md");
        files.sort();
        let mut carried: Vec<String> = carried.collect();
        carried.sort();
        assert_eq!(files, carried);
    }

    /// Every CUDA 12 driver takes it, on every GPU since Ampere or on Hopper alone.
    #[test]
    fn the_ptx_is_old_enough_for_every_driver_that_is_accepted() {
        for (module, text) in MODULES {
            let target = if module.ends_with(".hopper") { "sm_90a" } else { "sm_80" };
            assert!(text.contains(&format!("\n.version 8.0\n.target {target}\n")), "{module}");
            assert!(ptx(module).is_some());
        }
    }
}
