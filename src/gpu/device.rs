//! A device that is computed on: its memory, one stream of work, events, and work recorded to be run again.
//!
//! Everything happens in one stream, in the order of the calls, and most calls return before it has happened; what fails there is reported by a later call. Callers
//! see [`GpuError`] only.

use std::ffi::{CStr, CString, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{
    CudaContext, CudaEvent, CudaGraph, CudaSlice, CudaStream, DevicePtr, DriverError, result, sys,
};

use super::driver::{DeviceFacts, Driver, GpuError, Memory};

/// A device with a context and a stream.
pub struct Gpu {
    driver: &'static Driver,
    facts: DeviceFacts,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
}

/// Memory of a device; given back when dropped.
pub struct DeviceMemory {
    gpu: Arc<Gpu>,
    slice: CudaSlice<u8>,
    address: u64,
}

/// Memory of the host that a device reads by itself while the host goes on; given back when dropped.
pub struct Pinned {
    address: *mut f32,
    values: usize,
    gpu: Arc<Gpu>,
}

// SAFETY: it is owned memory; the device only reads it between calls that take it by reference.
unsafe impl Send for Pinned {}

/// A kernel of a loaded module.
#[derive(Clone, Copy, Debug)]
pub struct Function(sys::CUfunction);

// SAFETY: a handle that the driver looks up; calls with it may come from any thread of the process.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// How a kernel is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Blocks of threads in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
}

/// A moment in the stream.
pub struct Event(CudaEvent);

/// Work that was recorded and is started as a whole.
pub struct Graph(Mutex<CudaGraph>);

// SAFETY: graphs are not synchronised by the driver, so every use is behind the lock.
unsafe impl Send for Graph {}
// SAFETY: as above.
unsafe impl Sync for Graph {}

/// The most memory that was in use at once, as the driver's pool of this process counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolPeak {
    /// Of live allocations: PyTorch's `max_memory_allocated` counts alike.
    pub used_bytes: u64,
    /// Held for them, freed or not: PyTorch's `max_memory_reserved`.
    pub reserved_bytes: u64,
}

impl Gpu {
    /// Opens a device by its number among those that this process may use.
    ///
    /// # Errors
    /// As of [`Driver::open`] and [`Driver::context`].
    pub fn open(ordinal: usize) -> Result<Arc<Self>, GpuError> {
        let driver = Driver::open()?;
        let facts = driver.device(ordinal)?;
        let context = driver.context(ordinal)?;
        // SAFETY: all work of this context goes through one stream, so that no other has to be waited for.
        unsafe { context.disable_event_tracking() };
        let doing = format!("make a stream on cuda:{ordinal}");
        let stream = context.new_stream().map_err(|error| driver.explain(&doing, error))?;
        Ok(Arc::new(Self { driver, facts, context, stream }))
    }

    /// What the driver says of the device.
    pub fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    /// The CUDA version that the driver supports, e.g. `12.4`.
    pub fn cuda_version(&self) -> String {
        self.driver.version().to_string()
    }

    /// Free and total memory.
    ///
    /// # Errors
    /// As of [`Driver::memory`].
    pub fn memory(&self) -> Result<Memory, GpuError> {
        self.driver.memory(self.facts.ordinal)
    }

    /// Memory with nothing in it yet.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`]
    pub fn allocate(self: &Arc<Self>, bytes: u64) -> Result<DeviceMemory, GpuError> {
        let doing = || format!("have {} on {}", crate::space::readable(bytes), self.name());
        // The driver gives no address for nothing.
        let length = usize::try_from(bytes.max(1)).unwrap_or(usize::MAX);
        // SAFETY: nothing reads it before it is written.
        let slice =
            unsafe { self.stream.alloc::<u8>(length) }.map_err(|error| self.explain(&doing(), error))?;
        let address = slice.device_ptr(&self.stream).0;
        Ok(DeviceMemory { gpu: self.clone(), slice, address })
    }

    /// Memory of the host for so many values, zeros.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`] where the system does not lock that much.
    pub fn pinned(self: &Arc<Self>, values: usize) -> Result<Pinned, GpuError> {
        let bytes = values.max(1) * size_of::<f32>();
        // SAFETY: no flags are asked for; it is freed when dropped.
        let address = self.call("lock memory of the host", || unsafe { result::malloc_host(bytes, 0) })?;
        // SAFETY: the driver gave that many bytes, aligned for any number; zeros are values.
        unsafe { address.cast::<u8>().write_bytes(0, bytes) };
        Ok(Pinned { address: address.cast(), values, gpu: self.clone() })
    }

    /// Loads a module from PTX.
    ///
    /// # Errors
    /// [`GpuError::Call`] where the driver refuses it.
    pub fn module(&self, name: &str, ptx: &CStr) -> Result<Module, GpuError> {
        self.call(format_args!("load the kernels `{name}`"), || {
            // SAFETY: the text ends with a zero.
            unsafe { result::module::load_data(ptx.as_ptr().cast()) }
        })
        .map(|module| Module { module, name: name.to_owned() })
    }

    /// A kernel, allowed to have `shared_bytes` of dynamic shared memory.
    ///
    /// # Errors
    /// [`GpuError::Call`] where there is none of that name, or not that much shared memory.
    pub fn function(&self, module: &Module, name: &str, shared_bytes: u32) -> Result<Function, GpuError> {
        /// What every kernel may have without being asked for.
        const DEFAULT_BYTES: u32 = 48 << 10;
        let symbol = CString::new(name).unwrap_or_default();
        let doing = format_args!("find the kernel `{name}` in `{}`", module.name);
        // SAFETY: modules are never unloaded.
        let function = self.call(doing, || unsafe { result::module::get_function(module.module, symbol) })?;
        if shared_bytes > DEFAULT_BYTES {
            let doing = format_args!("give the kernel `{name}` {shared_bytes} bytes of shared memory");
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function was found above.
            self.call(doing, || unsafe {
                result::function::set_function_attribute(function, attribute, shared_bytes as i32)
            })?;
        }
        Ok(Function(function))
    }

    /// Starts a kernel that takes one structure by value.
    ///
    /// # Errors
    /// [`GpuError::Call`], or [`GpuError::Lost`] for what went wrong before.
    ///
    /// # Safety
    /// `parameters` points to the structure that the kernel takes, and what it says of memory is true until the kernel has run.
    pub unsafe fn launch(
        &self,
        name: &str,
        function: Function,
        shape: Shape,
        parameters: *const c_void,
    ) -> Result<(), GpuError> {
        let three = |[x, y, z]: [u32; 3]| (x, y, z);
        let mut list = [parameters.cast_mut()];
        self.call(format_args!("start the kernel `{name}`"), || {
            // SAFETY: the caller's promise; the driver copies the structure before it returns.
            unsafe {
                let (grid, block) = (three(shape.grid), three(shape.block));
                let stream = self.stream.cu_stream();
                result::launch_kernel(function.0, grid, block, shape.shared_bytes, stream, &mut list)
            }
        })
    }

    /// Waits until everything has happened.
    ///
    /// # Errors
    /// [`GpuError::Lost`] where something went wrong.
    pub fn synchronize(&self) -> Result<(), GpuError> {
        self.call("wait for the GPU", || self.stream.synchronize())
    }

    /// An event that knows the time.
    ///
    /// # Errors
    /// [`GpuError::Call`]
    pub fn event(&self) -> Result<Event, GpuError> {
        // Without flags the bindings make events that know no time.
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        self.call("make an event", || self.context.new_event(flags)).map(Event)
    }

    /// Puts an event behind everything that was started so far.
    ///
    /// # Errors
    /// [`GpuError::Call`]
    pub fn record(&self, event: &Event) -> Result<(), GpuError> {
        self.call("record an event", || event.0.record(&self.stream))
    }

    /// Milliseconds between two events; waits for both.
    ///
    /// # Errors
    /// [`GpuError::Lost`] where something between them went wrong.
    pub fn elapsed_ms(&self, from: &Event, to: &Event) -> Result<f64, GpuError> {
        self.call("time work", || from.0.elapsed_ms(&to.0)).map(f64::from)
    }

    /// Records what `work` starts, to be started as a whole later; nothing happens now.
    ///
    /// # Errors
    /// What `work` returns, else [`GpuError::Call`].
    pub fn capture(&self, work: impl FnOnce() -> Result<(), GpuError>) -> Result<Graph, GpuError> {
        // Only this thread's calls are watched: others do not disturb.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.call("record a graph", || self.stream.begin_capture(mode))?;
        let done = work();
        // The recording is ended whatever happened in it.
        let graph = self.call("make a graph", || self.stream.end_capture(sys::CUgraphInstantiate_flags(0)));
        done?;
        match graph? {
            Some(graph) => Ok(Graph(Mutex::new(graph))),
            None => Err(GpuError::Call {
                doing: "make a graph".into(),
                name: "nothing was recorded".into(),
                words: None,
            }),
        }
    }

    /// Starts recorded work.
    ///
    /// # Errors
    /// [`GpuError::Call`], or [`GpuError::Lost`] for what went wrong before.
    pub fn start(&self, graph: &Graph) -> Result<(), GpuError> {
        let graph = graph.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.call("start a graph", || graph.launch())
    }

    /// Sets bytes of memory.
    ///
    /// # Errors
    /// [`GpuError::Call`]
    pub fn fill(&self, memory: &DeviceMemory, byte: u8) -> Result<(), GpuError> {
        let (address, bytes, stream) = (memory.address, memory.slice.len(), self.stream.cu_stream());
        // SAFETY: the memory is that long and alive until the stream frees it, which is later.
        self.call("fill memory", || unsafe { result::memset_d8_async(address, byte, bytes, stream) })
    }

    /// What the driver's pool counted since [`Gpu::reset_pool_peak`]; nothing where it has no pool.
    pub fn pool_peak(&self) -> Option<PoolPeak> {
        let read = |attribute| {
            let (pool, mut value) = (self.pool()?, 0u64);
            // SAFETY: these attributes are 64-bit numbers.
            let done = unsafe { result::mem_pool::get_attribute(pool, attribute, (&raw mut value).cast()) };
            done.ok().map(|()| value)
        };
        Some(PoolPeak {
            used_bytes: read(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?,
            reserved_bytes: read(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)?,
        })
    }

    /// Lets the pool count its peak anew. Whether it could.
    pub fn reset_pool_peak(&self) -> bool {
        let reset = |attribute| {
            let (pool, mut zero) = (self.pool()?, 0u64);
            // SAFETY: these attributes are 64-bit numbers, and zero is the only one that may be set.
            unsafe { result::mem_pool::set_attribute(pool, attribute, (&raw mut zero).cast()) }.ok()
        };
        reset(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH).is_some()
            && reset(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH).is_some()
    }

    /// Makes the device's context that of the calling thread, as libraries beside the driver want it.
    ///
    /// # Errors
    /// [`GpuError::Lost`] where the context is gone.
    pub(super) fn bind(&self) -> Result<(), GpuError> {
        self.call("use the GPU", || Ok(()))
    }

    /// The stream, for libraries that put work into it themselves. It lives as long as this.
    pub(super) fn raw_stream(&self) -> sys::CUstream {
        self.stream.cu_stream()
    }

    fn pool(&self) -> Option<sys::CUmemoryPool> {
        self.context.bind_to_thread().ok()?;
        // SAFETY: the device is that of a live context.
        unsafe { result::device::get_mem_pool(self.context.cu_device()) }.ok()
    }

    fn name(&self) -> String {
        format!("cuda:{}", self.facts.ordinal)
    }

    /// `doing` becomes text only where the call fails: launches are timed.
    fn call<T>(
        &self,
        doing: impl std::fmt::Display,
        call: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, GpuError> {
        let done = self.context.bind_to_thread().and_then(|()| call());
        done.map_err(|error| self.explain(&doing.to_string(), error))
    }

    fn explain(&self, doing: &str, error: DriverError) -> GpuError {
        self.driver.explain(doing, error)
    }
}

/// Loaded kernels; they stay loaded.
#[derive(Clone, Debug)]
pub struct Module {
    module: sys::CUmodule,
    name: String,
}

// SAFETY: a handle that the driver looks up; calls with it may come from any thread of the process.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Pinned {
    /// The values. Whoever writes them has waited until the device has read what was there.
    pub fn values_mut(&mut self) -> &mut [f32] {
        // SAFETY: the memory holds that many values and is borrowed with this.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.values) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // What was started may still read it. A device that is lost reads nothing any more, and there is nobody to tell.
        let _ = self.gpu.synchronize();
        // SAFETY: the driver gave the memory, and nobody reads it any more.
        let _ =
            self.gpu.call("free memory of the host", || unsafe { result::free_host(self.address.cast()) });
    }
}

impl DeviceMemory {
    /// Starts to copy all values of locked memory to the device, from byte `offset` on; returns before it is done.
    ///
    /// # Errors
    /// [`GpuError::Call`] when they do not fit, or the driver refuses.
    pub fn upload_pinned(&mut self, offset: u64, values: &Pinned) -> Result<(), GpuError> {
        self.check(offset, values.values * size_of::<f32>(), "copy to")?;
        let (to, stream) = (self.address + offset, self.gpu.stream.cu_stream());
        // SAFETY: the memory holds that many values; it is not freed before the device is done.
        let from = unsafe { std::slice::from_raw_parts(values.address, values.values) };
        // SAFETY: it fits, as checked.
        self.gpu.call("copy to the GPU", || unsafe { result::memcpy_htod_async(to, from, stream) })
    }

    /// The address of the first byte on the device.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.slice.len() as u64
    }

    /// Copies values to the device, from byte `offset` on.
    ///
    /// # Errors
    /// [`GpuError::Call`] when they do not fit, or the driver refuses.
    pub fn upload<T: Plain>(&mut self, offset: u64, values: &[T]) -> Result<(), GpuError> {
        self.check(offset, size_of_val(values), "copy to")?;
        let (to, stream) = (self.address + offset, self.gpu.stream.cu_stream());
        // SAFETY: it fits, as checked; pageable memory is copied before the call returns.
        self.gpu.call("copy to the GPU", || unsafe { result::memcpy_htod_async(to, values, stream) })
    }

    /// Copies values from the device, from byte `offset` on, after everything that was started before; waits for it.
    ///
    /// # Errors
    /// [`GpuError::Call`] when there are not as many, [`GpuError::Lost`] for what went wrong before.
    pub fn download<T: Plain>(&self, offset: u64, values: &mut [T]) -> Result<(), GpuError> {
        self.check(offset, size_of_val(values), "copy from")?;
        let (from, stream) = (self.address + offset, self.gpu.stream.cu_stream());
        // SAFETY: it fits, as checked, and any bytes are values.
        self.gpu.call("copy from the GPU", || unsafe { result::memcpy_dtoh_async(values, from, stream) })?;
        self.gpu.synchronize()
    }

    fn check(&self, offset: u64, bytes: usize, verb: &str) -> Result<(), GpuError> {
        match offset.checked_add(bytes as u64) {
            Some(end) if end <= self.bytes() => Ok(()),
            _ => Err(GpuError::Call {
                doing: format!("{verb} the GPU"),
                name: format!("{bytes} bytes at {offset} of {}", self.bytes()),
                words: None,
            }),
        }
    }
}

/// Numbers of which every combination of bits is one.
pub trait Plain: Copy {}

impl Plain for u8 {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for f32 {}
impl Plain for f64 {}
