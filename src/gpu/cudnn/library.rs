//! A loaded cuDNN that computes in the stream of one device.

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::api::{Api, Handle, SUCCESS, Status};
use super::find::{Environment, Version, in_given, in_usual_places, load};
use crate::gpu::device::Gpu;
use crate::gpu::driver::GpuError;

/// Why a cuDNN cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cuDNN in {}: {reason}", file.display())]
pub struct Unavailable {
    /// The library's file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// A cuDNN for a device.
pub struct Cudnn {
    pub(super) api: Api,
    pub(super) gpu: Arc<Gpu>,
    /// cuDNN's own state for a device and a stream. It serves one thread at a time.
    pub(super) handle: Mutex<Shared>,
    version: Version,
    file: PathBuf,
}

/// What only cuDNN looks into.
pub(super) struct Shared(pub(super) Handle);

// SAFETY: a handle may be used by any thread, by one at a time.
unsafe impl Send for Shared {}

impl Cudnn {
    /// Loads the library of a file and prepares it for a device, which takes about a second.
    ///
    /// # Errors
    /// [`Unavailable`]
    pub fn open(gpu: &Arc<Gpu>, file: &Path) -> Result<Arc<Self>, Unavailable> {
        let unavailable = |reason: String| Unavailable { file: file.to_owned(), reason };
        let library = load(file).map_err(unavailable)?;
        let version = Version::of(library).map_err(unavailable)?;
        let api = Api::of(library).map_err(|name| unavailable(format!("it has no function {name}")))?;
        gpu.bind().map_err(|error| unavailable(error.to_string()))?;
        let mut handle: Handle = std::ptr::null_mut();
        let said = |status: Status| match status {
            SUCCESS => Ok(()),
            status => Err(unavailable(api.words(status))),
        };
        // SAFETY: it writes a handle.
        said(unsafe { (api.create)(&raw mut handle) })?;
        // SAFETY: the handle was just made, and the stream lives as long as the device, which this keeps.
        let told = said(unsafe { (api.set_stream)(handle, gpu.raw_stream().cast::<c_void>()) });
        // From here on it is destroyed when dropped.
        let cudnn = Self {
            gpu: gpu.clone(),
            handle: Mutex::new(Shared(handle)),
            version,
            file: file.to_owned(),
            api,
        };
        told.map(|()| Arc::new(cudnn))
    }

    /// The first that can be used of those in folders that the user names, or in the usual places where the user names none; and why others could not.
    pub fn find(gpu: &Arc<Gpu>, folders: &[PathBuf]) -> (Option<Arc<Self>>, Vec<Unavailable>) {
        let mut files = in_given(folders);
        if files.is_empty() && folders.is_empty() {
            files = in_usual_places(&Environment::here(), Path::new("/"));
        }
        let mut refused = Vec::new();
        for file in files {
            match Self::open(gpu, &file) {
                Ok(cudnn) => return (Some(cudnn), refused),
                Err(unavailable) => refused.push(unavailable),
            }
        }
        (None, refused)
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The file that it was loaded from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What a status means for a caller who was `doing` something.
    pub(super) fn check(&self, doing: &str, status: Status) -> Result<(), GpuError> {
        if status == SUCCESS {
            return Ok(());
        }
        Err(GpuError::Call {
            doing: format!("{doing} with cuDNN"),
            name: self.api.words(status),
            words: None,
        })
    }
}

impl Drop for Cudnn {
    fn drop(&mut self) {
        // What was started may still use the handle's memory. A device that is lost uses nothing any more, and there is nobody to tell.
        let _ = self.gpu.synchronize();
        let handle = self.handle.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        // SAFETY: the handle was made by this library and is used by nobody any more.
        unsafe { (self.api.destroy)(handle.0) };
    }
}
