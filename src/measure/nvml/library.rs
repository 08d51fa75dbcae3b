//! Finding the library and, in it, the device.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use serde::Serialize;

use super::facts::GpuFacts;
use super::refusal::{Asking, Refusal, Refusals};
use super::sample::{GpuSample, Reader};
use super::unavailable::Unavailable;
use crate::measure::clock::MonotonicClock;

/// The environment variable that names the NVML library to load, instead of the system's `libnvidia-ml.so.1`.
pub const LIBRARY_VARIABLE: &str = "ESR_NVML_LIBRARY";

/// The most devices that are looked at; no machine has as many.
const MAX_DEVICES: u32 = 1024;

/// The library to load: the one given, else the one that [`LIBRARY_VARIABLE`] names, else (`None`) the system's.
pub fn library_path(given: Option<PathBuf>) -> Option<PathBuf> {
    chosen_path(given, std::env::var_os(LIBRARY_VARIABLE))
}

fn chosen_path(given: Option<PathBuf>, environment: Option<OsString>) -> Option<PathBuf> {
    given.or_else(|| environment.filter(|value| !value.is_empty()).map(PathBuf::from))
}

/// The text that NVML uses for the sixteen bytes by which CUDA names a GPU (`cuDeviceGetUuid`).
pub fn uuid_text(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    format!("GPU-{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// A device as NVML lists it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListedGpu {
    /// NVML's number, which follows the bus and is not CUDA's.
    pub index: u32,
    /// What the device says about itself.
    pub facts: GpuFacts,
    /// What it does at the moment.
    pub now: GpuSample,
    /// What it refused to say.
    pub refusals: Refusals,
}

/// Every device that NVML counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GpuList {
    /// Those that answer.
    pub gpus: Vec<ListedGpu>,
    /// The numbers of those that refuse even a handle, and why.
    pub closed: Vec<(u32, Refusal)>,
}

/// Asks every device for its facts and for what it does at the moment.
///
/// # Errors
/// Why NVML cannot be asked at all.
pub fn list_gpus(library: Option<&Path>) -> Result<GpuList, Unavailable> {
    let nvml = open(library)?;
    let clock = MonotonicClock::new();
    let mut list = GpuList::default();
    for index in 0..device_count(&nvml)? {
        match nvml.device_by_index(index) {
            Ok(device) => {
                let mut asking = Asking::default();
                let facts = GpuFacts::read(&nvml, &device, &mut asking);
                let now = Reader::new(device).read(&clock, &mut asking);
                let mut refusals = Refusals::default();
                asking.add_to(&mut refusals);
                list.gpus.push(ListedGpu { index, facts, now, refusals });
            }
            Err(error) => list.closed.push((index, Refusal::of(&error))),
        }
    }
    Ok(list)
}

/// Loads and initialises NVML.
pub(super) fn open(library: Option<&Path>) -> Result<Nvml, Unavailable> {
    let mut builder = Nvml::builder();
    if let Some(path) = library {
        builder.lib_path(path.as_os_str());
    }
    let nvml = builder.init().map_err(|error| why_not_opened(&error, library.map(Path::as_os_str)))?;
    if nvml.lib().nvmlShutdown.is_err() {
        // The wrapper's destructor panics without this function, so a library that lacks it is never closed.
        std::mem::forget(nvml);
        return Err(Unavailable::TooOld { function: "nvmlShutdown".to_owned() });
    }
    Ok(nvml)
}

fn why_not_opened(error: &NvmlError, library: Option<&OsStr>) -> Unavailable {
    match error {
        NvmlError::LibloadingError(detail) => {
            let detail = detail.to_string();
            let absent = match library {
                Some(path) => !Path::new(path).exists(),
                // The loader searches the system's folders itself, so its words are all there is to go by.
                None => detail.contains("No such file"),
            };
            if absent { Unavailable::NoLibrary { detail } } else { Unavailable::BadLibrary { detail } }
        }
        NvmlError::LibraryNotFound => Unavailable::NoLibrary { detail: error.to_string() },
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
            Unavailable::TooOld { function: "nvmlInit_v2".to_owned() }
        }
        NvmlError::DriverNotLoaded => Unavailable::NoDriver,
        NvmlError::LibRmVersionMismatch => Unavailable::VersionMismatch,
        NvmlError::NoPermission => Unavailable::NoPermission,
        _ => refused("nvmlInit_v2", error),
    }
}

fn refused(call: &'static str, error: &NvmlError) -> Unavailable {
    Unavailable::Refused { call: call.to_owned(), reason: Refusal::of(error) }
}

fn device_count(nvml: &Nvml) -> Result<u32, Unavailable> {
    match nvml.device_count() {
        Ok(count) => Ok(count.min(MAX_DEVICES)),
        Err(error) => Err(refused("nvmlDeviceGetCount_v2", &error)),
    }
}

/// The device of that UUID. CUDA's number is useless here: it follows speed or the environment, NVML's follows the bus.
pub(super) fn find<'nvml>(nvml: &'nvml Nvml, uuid: &str) -> Result<Device<'nvml>, Unavailable> {
    // Asked for by its UUID only this device is woken. CUDA does not tell whether the bytes it gives name a GPU or an
    // instance of one (MIG), so that both are tried.
    let bare = bare_uuid(uuid);
    for name in [uuid.to_owned(), format!("GPU-{bare}"), format!("MIG-{bare}")] {
        match nvml.device_by_uuid(name) {
            Ok(device) => return Ok(device),
            Err(NvmlError::NoPermission) => return Err(Unavailable::NoPermission),
            Err(error) if Refusal::of(&error).is_loss() => {
                return Err(refused("nvmlDeviceGetHandleByUUID", &error));
            }
            Err(_) => {}
        }
    }
    let mut found = Vec::new();
    for index in 0..device_count(nvml)? {
        let Ok(device) = nvml.device_by_index(index) else { continue };
        let Ok(listed) = device.uuid() else { continue };
        if bare_uuid(&listed) == bare {
            return Ok(device);
        }
        found.push(listed);
    }
    Err(Unavailable::NoDevice { uuid: uuid.to_owned(), found })
}

/// Whether two names are of one device or instance, whoever wrote them.
pub fn same_uuid(one: &str, other: &str) -> bool {
    bare_uuid(one) == bare_uuid(other)
}

/// The UUID without its prefix and in lower case.
fn bare_uuid(uuid: &str) -> String {
    let lower = uuid.trim().to_ascii_lowercase();
    let bare = lower.strip_prefix("gpu-").or_else(|| lower.strip_prefix("mig-")).unwrap_or(&lower);
    bare.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_beats_the_environment_and_an_empty_one_is_none() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(chosen_path(path("/a"), Some("/b".into())), path("/a"));
        assert_eq!(chosen_path(None, Some("/b".into())), path("/b"));
        assert_eq!(chosen_path(None, Some("".into())), None);
        assert_eq!(chosen_path(None, None), None);
    }

    #[test]
    fn bytes_become_the_text_that_nvml_uses() {
        let bytes = std::array::from_fn(|i| u8::try_from(i * 17).unwrap());
        assert_eq!(uuid_text(bytes), "GPU-00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(bare_uuid("GPU-00AB"), bare_uuid(" 00ab"));
        assert_eq!(bare_uuid("MIG-00AB"), "00ab");
    }
}
