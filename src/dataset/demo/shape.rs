//! The outlines pictures are made of.

use super::random::fractal;

/// An outline in pixels of the picture, y down.
pub(super) enum Shape {
    /// Everything.
    Everywhere,
    /// An ellipse with half axes `a` along the unit vector `axis` and `b` across.
    Ellipse { centre: (f64, f64), axis: (f64, f64), a: f64, b: f64 },
    /// Where two discs overlap: a leaf with tips at distance `a` from the centre along `axis`, of half width `b` (less than `a`).
    Leaf { centre: (f64, f64), axis: (f64, f64), a: f64, b: f64 },
    /// A rectangle with half sides `a` along `axis` and `b` across.
    Rectangle { centre: (f64, f64), axis: (f64, f64), a: f64, b: f64 },
    /// A polygon, by the even-odd rule.
    Polygon(Vec<(f64, f64)>),
    /// A line from one point to another with round ends, of half width `start` to `end`.
    Stroke { from: (f64, f64), to: (f64, f64), start: f64, end: f64 },
    /// A circle drawn with a pen of half width `pen`; with `half`, only the part on the side of that vector.
    Ring { centre: (f64, f64), radius: f64, pen: f64, half: Option<(f64, f64)> },
    /// Everything below a rough line about `base`.
    Ridge { base: f64, height: f64, width: f64, seed: u64, octaves: u32 },
}

impl Shape {
    /// Whether a point lies inside.
    pub(super) fn contains(&self, x: f64, y: f64) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Ellipse { centre, axis, a, b } => {
                let (u, v) = local(*centre, *axis, x, y);
                let (u, v) = (u / a, v / b);
                u * u + v * v <= 1.0
            }
            Self::Leaf { centre, axis, a, b } => {
                // Both discs have the radius R with R - offset = b and R^2 - offset^2 = a^2.
                let (u, v) = local(*centre, *axis, x, y);
                let radius = (a * a + b * b) / (2.0 * b);
                let v = (if v < 0.0 { -v } else { v }) + radius - b;
                u * u + v * v <= radius * radius
            }
            Self::Rectangle { centre, axis, a, b } => {
                let (u, v) = local(*centre, *axis, x, y);
                -a <= u && u <= *a && -b <= v && v <= *b
            }
            Self::Polygon(corners) => {
                let mut inside = false;
                for (&(ax, ay), &(bx, by)) in corners.iter().zip(corners.iter().cycle().skip(1)) {
                    if (ay > y) != (by > y) && x < ax + (y - ay) / (by - ay) * (bx - ax) {
                        inside = !inside;
                    }
                }
                inside
            }
            Self::Stroke { from, to, start, end } => {
                let (dx, dy) = (to.0 - from.0, to.1 - from.1);
                let (px, py) = (x - from.0, y - from.1);
                let length = dx * dx + dy * dy;
                let along = if length > 0.0 { ((px * dx + py * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
                let (ex, ey) = (px - along * dx, py - along * dy);
                let pen = start + (end - start) * along;
                ex * ex + ey * ey <= pen * pen
            }
            Self::Ring { centre, radius, pen, half } => {
                let (u, v) = (x - centre.0, y - centre.1);
                let distance = (u * u + v * v).sqrt() - radius;
                half.is_none_or(|(hx, hy)| u * hx + v * hy >= 0.0) && -pen <= distance && distance <= *pen
            }
            Self::Ridge { base, height, width, seed, octaves } => {
                y >= base - height * fractal(*seed, x / width, 0.0, *octaves)
            }
        }
    }

    /// A box (left, top, right, bottom) that holds all of it.
    pub(super) fn bounds(&self) -> (f64, f64, f64, f64) {
        let around = |(x, y): (f64, f64), reach: f64| (x - reach, y - reach, x + reach, y + reach);
        match self {
            Self::Everywhere => (f64::MIN, f64::MIN, f64::MAX, f64::MAX),
            Self::Ellipse { centre, a, b, .. } | Self::Leaf { centre, a, b, .. } => {
                around(*centre, a.max(*b))
            }
            Self::Rectangle { centre, a, b, .. } => around(*centre, (a * a + b * b).sqrt()),
            Self::Polygon(corners) => corners
                .iter()
                .fold((f64::MAX, f64::MAX, f64::MIN, f64::MIN), |(left, top, right, bottom), &(x, y)| {
                    (left.min(x), top.min(y), right.max(x), bottom.max(y))
                }),
            Self::Stroke { from, to, start, end } => {
                let pen = start.max(*end);
                (
                    from.0.min(to.0) - pen,
                    from.1.min(to.1) - pen,
                    from.0.max(to.0) + pen,
                    from.1.max(to.1) + pen,
                )
            }
            Self::Ring { centre, radius, pen, .. } => around(*centre, radius + pen),
            Self::Ridge { base, height, .. } => (f64::MIN, base - height, f64::MAX, f64::MAX),
        }
    }
}

/// A point in a turned frame: along the axis and across it.
pub(super) fn local(centre: (f64, f64), axis: (f64, f64), x: f64, y: f64) -> (f64, f64) {
    let (dx, dy) = (x - centre.0, y - centre.1);
    (dx * axis.0 + dy * axis.1, dy * axis.0 - dx * axis.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_lies_outside_the_bounds() {
        let (centre, axis) = ((20.0, 15.0), (0.6, 0.8));
        let shapes = [
            Shape::Ellipse { centre, axis, a: 9.0, b: 4.0 },
            Shape::Leaf { centre, axis, a: 9.0, b: 4.0 },
            Shape::Rectangle { centre, axis, a: 9.0, b: 4.0 },
            Shape::Polygon(vec![(12.0, 8.0), (30.0, 11.0), (17.0, 25.0)]),
            Shape::Stroke { from: (10.0, 8.0), to: (25.0, 20.0), start: 3.0, end: 1.0 },
            Shape::Ring { centre, radius: 8.0, pen: 1.5, half: Some((1.0, 0.0)) },
            Shape::Ridge { base: 20.0, height: 6.0, width: 10.0, seed: 3, octaves: 3 },
        ];
        for (index, shape) in shapes.iter().enumerate() {
            let (left, top, right, bottom) = shape.bounds();
            let mut inside = 0;
            for step in 0..160 * 160 {
                let (x, y) = (f64::from(step % 160) / 4.0, f64::from(step / 160) / 4.0);
                if shape.contains(x, y) {
                    inside += 1;
                    assert!(left <= x && x <= right && top <= y && y <= bottom, "shape {index} at {x}, {y}");
                }
            }
            assert!(inside > 200, "shape {index} covers {inside} points");
        }
    }
}
