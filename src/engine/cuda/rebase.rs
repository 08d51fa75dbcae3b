//! Moves the addresses in what kernels are told: cases are prepared for made-up addresses and run at those that a device gives.

use crate::engine::cuda::params;

/// An address after memory that began at `from` begins at `to`; 0 stands for "none" and stays.
pub(super) fn moved(address: u64, from: u64, to: u64) -> u64 {
    if address == 0 { 0 } else { address.wrapping_sub(from).wrapping_add(to) }
}

/// Something with addresses in it.
pub(super) trait Addresses {
    /// Replaces every address.
    fn readdress(&mut self, by: &dyn Fn(u64) -> u64);
}

impl Addresses for u64 {
    fn readdress(&mut self, by: &dyn Fn(u64) -> u64) {
        *self = by(*self);
    }
}

impl<T: Addresses, const N: usize> Addresses for [T; N] {
    fn readdress(&mut self, by: &dyn Fn(u64) -> u64) {
        self.iter_mut().for_each(|one| one.readdress(by));
    }
}

macro_rules! addresses {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl Addresses for params::$name {
            fn readdress(&mut self, by: &dyn Fn(u64) -> u64) {
                $(self.$field.readdress(by);)*
            }
        }
    )*};
}

addresses! {
    Source { address }
    Operand { address }
    Part { before, after, mask }
    Convolution { sources, parts, weights, bias, target }
    Pack { weight, bias, packed, packed_bias }
    WeightGradient { inputs, gradients, sums, bias_sums }
    Finish { sums, target }
    Filter { weight, filter, bias, padded_bias }
    Elementwise { inputs, part, bias, target }
    Spatial { input, other, target }
    Ends { planes, values, finite }
    Loss { sr, hr, gradient, row_sums, total }
    Adam { weights, gradients, first, second, step, loss, finite }
    Fold { tensors, branches, blocks, expanded, folded }
    Crop { patches, values, lr, hr }
    Stamp { to }
}
