//! The functions of cuDNN 9 that are called, by name, with the types of its headers `cudnn_graph.h`, `cudnn_ops.h` and `cudnn_cnn.h`.

use std::ffi::{CStr, c_char, c_int, c_void};

use libloading::Library;

/// `cudnnStatus_t`.
pub(super) type Status = c_int;
/// `cudnnHandle_t` and all descriptors: pointers to what only the library knows.
pub(super) type Handle = *mut c_void;

pub(super) const SUCCESS: Status = 0;
/// `CUDNN_TENSOR_NHWC`.
pub(super) const NHWC: c_int = 1;
/// `CUDNN_CROSS_CORRELATION`: what convolutions of neural networks are.
pub(super) const CROSS_CORRELATION: c_int = 1;

/// `cudnnDataType_t`.
pub(super) mod data {
    use super::c_int;

    pub(in super::super) const FLOAT: c_int = 0;
    pub(in super::super) const HALF: c_int = 2;
    pub(in super::super) const BFLOAT16: c_int = 9;
}

/// `cudnnMathType_t`.
pub(super) mod math {
    use super::c_int;

    /// Tensor cores, with TF32 for f32.
    pub(in super::super) const TENSOR_OP: c_int = 1;
    /// No tensor cores, so that f32 is f32.
    pub(in super::super) const FMA: c_int = 3;
}

macro_rules! functions {
    ($($field:ident: $symbol:literal($($type:ty),*) -> $result:ty;)*) => {
        /// Its functions.
        pub(super) struct Api { $(pub(super) $field: unsafe extern "C" fn($($type),*) -> $result,)* }

        impl Api {
            /// Looks all of them up, in a library that stays loaded.
            ///
            /// # Errors
            /// The name of one that it lacks.
            pub(super) fn of(library: &'static Library) -> Result<Self, &'static str> {
                Ok(Self {
                    // SAFETY: the type is that of cuDNN's headers.
                    $($field: *unsafe { library.get::<unsafe extern "C" fn($($type),*) -> $result>($symbol.as_bytes()) }
                        .map_err(|_| $symbol)?,)*
                })
            }
        }
    };
}

functions! {
    error_string: "cudnnGetErrorString"(Status) -> *const c_char;
    create: "cudnnCreate"(*mut Handle) -> Status;
    destroy: "cudnnDestroy"(Handle) -> Status;
    set_stream: "cudnnSetStream"(Handle, *mut c_void) -> Status;
    create_tensor: "cudnnCreateTensorDescriptor"(*mut Handle) -> Status;
    set_tensor: "cudnnSetTensor4dDescriptorEx"(Handle, c_int, c_int, c_int, c_int, c_int, c_int, c_int, c_int, c_int) -> Status;
    destroy_tensor: "cudnnDestroyTensorDescriptor"(Handle) -> Status;
    create_filter: "cudnnCreateFilterDescriptor"(*mut Handle) -> Status;
    set_filter: "cudnnSetFilter4dDescriptor"(Handle, c_int, c_int, c_int, c_int, c_int, c_int) -> Status;
    destroy_filter: "cudnnDestroyFilterDescriptor"(Handle) -> Status;
    create_convolution: "cudnnCreateConvolutionDescriptor"(*mut Handle) -> Status;
    set_convolution: "cudnnSetConvolution2dDescriptor"(Handle, c_int, c_int, c_int, c_int, c_int, c_int, c_int, c_int) -> Status;
    set_math: "cudnnSetConvolutionMathType"(Handle, c_int) -> Status;
    set_groups: "cudnnSetConvolutionGroupCount"(Handle, c_int) -> Status;
    destroy_convolution: "cudnnDestroyConvolutionDescriptor"(Handle) -> Status;
    forward_bytes: "cudnnGetConvolutionForwardWorkspaceSize"(Handle, Handle, Handle, Handle, Handle, c_int, *mut usize) -> Status;
    input_gradient_bytes: "cudnnGetConvolutionBackwardDataWorkspaceSize"(Handle, Handle, Handle, Handle, Handle, c_int, *mut usize) -> Status;
    weight_gradient_bytes: "cudnnGetConvolutionBackwardFilterWorkspaceSize"(Handle, Handle, Handle, Handle, Handle, c_int, *mut usize) -> Status;
    forward: "cudnnConvolutionForward"(
        Handle, *const c_void, Handle, *const c_void, Handle, *const c_void, Handle, c_int, *mut c_void, usize, *const c_void, Handle, *mut c_void
    ) -> Status;
    input_gradient: "cudnnConvolutionBackwardData"(
        Handle, *const c_void, Handle, *const c_void, Handle, *const c_void, Handle, c_int, *mut c_void, usize, *const c_void, Handle, *mut c_void
    ) -> Status;
    weight_gradient: "cudnnConvolutionBackwardFilter"(
        Handle, *const c_void, Handle, *const c_void, Handle, *const c_void, Handle, c_int, *mut c_void, usize, *const c_void, Handle, *mut c_void
    ) -> Status;
}

impl Api {
    /// The library's name of a status, e.g. `CUDNN_STATUS_NOT_SUPPORTED`.
    pub(super) fn words(&self, status: Status) -> String {
        // SAFETY: it takes any number and returns a constant text, or nothing.
        let text = unsafe { (self.error_string)(status) };
        if text.is_null() {
            return format!("cuDNN's status {status}");
        }
        // SAFETY: the text ends with a zero and is never freed.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }
}
