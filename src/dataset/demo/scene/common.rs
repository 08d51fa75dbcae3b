//! What several kinds of pictures share: colours, surfaces, polygons, the sky.

use crate::dataset::demo::arith::{Colour, direction};
use crate::dataset::demo::canvas::Canvas;
use crate::dataset::demo::paint::{Light, Paint, Pattern};
use crate::dataset::demo::random::Random;
use crate::dataset::demo::shape::Shape;

/// A few related colours from which a picture takes most of its surfaces.
pub(super) struct Palette(Vec<Colour>);

impl Palette {
    pub(super) fn new(random: &mut Random) -> Self {
        let (warm, green) = (random.within(-0.12, 0.3), random.within(-0.08, 0.16));
        Self(
            (0..7)
                .map(|step| {
                    let lightness = 0.14 + 0.11 * f64::from(step) + random.within(-0.04, 0.04);
                    let (warm, green) = (warm + random.within(-0.16, 0.16), green + random.within(-0.1, 0.1));
                    Colour::natural(lightness, warm, green)
                })
                .collect(),
        )
    }

    pub(super) fn pick(&self, random: &mut Random) -> Colour {
        let colour = self.0.get(random.below(self.0.len())).copied();
        colour.unwrap_or(Colour([0.5; 3])).times(random.within(0.85, 1.15))
    }

    /// Two colours that differ visibly.
    pub(super) fn two(&self, random: &mut Random) -> (Colour, Colour) {
        let first = random.below(self.0.len());
        let second = (first + 2 + random.below(self.0.len() - 4)) % self.0.len();
        let at = |index: usize| self.0.get(index).copied().unwrap_or(Colour([0.5; 3]));
        (at(first).times(random.within(0.9, 1.1)), at(second).times(random.within(0.9, 1.1)))
    }
}

/// A pattern whose details are a few pixels wide, in proportion to a surface of that size.
pub(super) fn pattern(random: &mut Random, size: f64) -> Pattern {
    let period = random.within(0.12, 0.4) * size.clamp(24.0, 80.0);
    match random.below(7) {
        0 => Pattern::Stripes { period, share: random.within(0.25, 0.6) },
        1 => Pattern::Grating { period: period.max(5.0) },
        2 => Pattern::Checks { period: 1.4 * period },
        3 => Pattern::Dots { period: period.max(6.0), radius: random.within(0.22, 0.4) * period.max(6.0) },
        4 => Pattern::Wood { period },
        5 => Pattern::Weave { period: 0.6 * period.max(7.0) },
        _ => Pattern::Gradient,
    }
}

/// A surface with the picture's colours, its frame on the shape.
pub(super) fn surface(
    palette: &Palette,
    random: &mut Random,
    origin: (f64, f64),
    axis: (f64, f64),
    extent: (f64, f64),
) -> Paint {
    let (base, second) = palette.two(random);
    Paint {
        origin,
        axis,
        extent,
        base,
        second,
        grain: random.within(0.0, 0.14),
        grain_size: random.within(5.0, 16.0),
        seed: random.next(),
        light: Light::Slope { towards: (-0.6, -0.8), strength: random.within(0.05, 0.35) },
        ..Paint::plain(base)
    }
}

pub(super) fn somewhere(canvas: &Canvas, random: &mut Random) -> (f64, f64) {
    let (width, height) = canvas.size();
    (random.within(-20.0, width + 20.0), random.within(-20.0, height + 20.0))
}

/// A polygon of 3 to 7 corners about a point; a star now and then.
pub(super) fn polygon(random: &mut Random, centre: (f64, f64), radius: f64) -> Vec<(f64, f64)> {
    let (corners, turn, star) = (3 + random.below(5), random.unit(), random.chance(0.25));
    let count = if star { 2 * corners } else { corners };
    (0..count)
        .map(|corner| {
            let (dx, dy) = direction(turn + corner as f64 / count as f64);
            let reach = radius * if star && corner % 2 == 1 { 0.45 } else { random.within(0.8, 1.0) };
            (centre.0 + reach * dx, centre.1 + reach * dy)
        })
        .collect()
}

/// A sky with clouds behind everything.
pub(super) fn sky(canvas: &mut Canvas, random: &mut Random) {
    let blue = Colour::natural(random.within(0.5, 0.68), random.within(-0.32, -0.12), 0.02);
    let paint = Paint {
        second: Colour::natural(0.93, random.within(-0.02, 0.1), 0.0),
        pattern: Pattern::Clouds { size: random.within(90.0, 200.0), cover: random.within(0.1, 0.5) },
        seed: random.next(),
        ..Paint::plain(blue)
    };
    canvas.behind(Shape::Everywhere, paint);
}
