//! The few functions the pictures need, from operations that IEEE 754 defines to the last bit.
//!
//! Only `+ - * /`, square roots, `floor` and conversions are used on f64 in the demo set: their results are the same on every machine, whereas
//! `sin`, `exp` or `powf` come from the system's library and differ in the last place.

/// A sine whose argument is in turns (1 is a full circle), within 0.0012 of the true one: a parabola through the zeros and the extremes, corrected
/// by its own square.
pub(super) fn sine(turns: f64) -> f64 {
    let phase = turns - turns.floor();
    let parabola = |t: f64| {
        let p = 16.0 * t * (0.5 - t);
        p * (0.775 + 0.225 * p)
    };
    if phase < 0.5 { parabola(phase) } else { -parabola(phase - 0.5) }
}

/// A unit vector in the direction of `turns`.
pub(super) fn direction(turns: f64) -> (f64, f64) {
    let (x, y) = (sine(turns + 0.25), sine(turns));
    let length = (x * x + y * y).sqrt();
    (x / length, y / length)
}

/// From 0 to 1 with flat ends, for arguments from 0 to 1.
pub(super) fn smooth(t: f64) -> f64 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// The fractional part, from 0 to 1.
pub(super) fn fraction(x: f64) -> f64 {
    x - x.floor()
}

/// A colour as fractions of the 8-bit range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Colour(pub(super) [f64; 3]);

impl Colour {
    /// A colour of that lightness, moved towards warm (red against blue) and green (against magenta). Natural images vary mostly in lightness, less in
    /// warmth, least in green: choosing colours on these axes correlates the channels as photographs do.
    pub(super) fn natural(lightness: f64, warm: f64, green: f64) -> Self {
        Self([
            lightness + 0.5 * warm - 0.25 * green,
            lightness + 0.05 * warm + 0.35 * green,
            lightness - 0.6 * warm - 0.25 * green,
        ])
    }

    /// The colour lighter or darker by a factor.
    pub(super) fn times(self, factor: f64) -> Self {
        Self(self.0.map(|value| value * factor))
    }

    /// The way from this colour to another, 0 to 1.
    pub(super) fn towards(self, other: Self, share: f64) -> Self {
        let Self([r, g, b]) = self;
        let Self([s, h, c]) = other;
        Self([r + (s - r) * share, g + (h - g) * share, b + (c - b) * share])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sine_is_near_the_true_one_and_exact_where_it_matters() {
        for step in -400..400 {
            let turns = f64::from(step) / 97.0;
            assert!((sine(turns) - (turns * std::f64::consts::TAU).sin()).abs() < 0.0012, "{turns}");
        }
        assert_eq!((sine(0.0), sine(0.25), sine(0.5), sine(0.75)), (0.0, 1.0, 0.0, -1.0));
    }
}
