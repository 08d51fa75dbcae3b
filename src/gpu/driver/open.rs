//! Opening the driver, and handing out contexts of the bindings once that cannot panic any more.

use std::fmt;
use std::sync::{Arc, OnceLock};

use cudarc::driver::{CudaContext, sys};
use serde::Serialize;

use super::api::{Api, Code};
use super::code;
use super::device::{self, DeviceFacts, Memory};
use super::error::GpuError;
use super::library::{self, Absent};
use super::surroundings::Surroundings;

/// The oldest driver that runs our kernels and has every function that the bindings may call.
pub const NEEDED_CUDA: CudaVersion = CudaVersion { major: 12, minor: 0 };

/// A CUDA version, as of a driver: the newest CUDA that it supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CudaVersion {
    /// E.g. 12.
    pub major: u32,
    /// E.g. 4.
    pub minor: u32,
}

impl CudaVersion {
    /// From the driver's number, 1000 for each major and 10 for each minor version (`cuDriverGetVersion`).
    fn from_number(number: i32) -> Self {
        let number = u32::try_from(number).unwrap_or(0);
        Self { major: number / 1000, minor: number % 1000 / 10 }
    }
}

impl fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The driver: loaded, new enough, started, with at least one device. It stays loaded for the rest of the process.
pub struct Driver {
    api: Api,
    library: String,
    version: CudaVersion,
    device_count: usize,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { api: _, library, version, device_count } = self;
        write!(f, "Driver {{ {library}, CUDA {version}, {device_count} devices }}")
    }
}

impl Driver {
    /// Opens the driver, or returns the one that is open. A failure is not remembered: the next call looks again.
    ///
    /// # Errors
    /// Every variant of [`GpuError`] up to [`GpuError::NoDevice`].
    pub fn open() -> Result<&'static Self, GpuError> {
        static OPEN: OnceLock<Driver> = OnceLock::new();
        if let Some(driver) = OPEN.get() {
            return Ok(driver);
        }
        let driver = Self::open_new()?;
        // Another thread may have been faster; both look at the same library.
        Ok(OPEN.get_or_init(|| driver))
    }

    fn open_new() -> Result<Self, GpuError> {
        let library = library::load(&library::NAMES).map_err(|absent| match absent {
            Absent::Nowhere => GpuError::NoLibrary { surroundings: Box::new(Surroundings::look()) },
            Absent::Refused(reason) => GpuError::Unusable { library: library::NAMES[0].into(), reason },
        })?;
        // The table's functions, and those that the bindings look up, must stay; a driver does not like to be unloaded either.
        let library = Box::leak(Box::new(library));
        let api = Api::resolve(library).map_err(|symbol| GpuError::Unusable {
            library: library::NAMES[0].into(),
            reason: format!("it has no function {symbol}"),
        })?;
        let file = library::file_of(api.address()).unwrap_or_else(|| library::NAMES[0].into());
        let unusable = |call: &str, code: Code| GpuError::Unusable {
            library: file.clone(),
            reason: format!("{call} fails with {}", name_of(&api, code.0)),
        };
        let number = api.version().map_err(|code| match code.0 {
            code::STUB_LIBRARY => start_error(&api, &file, code),
            _ => unusable("cuDriverGetVersion", code),
        })?;
        let version = CudaVersion::from_number(number);
        if version < NEEDED_CUDA {
            return Err(GpuError::TooOld { library: file, found: version, needed: NEEDED_CUDA });
        }
        same_library(&api, &file)?;
        let no_device = || GpuError::NoDevice { surroundings: Box::new(Surroundings::look()) };
        api.init().map_err(|code| match code.0 {
            code::NO_DEVICE => no_device(),
            _ => start_error(&api, &file, code),
        })?;
        let count = api.device_count().map_err(|code| match code.0 {
            code::NO_DEVICE => no_device(),
            _ => unusable("cuDeviceGetCount", code),
        })?;
        match usize::try_from(count) {
            Ok(device_count) if device_count > 0 => Ok(Self { api, library: file, version, device_count }),
            _ => Err(no_device()),
        }
    }

    /// The file of the driver library.
    pub fn library(&self) -> &str {
        &self.library
    }

    /// The CUDA version that the driver supports.
    pub fn version(&self) -> CudaVersion {
        self.version
    }

    /// How many devices this process may use; their ordinals count from 0.
    pub fn device_count(&self) -> usize {
        self.device_count
    }

    /// What the driver says of a device. Costs no memory of the device.
    ///
    /// # Errors
    /// [`GpuError::NoSuchDevice`], or [`GpuError::Call`] where the driver refuses what it always tells.
    pub fn device(&self, ordinal: usize) -> Result<DeviceFacts, GpuError> {
        let doing = "describe";
        let device = self.handle(ordinal, doing)?;
        device::facts(&self.api, ordinal, device).map_err(|code| self.refused(doing, ordinal, code))
    }

    /// Free and total memory of a device. Needs a context, which takes some hundred MB of it and some tenths of a second where the process has none yet.
    ///
    /// # Errors
    /// [`GpuError::NoSuchDevice`]; [`GpuError::OutOfMemory`] where not even a context fits; [`GpuError::Busy`] where
    /// another process has the device for itself; [`GpuError::Lost`] or [`GpuError::Call`] where a context is refused otherwise.
    pub fn memory(&self, ordinal: usize) -> Result<Memory, GpuError> {
        let doing = "ask the memory of";
        let device = self.handle(ordinal, doing)?;
        let refused = |code| self.refused(doing, ordinal, code);
        let context = self.api.retain(device).map_err(refused)?;
        let memory = self.api.memory_of(context);
        let released = self.api.release(device);
        let memory = memory.map_err(refused)?;
        released.map_err(refused)?;
        Ok(Memory::from_pair(memory))
    }

    /// A context of the bindings on a device: the way to everything else that they offer. With one stream, switch its event tracking off: it costs two
    /// events for each buffer.
    ///
    /// # Errors
    /// As of [`Driver::memory`].
    pub fn context(&self, ordinal: usize) -> Result<Arc<CudaContext>, GpuError> {
        let doing = "open";
        self.handle(ordinal, doing)?;
        CudaContext::new(ordinal).map_err(|error| self.refused(doing, ordinal, Code(error.0 as i32)))
    }

    /// What an error of the bindings means; `doing` is what was tried, as a verb with its object. It must be called in the thread that made the call.
    pub fn explain(&self, doing: &str, error: cudarc::driver::DriverError) -> GpuError {
        // Memory is only asked where the device still answers.
        let memory = match error.0 as i32 {
            code::OUT_OF_MEMORY => self.api.memory_here().ok().map(Memory::from_pair),
            _ => None,
        };
        self.told(doing.into(), Code(error.0 as i32), memory)
    }

    fn handle(&self, ordinal: usize, doing: &str) -> Result<i32, GpuError> {
        let number = i32::try_from(ordinal).ok().filter(|_| ordinal < self.device_count);
        let number = number.ok_or_else(|| GpuError::NoSuchDevice {
            ordinal,
            count: self.device_count,
            visible_devices: Surroundings::look().visible_devices,
        })?;
        self.api.device(number).map_err(|code| self.refused(doing, ordinal, code))
    }

    fn refused(&self, verb: &str, ordinal: usize, code: Code) -> GpuError {
        // While a device is being opened, this is no loss: nothing was there yet.
        if code.0 == code::DEVICE_UNAVAILABLE {
            return GpuError::Busy { ordinal, name: name_of(&self.api, code.0) };
        }
        self.told(format!("{verb} cuda:{ordinal}"), code, None)
    }

    fn told(&self, doing: String, code: Code, memory: Option<Memory>) -> GpuError {
        let name = name_of(&self.api, code.0);
        match (code.0, code::loss(code.0)) {
            (code::OUT_OF_MEMORY, _) => GpuError::OutOfMemory { doing, memory },
            (_, Some(loss)) => GpuError::Lost { doing, name, loss },
            (number, None) => GpuError::Call { doing, name, words: self.api.words(number).1 },
        }
    }
}

/// The driver's name of a result number, or the number.
fn name_of(api: &Api, code: i32) -> String {
    api.words(code).0.unwrap_or_else(|| format!("CUDA error {code}"))
}

fn start_error(api: &Api, library: &str, code: Code) -> GpuError {
    GpuError::Start {
        library: library.into(),
        code: code.0,
        name: name_of(api, code.0),
        surroundings: Box::new(Surroundings::look()),
    }
}

/// Makes sure that the bindings find the library that was looked at. They try `libcuda.so` before `libcuda.so.1`, and the first is a toolkit's stub on
/// some machines.
fn same_library(api: &Api, file: &str) -> Result<(), GpuError> {
    // SAFETY: loading runs initialisers of libraries by names that belong to NVIDIA's driver; those of the first are run already.
    let found = unsafe { sys::is_culib_present() };
    if !found {
        return Err(GpuError::Unusable {
            library: file.into(),
            reason: "it is not found by its name, so its own name must be wrong".into(),
        });
    }
    // SAFETY: a library was found by the line above, so that this one does not panic; the function's address is only looked at.
    let theirs = unsafe { sys::culib().get::<unsafe extern "C" fn()>(b"cuInit") }
        .map(|symbol| *symbol as *const std::ffi::c_void);
    match theirs {
        Ok(address) if address == api.address() => Ok(()),
        Ok(address) => Err(GpuError::Hidden {
            driver: file.into(),
            other: library::file_of(address).unwrap_or_else(|| "libcuda.so".into()),
        }),
        Err(_) => Err(GpuError::Hidden { driver: file.into(), other: "libcuda.so".into() }),
    }
}
