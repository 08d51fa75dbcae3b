//! Why the GPU cannot be used, and what to do about it.

use std::fmt;

use super::code;
use super::{CudaVersion, Loss, Memory, Surroundings};
use crate::space::readable;

const BUSY_ADVICE: &str = "another process holds the GPU in exclusive mode: end it (`nvidia-smi` lists it), or run `nvidia-smi -c DEFAULT` as root";

/// Why the GPU cannot be used. Its text says what happened, then what to do; [`GpuError::advice`] is the second half alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuError {
    /// There is no driver library on this machine.
    NoLibrary {
        /// What the system shows of GPUs.
        surroundings: Box<Surroundings>,
    },
    /// There is a driver library, but it cannot be used.
    Unusable {
        /// The file, or the name it was looked for by.
        library: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another library called `libcuda.so` hides the driver's: most often the toolkit's stub, which is for linking only.
    Hidden {
        /// The library that answers to `libcuda.so.1`.
        driver: String,
        /// The library that answers to `libcuda.so`.
        other: String,
    },
    /// The driver is older than our kernels.
    TooOld {
        /// The driver library.
        library: String,
        /// The CUDA version that it supports.
        found: CudaVersion,
        /// The oldest that would do.
        needed: CudaVersion,
    },
    /// The driver does not start.
    Start {
        /// The driver library.
        library: String,
        /// The result number of `cuInit`.
        code: i32,
        /// The driver's name of it.
        name: String,
        /// What the system shows of GPUs.
        surroundings: Box<Surroundings>,
    },
    /// The driver works, but shows this process no device.
    NoDevice {
        /// What the system shows of GPUs.
        surroundings: Box<Surroundings>,
    },
    /// There are devices, but not that many.
    NoSuchDevice {
        /// The device that was asked for, counted from 0.
        ordinal: usize,
        /// How many there are.
        count: usize,
        /// `CUDA_VISIBLE_DEVICES`, if set.
        visible_devices: Option<String>,
    },
    /// Another process has the device for itself.
    Busy {
        /// The device.
        ordinal: usize,
        /// The driver's name of the error.
        name: String,
    },
    /// The device's memory is full. Nothing is lost.
    OutOfMemory {
        /// What was tried.
        doing: String,
        /// The device's memory at that time, where it could be asked.
        memory: Option<Memory>,
    },
    /// The device was lost: every later call in this process fails too.
    Lost {
        /// What was tried when it was noticed; what caused it may have been started earlier.
        doing: String,
        /// The driver's name of the error.
        name: String,
        /// How it was lost.
        loss: Loss,
    },
    /// Any other call that the driver refused.
    Call {
        /// What was tried.
        doing: String,
        /// The driver's name of the error.
        name: String,
        /// The driver's words for it.
        words: Option<String>,
    },
}

impl GpuError {
    /// What happened.
    pub fn what(&self) -> String {
        match self {
            Self::NoLibrary { .. } => "no CUDA driver: there is no libcuda.so.1".into(),
            Self::Unusable { library, reason } => {
                format!("the CUDA driver `{library}` cannot be used: {reason}")
            }
            Self::Hidden { driver, other } => {
                format!("two CUDA drivers: `{other}` answers to libcuda.so but `{driver}` to libcuda.so.1")
            }
            Self::TooOld { library, found, needed } => {
                format!("the CUDA driver `{library}` supports CUDA {found}, at least {needed} is needed")
            }
            Self::Start { library, name, .. } => {
                format!("the CUDA driver `{library}` does not start: {name}")
            }
            Self::NoDevice { .. } => "the CUDA driver shows no device".into(),
            Self::NoSuchDevice { ordinal, count: 1, .. } => {
                format!("there is no cuda:{ordinal}, only cuda:0")
            }
            Self::NoSuchDevice { ordinal, count, .. } => {
                format!("there is no cuda:{ordinal}, only cuda:0 to cuda:{}", count.saturating_sub(1))
            }
            Self::Busy { ordinal, name } => format!("cuda:{ordinal} is in use: {name}"),
            Self::OutOfMemory { doing, memory: Some(memory) } => format!(
                "cannot {doing}: the GPU is out of memory, {} of {} are free",
                readable(memory.free_bytes),
                readable(memory.total_bytes)
            ),
            Self::OutOfMemory { doing, memory: None } => format!("cannot {doing}: the GPU is out of memory"),
            Self::Lost { doing, name, .. } => format!("the GPU was lost (seen on trying to {doing}): {name}"),
            Self::Call { doing, name, words: Some(words) } => format!("cannot {doing}: {name} ({words})"),
            Self::Call { doing, name, words: None } => format!("cannot {doing}: {name}"),
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> String {
        match self {
            Self::NoLibrary { surroundings } if surroundings.kernel_module.is_some() => {
                "the kernel module is loaded, so the library is only missing here: start the container with `--gpus all`, or add the folder of \
                libcuda.so.1 to LD_LIBRARY_PATH"
                    .into()
            }
            Self::NoLibrary { surroundings } if !surroundings.cards.is_empty() => format!(
                "there is an NVIDIA device at PCI {}: install NVIDIA's driver, or start the container with `--gpus all`",
                surroundings.cards.join(", ")
            ),
            Self::NoLibrary { .. } => "use `--device cpu`, or install NVIDIA's driver if there is an NVIDIA GPU".into(),
            Self::Unusable { .. } => "install NVIDIA's driver again; LD_LIBRARY_PATH may lead to a wrong libcuda.so.1".into(),
            Self::Hidden { other, .. } => format!(
                "remove the folder of `{other}` from LD_LIBRARY_PATH; a toolkit's `stubs` folder is for linking only"
            ),
            Self::TooOld { needed, .. } => format!(
                "install a driver for CUDA {needed} or newer (525.60.13 on Linux was the first for 12.0), or use `--device cpu`"
            ),
            Self::Start { code, surroundings, .. } => start_advice(*code, surroundings),
            Self::NoDevice { surroundings } => surroundings.advice(),
            Self::NoSuchDevice { visible_devices: Some(visible), .. } => {
                format!("CUDA_VISIBLE_DEVICES is `{visible}`: devices that it lists are counted from 0")
            }
            Self::NoSuchDevice { .. } => "`esr doctor` lists the devices".into(),
            Self::Busy { .. } => BUSY_ADVICE.into(),
            Self::OutOfMemory { .. } => {
                "end other programs on the GPU (`nvidia-smi` lists them), or use a smaller batch, a smaller image or `--device cpu`".into()
            }
            Self::Lost { loss: Loss::Hardware, .. } => {
                "start the program again; if it comes back, the hardware is failing: see `nvidia-smi -q -d ECC` and `dmesg | grep -i xid`".into()
            }
            Self::Lost { loss: Loss::Gone, .. } => {
                "see `dmesg | grep -i xid`; start the program again once `nvidia-smi` answers, or reset the GPU".into()
            }
            Self::Lost { loss: Loss::Kernel, .. } => {
                "start the program again; if it comes back, a kernel of this program is wrong: please report it with `esr doctor --json`".into()
            }
            Self::Call { .. } => "please report it with `esr doctor --json`".into(),
        }
    }

    /// Whether the device is gone for this process, so that only a new process can go on.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// Of a driver that does not start: by the number where it says enough, else by what is around.
fn start_advice(code: i32, surroundings: &Surroundings) -> String {
    match code {
        code::STUB_LIBRARY => {
            "this is the toolkit's stub, which is for linking only: remove its folder from LD_LIBRARY_PATH".into()
        }
        code::SYSTEM_NOT_READY => {
            "the system is not ready: wait, and see whether the service `nvidia-fabricmanager` (machines with NVSwitch) or \
            `nvidia-persistenced` runs"
                .into()
        }
        code::SYSTEM_DRIVER_MISMATCH => format!(
            "the library and the loaded kernel module ({}) are of different versions: reboot after the update, or match the container's driver \
            to the host's",
            surroundings.kernel_module.as_deref().unwrap_or("not loaded")
        ),
        code::COMPAT_NOT_SUPPORTED => {
            "this is the forward-compatibility library, which this GPU does not support: remove `cuda/compat` from LD_LIBRARY_PATH".into()
        }
        code::DEVICE_UNAVAILABLE => BUSY_ADVICE.into(),
        code::OUT_OF_MEMORY => "there is not enough memory, of the GPU or of this process: see `nvidia-smi` and `ulimit -v`".into(),
        code::MPS_FIRST..=code::MPS_LAST => {
            "the multi-process service does not answer: restart `nvidia-cuda-mps-control`, or unset CUDA_MPS_PIPE_DIRECTORY".into()
        }
        code::UNKNOWN if surroundings.visible_devices.is_none() && surroundings.kernel_module.is_some() => {
            "the kernel module is in a bad state, often after the machine slept: run `modprobe -r nvidia_uvm && modprobe nvidia_uvm`, or reboot"
                .into()
        }
        // CUDA_ERROR_INVALID_DEVICE, CUDA_ERROR_OPERATING_SYSTEM and what we do not know.
        _ => surroundings.advice(),
    }
}

impl fmt::Display for GpuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what(), self.advice())
    }
}

impl std::error::Error for GpuError {}
