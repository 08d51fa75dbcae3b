//! The two number types the reference engine computes in.

use candle_core::WithDType;

use crate::graph::fold::Real;

/// f32 (what models run in) or f64 (the oracle's oracle).
pub trait Float:
    Real
    + WithDType
    + Send
    + Sync
    + PartialOrd
    + std::ops::Sub<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + 'static
{
    /// The nearest value to an f64.
    fn of(value: f64) -> Self;
    /// The value as f64, exactly.
    fn wide(self) -> f64;
}

impl Float for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Float for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn wide(self) -> f64 {
        self
    }
}
