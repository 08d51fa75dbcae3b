//! The few functions of the driver that are needed to describe it, resolved by hand so that a missing one is an error value.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use libloading::Library;

use super::code;

/// A result number that is not success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub(super) i32);

pub(super) type Result<T> = std::result::Result<T, Code>;

/// A context of the driver; only handed back to it.
#[derive(Clone, Copy)]
pub(super) struct Context(*mut c_void);

/// Longest device name that is read, in bytes.
const NAME_BYTES: usize = 256;

/// Longest PCI name that is read, in bytes; `domain:bus:device.function` takes 13 (`cuDeviceGetPCIBusId`).
const PCI_BYTES: usize = 32;

macro_rules! table {
    ($($name:ident: $symbol:literal ($($argument:ty),*)),+ $(,)?) => {
        /// The table. It is only valid while the library stays loaded; [`super::open::Driver`] never unloads it.
        pub(super) struct Api { $($name: unsafe extern "C" fn($($argument),*) -> c_int),+ }

        impl Api {
            /// Resolves all functions.
            ///
            /// # Errors
            /// The name of the first that is missing.
            pub(super) fn resolve(library: &Library) -> std::result::Result<Self, &'static str> {
                Ok(Self { $($name: {
                    // SAFETY: the types are those of the driver API reference for this name; an enum that is returned is an `int` in C.
                    let symbol = unsafe {
                        library.get::<unsafe extern "C" fn($($argument),*) -> c_int>($symbol.as_bytes())
                    };
                    *symbol.map_err(|_| $symbol)?
                }),+ })
            }
        }
    };
}

table! {
    driver_get_version: "cuDriverGetVersion" (*mut c_int),
    init: "cuInit" (c_uint),
    get_error_name: "cuGetErrorName" (c_int, *mut *const c_char),
    get_error_string: "cuGetErrorString" (c_int, *mut *const c_char),
    device_get_count: "cuDeviceGetCount" (*mut c_int),
    device_get: "cuDeviceGet" (*mut c_int, c_int),
    device_get_name: "cuDeviceGetName" (*mut c_char, c_int, c_int),
    device_get_uuid: "cuDeviceGetUuid" (*mut [u8; 16], c_int),
    device_get_uuid_v2: "cuDeviceGetUuid_v2" (*mut [u8; 16], c_int),
    device_get_attribute: "cuDeviceGetAttribute" (*mut c_int, c_int, c_int),
    device_total_memory: "cuDeviceTotalMem_v2" (*mut usize, c_int),
    device_get_pci_bus_id: "cuDeviceGetPCIBusId" (*mut c_char, c_int, c_int),
    primary_context_retain: "cuDevicePrimaryCtxRetain" (*mut *mut c_void, c_int),
    primary_context_release: "cuDevicePrimaryCtxRelease_v2" (c_int),
    context_push: "cuCtxPushCurrent_v2" (*mut c_void),
    context_pop: "cuCtxPopCurrent_v2" (*mut *mut c_void),
    memory_get_info: "cuMemGetInfo_v2" (*mut usize, *mut usize),
}

fn check(result: c_int) -> Result<()> {
    if result == code::SUCCESS { Ok(()) } else { Err(Code(result)) }
}

/// Text up to the first zero; all of it if there is none.
fn text(bytes: &[c_char]) -> String {
    // C's character is signed on some processors; its bits are meant.
    let bytes: Vec<u8> = bytes.iter().map(|&c| c.to_ne_bytes()[0]).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

// SAFETY of all calls below: the pointers lead to locals of the right type that outlive the call, and lengths are those of the buffers. `library` is
// loaded for the rest of the process.
impl Api {
    /// The address of `cuInit`, which tells one driver library from another.
    pub(super) fn address(&self) -> *const c_void {
        self.init as *const c_void
    }

    pub(super) fn version(&self) -> Result<i32> {
        let mut version = 0;
        // SAFETY: see above.
        check(unsafe { (self.driver_get_version)(&mut version) })?;
        Ok(version)
    }

    pub(super) fn init(&self) -> Result<()> {
        // SAFETY: see above; the flags must be zero.
        check(unsafe { (self.init)(0) })
    }

    /// The driver's name of a result, e.g. `CUDA_ERROR_NO_DEVICE`, and its own words for it, where it knows them.
    pub(super) fn words(&self, code: i32) -> (Option<String>, Option<String>) {
        let ask = |function: unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int| {
            let mut text = std::ptr::null();
            // SAFETY: see above. Unknown numbers give an error and a null pointer.
            let result = unsafe { function(code, &mut text) };
            if result != code::SUCCESS || text.is_null() {
                return None;
            }
            // SAFETY: the driver hands out a static text that ends with a zero.
            Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
        };
        (ask(self.get_error_name), ask(self.get_error_string))
    }

    pub(super) fn device_count(&self) -> Result<i32> {
        let mut count = 0;
        // SAFETY: see above.
        check(unsafe { (self.device_get_count)(&mut count) })?;
        Ok(count)
    }

    /// The driver's handle of the device with this ordinal.
    pub(super) fn device(&self, ordinal: i32) -> Result<i32> {
        let mut device = 0;
        // SAFETY: see above.
        check(unsafe { (self.device_get)(&mut device, ordinal) })?;
        Ok(device)
    }

    pub(super) fn name(&self, device: i32) -> Result<String> {
        let mut name = [0; NAME_BYTES];
        // SAFETY: see above.
        check(unsafe { (self.device_get_name)(name.as_mut_ptr(), NAME_BYTES as c_int, device) })?;
        Ok(text(&name))
    }

    /// The UUID of the whole GPU.
    pub(super) fn gpu_uuid(&self, device: i32) -> Result<[u8; 16]> {
        let mut uuid = [0; 16];
        // SAFETY: see above.
        check(unsafe { (self.device_get_uuid)(&mut uuid, device) })?;
        Ok(uuid)
    }

    /// The UUID of what this process computes on: of the MIG instance if it is one, else of the GPU.
    pub(super) fn uuid(&self, device: i32) -> Result<[u8; 16]> {
        let mut uuid = [0; 16];
        // SAFETY: see above.
        check(unsafe { (self.device_get_uuid_v2)(&mut uuid, device) })?;
        Ok(uuid)
    }

    pub(super) fn attribute(&self, device: i32, attribute: i32) -> Result<i32> {
        let mut value = 0;
        // SAFETY: see above.
        check(unsafe { (self.device_get_attribute)(&mut value, attribute, device) })?;
        Ok(value)
    }

    pub(super) fn total_memory_bytes(&self, device: i32) -> Result<usize> {
        let mut bytes = 0;
        // SAFETY: see above.
        check(unsafe { (self.device_total_memory)(&mut bytes, device) })?;
        Ok(bytes)
    }

    pub(super) fn pci_id(&self, device: i32) -> Result<String> {
        let mut name = [0; PCI_BYTES];
        // SAFETY: see above.
        check(unsafe { (self.device_get_pci_bus_id)(name.as_mut_ptr(), PCI_BYTES as c_int, device) })?;
        Ok(text(&name))
    }

    /// Makes the primary context of a device, or shares it if it exists.
    pub(super) fn retain(&self, device: i32) -> Result<Context> {
        let mut context = std::ptr::null_mut();
        // SAFETY: see above.
        check(unsafe { (self.primary_context_retain)(&mut context, device) })?;
        Ok(Context(context))
    }

    /// Gives the primary context back.
    pub(super) fn release(&self, device: i32) -> Result<()> {
        // SAFETY: see above; the caller retained it.
        check(unsafe { (self.primary_context_release)(device) })
    }

    /// Free and total bytes of a context's device; what was current in this thread is current again afterwards.
    pub(super) fn memory_of(&self, context: Context) -> Result<(usize, usize)> {
        // SAFETY: see above; the context is retained by the caller.
        check(unsafe { (self.context_push)(context.0) })?;
        let memory = self.memory_here();
        let mut popped = std::ptr::null_mut();
        // SAFETY: see above; it was pushed by the call before.
        let back = check(unsafe { (self.context_pop)(&mut popped) });
        let memory = memory?;
        back?;
        Ok(memory)
    }

    /// Free and total bytes of the device whose context is current in this thread.
    pub(super) fn memory_here(&self) -> Result<(usize, usize)> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: see above.
        check(unsafe { (self.memory_get_info)(&mut free, &mut total) })?;
        Ok((free, total))
    }
}
