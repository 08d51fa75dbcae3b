//! The place of NVML in the report: whether its library opens. What NVML says of rights, clocks and throttling belongs into [`Nvml`] and
//! `findings`, matched to the devices of CUDA by UUID.

use libloading::Library;
use serde::Serialize;

use super::report::{Finding, Status, Topic};

/// The library that the driver brings along.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// What is seen of NVML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nvml {
    /// Whether the library opens.
    pub opens: bool,
    /// Why it does not.
    pub problem: Option<String>,
}

impl Nvml {
    pub(super) fn look() -> Self {
        // SAFETY: loading runs the library's initialisers. The name belongs to NVIDIA's driver; nothing of it is called.
        match unsafe { Library::new(LIBRARY) } {
            Ok(_) => Self { opens: true, problem: None },
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                Self { opens: false, problem: Some(cause.unwrap_or_else(|| error.to_string())) }
            }
        }
    }
}

/// What it means. Without a GPU nothing is missing, so nothing is said.
pub(super) fn findings(nvml: &Nvml, has_gpu: bool) -> Vec<Finding> {
    match (has_gpu, nvml.opens) {
        (false, _) => Vec::new(),
        (true, true) => vec![Finding::new(Topic::Nvml, Status::Works, format!("{LIBRARY} opens"))],
        (true, false) => vec![
            Finding::new(
                Topic::Nvml,
                Status::Limited,
                format!("no clocks, temperatures and throttle reasons: {}", nvml.problem.as_deref().unwrap_or(LIBRARY)),
            )
            .advise("install the driver's libnvidia-ml.so.1, or start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility"),
        ],
    }
}
