//! What kernels are told: the twins of the structures in `kernels/params.cuh`, which has the descriptions of the fields.

/// The most ranges that a convolution reads.
pub const MAX_SOURCES: usize = 8;
/// The most ranges of output channels that are finished differently.
pub const MAX_PARTS: usize = 8;
/// The most values that are summed at once.
pub const MAX_INPUTS: usize = 4;

/// A structure that a kernel takes by value.
///
/// # Safety
/// The type is `repr(C)`, has no padding that is not named, and is laid out as the kernel's.
pub unsafe trait Params: Copy {}

/// The bytes of a structure that kernels take.
pub fn bytes_of<T: Params>(params: &T) -> &[u8] {
    // SAFETY: `Params` promises `repr(C)` without padding, so every byte is initialised; the slice lives as long as `params`.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(params).cast::<u8>(), size_of::<T>()) }
}

macro_rules! params {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        #[expect(missing_docs, reason = "the fields are described where the kernels are")]
        pub struct $name { $(pub $field: $type,)* }

        // SAFETY: `repr(C)`, fields in the order of the kernels' structure; gaps are named `unused`.
        unsafe impl Params for $name {}
    )*};
}

params! {
    /// A range of channels that is read.
    Source { address: u64, pixel: i32, channels: i32, }

    /// What a value is combined with.
    Operand { address: u64, pixel: i32, unused: i32, }

    /// What is done to a range of output channels.
    Part {
        start: i32, channels: i32, written: i32, activation: i32, slope: f32, mask_slope: f32,
        before: Operand, after: Operand, mask: Operand,
    }

    /// A convolution or its input gradient.
    Convolution {
        sources: [Source; MAX_SOURCES], parts: [Part; MAX_PARTS],
        weights: u64, bias: u64, target: u64,
        target_pixel: i32, target_f32: i32, source_count: i32, part_count: i32,
        images: i32, height: i32, width: i32, input_height: i32, input_width: i32,
        in_channels: i32, out_channels: i32, kernel: i32, stride: i32, padding: i32, groups: i32,
        input_gradient: i32,
    }

    /// Weights for [`Convolution`].
    Pack {
        weight: u64, bias: u64, packed: u64, packed_bias: u64,
        in_channels: i32, out_channels: i32, kernel: i32, input_gradient: i32, block: i32, blocks: i32,
        source_count: i32, source_channels: [i32; MAX_SOURCES], unused: i32,
    }

    /// Sums of a weight's gradient.
    WeightGradient {
        inputs: [Source; MAX_SOURCES], gradients: [Source; MAX_SOURCES],
        sums: u64, bias_sums: u64,
        input_count: i32, gradient_count: i32,
        images: i32, height: i32, width: i32, input_height: i32, input_width: i32,
        in_channels: i32, out_channels: i32, kernel: i32, stride: i32, padding: i32, groups: i32,
        splits: i32,
    }

    /// The sum of those sums.
    Finish { sums: u64, target: u64, count: i32, splits: i32, }

    /// Weights as a library wants them.
    Filter {
        weight: u64, filter: u64, bias: u64, padded_bias: u64,
        outputs: i32, inputs: i32, kernel: i32, padded_outputs: i32, padded_inputs: i32, unused: i32,
    }

    /// Value by value.
    Elementwise {
        inputs: [Operand; MAX_INPUTS], part: Part, bias: u64, target: u64, target_pixel: i32, input_count: i32, pixels: u64,
    }

    /// From one size to another.
    Spatial {
        input: Operand, other: Operand, target: u64,
        target_pixel: i32, images: i32, input_height: i32, input_width: i32, height: i32, width: i32,
        channels: i32, factor: i32, kernel: i32, stride: i32,
    }

    /// Between planes and NHWC.
    Ends {
        planes: u64, values: u64, finite: u64,
        pixel: i32, images: i32, channels: i32, height: i32, width: i32, factor: i32,
        data_range: f32, unused: i32,
    }

    /// L1 loss and gradient.
    Loss {
        sr: u64, hr: u64, gradient: u64, row_sums: u64, total: u64,
        sr_pixel: i32, gradient_pixel: i32, images: i32, channels: i32, height: i32, width: i32, factor: i32,
        unit: f32,
    }

    /// One Adam update.
    Adam {
        weights: u64, gradients: u64, first: u64, second: u64, step: u64, loss: u64, finite: u64,
        count: i32, unused: i32,
    }

    /// The numbers of one update.
    AdamStep { step_size: f32, root_correction: f32, lerp: f32, decay: f32, gain: f32, epsilon: f32, }

    /// All branches and what they are folded into.
    Fold {
        tensors: u64, branches: u64, blocks: u64, expanded: u64, folded: u64,
        tensor_count: i32, block_count: i32,
    }

    /// A folded weight or bias.
    Folded {
        first: u64, channels: i32, in_channels: i32, kernel: i32, first_branch: i32, branch_count: i32, first_block: i32,
    }

    /// A branch of one.
    Branch { first: u64, kernel: i32, unused: i32, }

    /// One patch of a batch.
    Patch {
        lr: u64, hr: u64, lr_width: i32, lr_height: i32, x: i32, y: i32, augmentation: i32, unused: i32,
    }

    /// Where clocks go.
    Stamp { to: u64, multiprocessors: i32, unused: i32, }

    /// Patches as planes.
    Crop { patches: u64, values: u64, lr: u64, hr: u64, images: i32, side: i32, scale: i32, unused: i32, }
}
