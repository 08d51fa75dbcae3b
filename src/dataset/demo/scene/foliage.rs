//! Dead leaves: the picture whose statistics are closest to a photograph's.

use super::common::{Palette, pattern, polygon, somewhere, surface};
use crate::dataset::demo::arith::direction;
use crate::dataset::demo::canvas::Canvas;
use crate::dataset::demo::paint::{Light, Paint, Pattern};
use crate::dataset::demo::random::Random;
use crate::dataset::demo::shape::Shape;

/// Dead leaves: opaque shapes of all sizes over each other, as foliage, pebbles or crowds are.
pub(super) fn draw(canvas: &mut Canvas, random: &mut Random) {
    let palette = Palette::new(random);
    let leafy = random.chance(0.6);
    for _ in 0..1600 {
        let (centre, axis) = (somewhere(canvas, random), direction(random.unit()));
        let a = random.radius(7.0, 100.0);
        let b = a * random.within(0.35, 0.95);
        let mut paint = surface(&palette, random, centre, axis, (a, b));
        if a > 9.0 && random.chance(0.3) {
            paint.pattern = pattern(random, a);
        }
        let shape = match random.below(if leafy { 8 } else { 4 }) {
            0 => Shape::Rectangle { centre, axis, a, b },
            1 => Shape::Polygon(polygon(random, centre, a)),
            2 | 3 => {
                if random.chance(0.5) {
                    paint.light = Light::Ball { from: (-0.48, -0.6, 0.64) };
                }
                Shape::Ellipse { centre, axis, a, b }
            }
            _ => {
                if a > 14.0 {
                    paint.pattern = Pattern::Veins { period: random.within(7.0, 12.0) };
                    paint.second = paint.base.times(1.35);
                }
                Shape::Leaf { centre, axis, a, b: 0.7 * b }
            }
        };
        canvas.behind(shape, paint);
    }
    canvas.behind(Shape::Everywhere, Paint { grain: 0.3, ..Paint::plain(palette.pick(random).times(0.5)) });
}
