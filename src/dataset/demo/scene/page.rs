//! A printed page or a painted sign.

use super::common::{Palette, pattern, polygon, surface};
use super::writing::{alphabet, text};
use crate::dataset::demo::arith::{Colour, direction};
use crate::dataset::demo::canvas::Canvas;
use crate::dataset::demo::paint::{Light, Paint, Pattern};
use crate::dataset::demo::random::Random;
use crate::dataset::demo::shape::Shape;

/// Printed or painted writing of several sizes on paper, signs and tables, with a small picture among it.
pub(super) fn draw(canvas: &mut Canvas, random: &mut Random) {
    let palette = Palette::new(random);
    let letters = alphabet(random);
    let (width, height) = canvas.size();
    let tilt = direction(random.within(-0.02, 0.02));
    let dark = random.chance(0.25);
    let (paper, ink) = match dark {
        true => (Colour::natural(0.2, random.within(-0.15, 0.1), 0.02), Colour::natural(0.88, 0.04, 0.0)),
        false => (
            Colour::natural(0.88, random.within(0.0, 0.12), 0.01),
            Colour::natural(0.13, random.within(-0.1, 0.1), 0.0),
        ),
    };
    let accent = Colour::natural(0.45, random.within(-0.4, 0.4), 0.0);
    let column = random.within(0.5, 0.65) * width;
    let large = random.within(28.0, 44.0);
    text(canvas, random, &letters, (22.0, 18.0, width - 10.0, 20.0 + large), large, tilt, accent);
    let rule = Shape::Stroke {
        from: (20.0, 34.0 + large),
        to: (width - 30.0, 34.0 + large + 0.9 * width * tilt.1),
        start: 1.2,
        end: 1.2,
    };
    canvas.behind(rule, Paint::plain(ink));
    let body = random.within(12.0, 17.0);
    let body_top = 46.0 + large;
    text(canvas, random, &letters, (22.0, body_top, column - 12.0, 0.72 * height), body, tilt, ink);
    let note = random.within(9.0, 12.0);
    text(
        canvas,
        random,
        &letters,
        (22.0, 0.76 * height, column, height - 12.0),
        note,
        tilt,
        ink.towards(paper, 0.25),
    );
    // The picture: a framed still of a few shapes.
    let frame = (0.5 * (column + width) - 6.0, body_top + 62.0, 0.5 * (width - column) - 14.0, 56.0);
    let window = |x: f64, y: f64| (frame.0 + x * frame.2, frame.1 + y * frame.3);
    for _ in 0..9 {
        let centre = window(random.within(-0.6, 0.6), random.within(-0.4, 0.4));
        let a = random.within(8.0, 22.0);
        let axis = direction(random.unit());
        let mut paint = surface(&palette, random, centre, axis, (a, a));
        paint.pattern = pattern(random, a);
        let shape = match random.below(3) {
            0 => Shape::Polygon(polygon(random, centre, a)),
            1 => Shape::Rectangle { centre, axis, a, b: 0.6 * a },
            _ => {
                paint.light = Light::Ball { from: (-0.48, -0.6, 0.64) };
                Shape::Ellipse { centre, axis, a, b: a }
            }
        };
        canvas.behind(shape, paint);
    }
    let mut backdrop = surface(&palette, random, (frame.0, frame.1), (1.0, 0.0), (frame.2, frame.3));
    backdrop.pattern = Pattern::Gradient;
    canvas.behind(
        Shape::Rectangle { centre: (frame.0, frame.1), axis: (1.0, 0.0), a: frame.2, b: frame.3 },
        backdrop,
    );
    let caption = (frame.0 - frame.2, frame.1 + frame.3 + 8.0, frame.0 + frame.2, height - 10.0);
    text(canvas, random, &letters, caption, note, (1.0, 0.0), ink);
    let sheet = Paint {
        grain: 0.05,
        grain_size: 6.0,
        seed: random.next(),
        extent: (width, height),
        light: Light::Slope { towards: (-0.6, -0.8), strength: random.within(0.05, 0.25) },
        ..Paint::plain(paper)
    };
    let centre = (0.5 * width, 0.5 * height);
    canvas
        .behind(Shape::Rectangle { centre, axis: tilt, a: 0.5 * width - 4.0, b: 0.5 * height - 4.0 }, sheet);
    let wood = Paint {
        second: Colour::natural(0.3, 0.16, 0.02),
        pattern: Pattern::Wood { period: 15.0 },
        ..Paint::plain(Colour::natural(0.48, 0.2, 0.02))
    };
    canvas.behind(Shape::Everywhere, wood);
}
