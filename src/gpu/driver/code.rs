//! What the driver's result numbers mean to us. Numbers and names are those of `CUresult` in NVIDIA's driver API reference; numbers are used rather
//! than the bindings' enum, because a newer driver may return one that the enum lacks.

use serde::Serialize;

pub(super) const SUCCESS: i32 = 0;
pub(super) const OUT_OF_MEMORY: i32 = 2;
pub(super) const STUB_LIBRARY: i32 = 34;
pub(super) const DEVICE_UNAVAILABLE: i32 = 46;
/// `cuInit` says so when no device can be seen.
pub(super) const NO_DEVICE: i32 = 100;
pub(super) const SYSTEM_NOT_READY: i32 = 802;
pub(super) const SYSTEM_DRIVER_MISMATCH: i32 = 803;
pub(super) const COMPAT_NOT_SUPPORTED: i32 = 804;
pub(super) const MPS_FIRST: i32 = 805;
pub(super) const MPS_LAST: i32 = 809;
pub(super) const UNKNOWN: i32 = 999;

/// How a device was lost. All of them are sticky: every later call in this process fails the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// The hardware reported an error that it could not correct (memory or NVLink).
    Hardware,
    /// The device fell off the bus, was reset, or is no longer to be had.
    Gone,
    /// A kernel did what is not allowed, or ran for too long; the context is destroyed.
    Kernel,
}

/// The kind of loss that a result number stands for; `None` where the device can still be used.
pub(super) fn loss(code: i32) -> Option<Loss> {
    match code {
        // CUDA_ERROR_ECC_UNCORRECTABLE, CUDA_ERROR_NVLINK_UNCORRECTABLE, CUDA_ERROR_CONTAINED (an error that the hardware contained to this process).
        214 | 220 | 226 => Some(Loss::Hardware),
        // CUDA_ERROR_DEINITIALIZED, CUDA_ERROR_DEVICE_UNAVAILABLE, CUDA_ERROR_CONTEXT_IS_DESTROYED, CUDA_ERROR_EXTERNAL_DEVICE, CUDA_ERROR_UNKNOWN.
        4 | DEVICE_UNAVAILABLE | 709 | 911 | UNKNOWN => Some(Loss::Gone),
        // CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_LAUNCH_TIMEOUT, CUDA_ERROR_ASSERT, then from CUDA_ERROR_HARDWARE_STACK_ERROR to CUDA_ERROR_LAUNCH_FAILED,
        // and CUDA_ERROR_TENSOR_MEMORY_LEAK.
        700 | 702 | 710 | 714..=719 | 721 => Some(Loss::Kernel),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cudarc::driver::sys::CUresult;

    #[test]
    fn numbers_are_those_of_the_bindings() {
        for (ours, theirs) in [
            (SUCCESS, CUresult::CUDA_SUCCESS),
            (OUT_OF_MEMORY, CUresult::CUDA_ERROR_OUT_OF_MEMORY),
            (STUB_LIBRARY, CUresult::CUDA_ERROR_STUB_LIBRARY),
            (DEVICE_UNAVAILABLE, CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE),
            (NO_DEVICE, CUresult::CUDA_ERROR_NO_DEVICE),
            (SYSTEM_NOT_READY, CUresult::CUDA_ERROR_SYSTEM_NOT_READY),
            (SYSTEM_DRIVER_MISMATCH, CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH),
            (COMPAT_NOT_SUPPORTED, CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE),
            (MPS_FIRST, CUresult::CUDA_ERROR_MPS_CONNECTION_FAILED),
            (MPS_LAST, CUresult::CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED),
            (UNKNOWN, CUresult::CUDA_ERROR_UNKNOWN),
        ] {
            assert_eq!(ours, theirs as i32, "{theirs:?}");
        }
    }

    #[test]
    fn losses_are_told_from_mistakes() {
        for (code, expected) in [
            (CUresult::CUDA_ERROR_ECC_UNCORRECTABLE, Some(Loss::Hardware)),
            (CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE, Some(Loss::Hardware)),
            (CUresult::CUDA_ERROR_DEINITIALIZED, Some(Loss::Gone)),
            (CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED, Some(Loss::Gone)),
            (CUresult::CUDA_ERROR_EXTERNAL_DEVICE, Some(Loss::Gone)),
            (CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, Some(Loss::Kernel)),
            (CUresult::CUDA_ERROR_LAUNCH_TIMEOUT, Some(Loss::Kernel)),
            (CUresult::CUDA_ERROR_ASSERT, Some(Loss::Kernel)),
            (CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR, Some(Loss::Kernel)),
            (CUresult::CUDA_ERROR_LAUNCH_FAILED, Some(Loss::Kernel)),
            (CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, None),
            (CUresult::CUDA_ERROR_INVALID_VALUE, None),
            (CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, None),
            (CUresult::CUDA_ERROR_OUT_OF_MEMORY, None),
        ] {
            assert_eq!(loss(code as i32), expected, "{code:?}");
        }
    }
}
