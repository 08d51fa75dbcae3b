//! One type for all that kernels are told.

use super::launch::convolution::{Family, named};
use super::rebase::{Addresses, moved};
use crate::engine::cuda::host::{HostMemory, Outside};
use crate::engine::cuda::twin::{convolution, elementwise, ends, gradient, library, spatial, training};
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
                match self { $(Self::$name(params) => params::bytes_of(params).to_vec(),)* }
            }

            /// Where the structure lies, for the driver.
            pub(in crate::engine::cuda) fn address(&self) -> *const std::ffi::c_void {
                match self { $(Self::$name(params) => std::ptr::from_ref(params).cast(),)* }
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
    Convolution, Pack, WeightGradient, Finish, Filter, Elementwise, Spatial, Ends, Loss, Adam, Fold, Crop, Stamp,
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
        if let (Self::Convolution(p), Some((family, block))) = (self, named(kernel)) {
            return Ok(convolution::packed(memory, math, p, family, block)?);
        }
        match (self, kernel) {
            (Self::Convolution(p), "convolution_direct") => convolution::direct(memory, math, p)?,
            (Self::Pack(p), "pack_weights") => convolution::pack(memory, math, p, Family::Ampere)?,
            (Self::Pack(p), "pack_weights_hopper") => convolution::pack(memory, math, p, Family::Hopper)?,
            (Self::Elementwise(p), "sum") => elementwise::sum(memory, math, p)?,
            (Self::Elementwise(p), "product") => elementwise::product(memory, math, p)?,
            (Self::Elementwise(p), "sigmoid") => elementwise::sigmoid(memory, math, p)?,
            (Self::Elementwise(p), "sigmoid_gradient") => elementwise::sigmoid_gradient(memory, math, p)?,
            (Self::Spatial(p), "pixel_shuffle") => spatial::pixel_shuffle(memory, math, p)?,
            (Self::Spatial(p), "pixel_unshuffle") => spatial::pixel_unshuffle(memory, math, p)?,
            (Self::Spatial(p), "max_pool") => spatial::max_pool(memory, math, p)?,
            (Self::Spatial(p), "max_pool_gradient") => spatial::max_pool_gradient(memory, math, p)?,
            (Self::Spatial(p), "resize_bilinear") => spatial::resize_bilinear(memory, math, p)?,
            (Self::Spatial(p), "resize_bilinear_gradient") => {
                spatial::resize_bilinear_gradient(memory, math, p)?
            }
            (Self::Ends(p), "load") => ends::load(memory, math, p)?,
            (Self::Ends(p), "store") => ends::store(memory, p)?,
            (Self::Ends(p), "store_image") => ends::store_image(memory, p)?,
            (Self::Loss(p), "loss") => ends::loss(memory, math, p)?,
            (Self::Loss(p), "loss_total") => ends::loss_total(memory, p)?,
            (Self::Adam(p), "all_finite") => training::all_finite(memory, p)?,
            (Self::Adam(p), "adam") => training::adam(memory, p)?,
            (Self::Fold(p), "fold") => training::fold(memory, p)?,
            (Self::Fold(p), "unfold") => training::unfold(memory, p)?,
            (Self::Crop(p), "crop") => training::crop(memory, p)?,
            (Self::WeightGradient(p), "weight_gradient_3" | "weight_gradient_1") => {
                gradient::weight_gradient(memory, math, p)?;
            }
            (Self::WeightGradient(p), "weight_gradient_direct") => {
                gradient::weight_gradient_direct(memory, math, p)?;
            }
            (Self::WeightGradient(p), "bias_gradient") => gradient::bias_gradient(memory, math, p)?,
            (Self::Filter(p), "pack_filter") => library::pack_filter(memory, math, p)?,
            (Self::Filter(p), "unpack_filter") => library::unpack_filter(memory, math, p)?,
            (Self::Finish(p), "finish_gradient") => gradient::finish_gradient(memory, p)?,
            _ => return Err(TwinFailure::Unknown { kernel, params: self.name() }),
        }
        Ok(())
    }
}
