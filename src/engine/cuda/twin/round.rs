//! How factors are rounded before they are multiplied.

use crate::engine::cuda::Math;

/// Bits of an f32's mantissa that TF32 lacks.
const LOST_BITS: u32 = 13;

/// A stored value as a factor of a matrix product.
pub(super) fn factor(math: Math, value: f32) -> f64 {
    f64::from(if math == Math::Tf32 { tf32(value) } else { value })
}

/// Rounds to the nearest TF32 number, ties away from zero, as `cvt.rna.tf32.f32` does.
pub(super) fn tf32(value: f32) -> f32 {
    if !value.is_finite() {
        return value;
    }
    let bits = value.to_bits() + (1 << (LOST_BITS - 1));
    f32::from_bits(bits & !((1 << LOST_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::tf32;

    #[test]
    fn ties_go_away_from_zero() {
        let unit = 2f32.powi(-10);
        let rounded =
            [1.0, 1.0 + unit * 0.49, 1.0 + unit * 0.5, -1.0 - unit * 0.5, 1.0 + unit * 1.5].map(tf32);
        assert_eq!(rounded, [1.0, 1.0, 1.0 + unit, -1.0 - unit, 1.0 + unit * 2.0]);
        assert_eq!(tf32(f32::MAX), f32::INFINITY);
    }
}
