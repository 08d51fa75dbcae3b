//! Convolutions as cuDNN is asked for them, over NHWC values whose pixels may have other channels between them.

use std::ffi::{c_int, c_void};
use std::sync::{Arc, PoisonError};

use super::api::{CROSS_CORRELATION, Handle, NHWC, Status, data, math};
use super::library::Cudnn;
use crate::gpu::driver::GpuError;

/// Which of the three a convolution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// y from x and the filter.
    Forward,
    /// The gradient of x from that of y and the filter.
    InputGradient,
    /// The gradient of the filter from x and the gradient of y.
    WeightGradient,
}

impl Pass {
    /// How many algorithms cuDNN 9 numbers, from 0 on; each serves some shapes only.
    pub fn algorithms(self) -> u32 {
        match self {
            Self::Forward => 8,
            Self::InputGradient => 6,
            Self::WeightGradient => 7,
        }
    }
}

/// How values are stored and multiplied; sums are in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// f32 by fused multiply-adds.
    F32,
    /// f32 with factors rounded to TF32.
    Tf32,
    /// f16.
    F16,
    /// bf16.
    Bf16,
}

impl Arithmetic {
    fn data(self) -> c_int {
        match self {
            Self::F32 | Self::Tf32 => data::FLOAT,
            Self::F16 => data::HALF,
            Self::Bf16 => data::BFLOAT16,
        }
    }

    fn math(self) -> c_int {
        match self {
            Self::F32 => math::FMA,
            Self::Tf32 | Self::F16 | Self::Bf16 => math::TENSOR_OP,
        }
    }
}

/// Values of a batch: NHWC, without gaps between rows or images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// Images.
    pub images: i32,
    /// Height in pixels.
    pub height: i32,
    /// Width in pixels.
    pub width: i32,
    /// Channels that are read or written.
    pub channels: i32,
    /// Elements from one pixel to the next.
    pub pixel: i32,
}

/// A convolution's shape. The filter is OHWI, with the inputs of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// What is asked for.
    pub pass: Pass,
    /// How it is computed.
    pub arithmetic: Arithmetic,
    /// x, or its gradient.
    pub x: Tensor,
    /// y, or its gradient.
    pub y: Tensor,
    /// Side of the square kernel.
    pub kernel: i32,
    /// In both directions.
    pub stride: i32,
    /// On all sides.
    pub padding: i32,
    /// Groups of channels.
    pub groups: i32,
}

/// Addresses on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The first value of x.
    pub x: u64,
    /// The first value of the filter.
    pub filter: u64,
    /// The first value of y.
    pub y: u64,
    /// Memory that is overwritten.
    pub workspace: u64,
    /// Bytes of it.
    pub workspace_bytes: u64,
}

/// A convolution that cuDNN was told of.
pub struct Convolution {
    cudnn: Arc<Cudnn>,
    pass: Pass,
    x: Handle,
    y: Handle,
    filter: Handle,
    convolution: Handle,
}

// SAFETY: descriptors are only read after they were set, and every call with them is made under the handle's lock.
unsafe impl Send for Convolution {}
// SAFETY: as above.
unsafe impl Sync for Convolution {}

impl Convolution {
    /// Describes a convolution.
    ///
    /// # Errors
    /// [`GpuError::Call`] for what no cuDNN computes.
    pub fn new(cudnn: &Arc<Cudnn>, shape: &Shape) -> Result<Self, GpuError> {
        let none: Handle = std::ptr::null_mut();
        let mut new = Self {
            cudnn: cudnn.clone(),
            pass: shape.pass,
            x: none,
            y: none,
            filter: none,
            convolution: none,
        };
        let check = |status: Status| cudnn.check("describe a convolution", status);
        let api = &cudnn.api;
        // SAFETY: each writes one descriptor, which is destroyed when `new` is dropped.
        unsafe {
            check((api.create_tensor)(&raw mut new.x))?;
            check((api.create_tensor)(&raw mut new.y))?;
            check((api.create_filter)(&raw mut new.filter))?;
            check((api.create_convolution)(&raw mut new.convolution))?;
        }
        let number = shape.arithmetic.data();
        for (descriptor, tensor) in [(new.x, shape.x), (new.y, shape.y)] {
            let Tensor { images, height, width, channels, pixel } = tensor;
            let row = pixel.saturating_mul(width);
            let image = row.saturating_mul(height);
            // SAFETY: the descriptor was made above; all else are numbers.
            check(unsafe {
                (api.set_tensor)(descriptor, number, images, channels, height, width, image, 1, row, pixel)
            })?;
        }
        let Shape { kernel, stride, padding, groups, .. } = *shape;
        let inputs = shape.x.channels / groups.max(1);
        // SAFETY: as above.
        unsafe {
            check((api.set_filter)(new.filter, number, NHWC, shape.y.channels, inputs, kernel, kernel))?;
            let dilation = 1;
            check((api.set_convolution)(
                new.convolution,
                padding,
                padding,
                stride,
                stride,
                dilation,
                dilation,
                CROSS_CORRELATION,
                data::FLOAT,
            ))?;
            check((api.set_math)(new.convolution, shape.arithmetic.math()))?;
            check((api.set_groups)(new.convolution, groups))?;
        }
        Ok(new)
    }

    /// Bytes of memory that an algorithm needs besides; `None` where it does not serve this shape.
    pub fn workspace_bytes(&self, algorithm: u32) -> Option<u64> {
        let (api, algorithm) = (&self.cudnn.api, c_int::try_from(algorithm).ok()?);
        self.cudnn.gpu.bind().ok()?;
        let handle = self.cudnn.handle.lock().unwrap_or_else(PoisonError::into_inner);
        let (h, x, y, w, c) = (handle.0, self.x, self.y, self.filter, self.convolution);
        let mut bytes = 0usize;
        let to = &raw mut bytes;
        // SAFETY: the handle and the descriptors are alive, and the number outlives the call.
        let status = unsafe {
            match self.pass {
                Pass::Forward => (api.forward_bytes)(h, x, w, c, y, algorithm, to),
                Pass::InputGradient => (api.input_gradient_bytes)(h, w, y, c, x, algorithm, to),
                Pass::WeightGradient => (api.weight_gradient_bytes)(h, x, y, c, w, algorithm, to),
            }
        };
        self.cudnn.check("ask", status).ok().map(|()| bytes as u64)
    }

    /// Puts the convolution behind everything that was started so far; returns before it is done.
    ///
    /// # Errors
    /// [`GpuError::Call`] where cuDNN refuses, [`GpuError::Lost`] for what went wrong before.
    ///
    /// # Safety
    /// What the addresses say of memory is true until the convolution is done.
    pub unsafe fn start(&self, algorithm: u32, at: &Addresses) -> Result<(), GpuError> {
        let (api, algorithm) = (&self.cudnn.api, c_int::try_from(algorithm).unwrap_or(c_int::MAX));
        self.cudnn.gpu.bind()?;
        let handle = self.cudnn.handle.lock().unwrap_or_else(PoisonError::into_inner);
        let (one, zero) = (1.0f32, 0.0f32);
        let (alpha, beta) = (std::ptr::from_ref(&one).cast(), std::ptr::from_ref(&zero).cast());
        let (h, x, y, w, c) = (handle.0, self.x, self.y, self.filter, self.convolution);
        let [x_at, y_at, w_at, space] =
            [at.x, at.y, at.filter, at.workspace].map(|address| address as usize as *mut c_void);
        let bytes = usize::try_from(at.workspace_bytes).unwrap_or(0);
        // SAFETY: the handle and the descriptors are alive; the caller promises the memory.
        let status = unsafe {
            match self.pass {
                Pass::Forward => {
                    (api.forward)(h, alpha, x, x_at, w, w_at, c, algorithm, space, bytes, beta, y, y_at)
                }
                Pass::InputGradient => (api.input_gradient)(
                    h, alpha, w, w_at, y, y_at, c, algorithm, space, bytes, beta, x, x_at,
                ),
                Pass::WeightGradient => (api.weight_gradient)(
                    h, alpha, x, x_at, y, y_at, c, algorithm, space, bytes, beta, w, w_at,
                ),
            }
        };
        self.cudnn.check("start a convolution", status)
    }
}

impl Drop for Convolution {
    fn drop(&mut self) {
        let api = &self.cudnn.api;
        // SAFETY: what is not null was made by this library and is used by nobody any more.
        unsafe {
            for tensor in [self.x, self.y].into_iter().filter(|tensor| !tensor.is_null()) {
                (api.destroy_tensor)(tensor);
            }
            if !self.filter.is_null() {
                (api.destroy_filter)(self.filter);
            }
            if !self.convolution.is_null() {
                (api.destroy_convolution)(self.convolution);
            }
        }
    }
}
