//! Why no GPU can be sampled. A value, not an error: the run goes on and its verdict tells.

use serde::{Deserialize, Serialize};

use super::library::LIBRARY_VARIABLE;
use super::refusal::Refusal;

/// Why no GPU can be sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "class", rename_all = "snake_case")]
pub enum Unavailable {
    /// The library is not on this machine.
    #[error(
        "no NVML library was found ({detail}); it comes with the NVIDIA driver, and in a container with the runtime's \
         `utility` capability; `{LIBRARY_VARIABLE}` can name another path"
    )]
    NoLibrary {
        /// What the loader said.
        detail: String,
    },
    /// There is a file of that name, but it cannot be loaded.
    #[error("the NVML library cannot be loaded ({detail}); it may be damaged or made for another processor")]
    BadLibrary {
        /// What the loader said.
        detail: String,
    },
    /// The library lacks a function that there is no doing without.
    #[error(
        "the NVML library has no function `{function}`; update the driver, or check that \
         `{LIBRARY_VARIABLE}` names an NVML library"
    )]
    TooOld {
        /// The function.
        function: String,
    },
    /// The library is there, the driver's kernel module is not.
    #[error("the NVIDIA driver is not loaded; load its kernel module or check the container's devices")]
    NoDriver,
    /// Library and kernel module are of different versions.
    #[error(
        "NVML library and kernel module are of different versions; after a driver update the machine must be \
         restarted or the module be loaded again"
    )]
    VersionMismatch,
    /// The driver does not let this user in.
    #[error("the driver does not let this user ask; check the rights of `/dev/nvidiactl` and `/dev/nvidia*`")]
    NoPermission,
    /// There is no device of that UUID.
    #[error(
        "NVML knows no device of UUID `{uuid}`, it lists {}; check `CUDA_VISIBLE_DEVICES` and MIG",
        listed(.found)
    )]
    NoDevice {
        /// The UUID that was asked for.
        uuid: String,
        /// The UUIDs of the devices that there are.
        found: Vec<String>,
    },
    /// A call that is needed to begin was refused.
    #[error("NVML refused `{call}`: {reason}")]
    Refused {
        /// The call.
        call: String,
        /// What the driver said.
        reason: Refusal,
    },
    /// The library was asked and did not come back.
    #[error(
        "NVML did not answer within {seconds} s; if `nvidia-smi` hangs too, the driver or a device does, and only a \
         restart helps"
    )]
    NoAnswer {
        /// How long it was waited for.
        seconds: f64,
    },
    /// The operating system gave no thread to sample from.
    #[error("no thread could be started to sample from: {detail}")]
    NoThread {
        /// What the operating system said.
        detail: String,
    },
}

fn listed(found: &[String]) -> String {
    if found.is_empty() { "none".to_owned() } else { format!("`{}`", found.join("`, `")) }
}
