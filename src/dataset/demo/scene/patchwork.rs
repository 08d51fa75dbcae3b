//! Regular patterns in all directions.

use super::common::{Palette, pattern, polygon, somewhere, surface};
use crate::dataset::demo::arith::{Colour, direction};
use crate::dataset::demo::canvas::Canvas;
use crate::dataset::demo::paint::{Light, Paint, Pattern};
use crate::dataset::demo::random::Random;
use crate::dataset::demo::shape::Shape;

/// Pieces of cloth, tiles and paper side by side, with buttons and thread on them.
pub(super) fn draw(canvas: &mut Canvas, random: &mut Random) {
    let palette = Palette::new(random);
    let (width, height) = canvas.size();
    for _ in 0..26 {
        let (centre, a) = (somewhere(canvas, random), random.radius(6.0, 26.0));
        let mut paint = surface(&palette, random, centre, (1.0, 0.0), (a, a));
        paint.light = Light::Ball { from: (-0.48, -0.6, 0.64) };
        for (dx, dy) in [(-0.22, -0.22), (0.22, -0.22), (-0.22, 0.22), (0.22, 0.22)] {
            let hole = Shape::Ellipse {
                centre: (centre.0 + dx * a, centre.1 + dy * a),
                axis: (1.0, 0.0),
                a: 0.11 * a,
                b: 0.11 * a,
            };
            canvas.behind(hole, Paint::plain(Colour::natural(0.1, 0.02, 0.0)));
        }
        canvas.behind(
            Shape::Ring { centre, radius: 0.8 * a, pen: 0.05 * a, half: None },
            Paint::plain(paint.base.times(0.6)),
        );
        canvas.behind(Shape::Ellipse { centre, axis: (1.0, 0.0), a, b: a }, paint);
    }
    for _ in 0..8 {
        let thread = palette.pick(random).times(1.3);
        let mut at = somewhere(canvas, random);
        let mut turn = random.unit();
        for _ in 0..40 {
            turn += random.within(-0.06, 0.06);
            let (dx, dy) = direction(turn);
            let next = (at.0 + 8.0 * dx, at.1 + 8.0 * dy);
            canvas.behind(Shape::Stroke { from: at, to: next, start: 1.1, end: 1.1 }, Paint::plain(thread));
            at = next;
        }
    }
    for _ in 0..70 {
        let (centre, axis) = (somewhere(canvas, random), direction(random.unit()));
        let a = random.radius(26.0, 130.0);
        let b = a * random.within(0.5, 1.0);
        let mut paint = surface(&palette, random, centre, axis, (a, b));
        paint.pattern = match random.below(8) {
            0 => Pattern::Bricks {
                length: random.within(16.0, 40.0),
                height: random.within(8.0, 18.0),
                joint: random.within(1.2, 2.5),
            },
            1 => Pattern::Clouds { size: random.within(20.0, 60.0), cover: 0.2 },
            _ => pattern(random, a),
        };
        let shape = match random.below(3) {
            0 => Shape::Polygon(polygon(random, centre, a)),
            _ => Shape::Rectangle { centre, axis, a, b },
        };
        canvas.behind(shape, paint);
    }
    let thread = direction(random.unit());
    let mut ground = surface(&palette, random, (0.0, 0.0), thread, (width, height));
    ground.pattern = Pattern::Weave { period: random.within(5.0, 9.0) };
    canvas.behind(Shape::Everywhere, ground);
}
