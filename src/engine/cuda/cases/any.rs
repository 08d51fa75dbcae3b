//! One type for all that kernels are told.

use super::rebase::{Addresses, moved};
use crate::engine::cuda::host::{HostMemory, Outside};
use crate::engine::cuda::twin::{convolution, gradient};
use crate::engine::cuda::{Math, params};

/// What a twin could not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TwinFailure {
    /// The case is wrong: it makes its kernel leave its memory.
    #[error(transparent)]
    Outside(#[from] Outside),
    /// The case names a kernel that does not take such parameters.
    #[error("kernel `{kernel}` has no twin that takes `{params}`: the case is wrong, or the twin is missing")]
    Unknown {
        /// The kernel's name.
        kernel: &'static str,
        /// The name of the structure.
        params: &'static str,
    },
}

macro_rules! any {
    ($($name:ident),* $(,)?) => {
        /// What one launch is told.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[expect(missing_docs, reason = "the structures are described where the kernels are")]
        #[expect(clippy::large_enum_variant, reason = "a case has a handful of them")]
        pub enum AnyParams { $($name(params::$name),)* }

        $(impl From<params::$name> for AnyParams {
            fn from(params: params::$name) -> Self { Self::$name(params) }
        })*

        impl AnyParams {
            /// The structure's bytes, as a kernel's parameter.
            pub fn bytes(&self) -> Vec<u8> {
                match self { $(Self::$name(params) => bytes_of(params),)* }
            }

            /// The same with every address that is not 0 moved: memory that began at `from` begins at `to`.
            #[must_use]
            pub fn rebase(&self, from: u64, to: u64) -> Self {
                let mut all = *self;
                match &mut all { $(Self::$name(params) => params.readdress(&|address| moved(address, from, to)),)* }
                all
            }

            /// The structure's name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }
        }
    };
}

any! {
    Convolution, Pack, WeightGradient, Finish, Elementwise, Spatial, Ends, Loss, Adam, Fold, Crop,
}

/// The bytes of a structure that kernels take.
fn bytes_of<T: params::Params>(params: &T) -> Vec<u8> {
    // SAFETY: `Params` promises `repr(C)` without padding, so every byte is initialised; the slice lives no longer than `params`.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(params).cast::<u8>(), size_of::<T>()) }.to_vec()
}

impl AnyParams {
    /// Does to `memory` what a kernel does, by its plain twin.
    ///
    /// # Errors
    /// [`TwinFailure`]
    pub fn run_twin(
        &self,
        kernel: &'static str,
        math: Math,
        memory: &mut HostMemory,
    ) -> Result<(), TwinFailure> {
        match (self, kernel) {
            (Self::Convolution(p), "convolution_n16") => convolution::packed(memory, math, p, 16)?,
            (Self::Convolution(p), "convolution_n32") => convolution::packed(memory, math, p, 32)?,
            (Self::Convolution(p), "convolution_n48") => convolution::packed(memory, math, p, 48)?,
            (Self::Convolution(p), "convolution_n64") => convolution::packed(memory, math, p, 64)?,
            (Self::Convolution(p), "convolution_direct") => convolution::direct(memory, math, p)?,
            (Self::Pack(p), "pack_weights") => convolution::pack(memory, math, p)?,
            (Self::WeightGradient(p), "weight_gradient_3" | "weight_gradient_1") => {
                gradient::weight_gradient(memory, math, p)?;
            }
            (Self::WeightGradient(p), "weight_gradient_direct") => {
                gradient::weight_gradient_direct(memory, math, p)?;
            }
            (Self::Finish(p), "finish_gradient") => gradient::finish_gradient(memory, p)?,
            _ => return Err(TwinFailure::Unknown { kernel, params: self.name() }),
        }
        Ok(())
    }
}
