//! Shaded bodies with patterns on them.

use super::common::{Palette, pattern, surface};
use super::writing::{alphabet, text};
use crate::dataset::demo::arith::{Colour, direction};
use crate::dataset::demo::canvas::{Canvas, Shadow};
use crate::dataset::demo::paint::{Light, Paint, Pattern};
use crate::dataset::demo::random::Random;
use crate::dataset::demo::shape::Shape;

/// Balls, boxes and books on a table before a wall.
pub(super) fn draw(canvas: &mut Canvas, random: &mut Random) {
    let palette = Palette::new(random);
    let letters = alphabet(random);
    let (width, height) = canvas.size();
    let light = (-0.48, -0.6, 0.64);
    let edge = random.within(0.42, 0.55) * height;
    // From the front to the back, that is, from the bottom up.
    let objects = 9 + random.below(5);
    for object in 0..objects {
        let depth = object as f64 / objects as f64;
        let foot = height * 0.97 - (height * 0.9 - edge) * depth;
        let x = random.within(0.02, 0.98) * width;
        let a = random.within(20.0, 58.0) * (1.0 - 0.45 * depth);
        canvas.shadow(Shadow { centre: (x + 0.5 * a, foot), half: (1.7 * a, 0.45 * a), strength: 0.6 });
        if random.chance(0.55) {
            let (centre, axis) = ((x, foot - 0.85 * a), direction(random.unit()));
            let mut paint = surface(&palette, random, centre, axis, (a, a));
            paint.light = Light::Ball { from: light };
            if random.chance(0.6) {
                paint.pattern = pattern(random, a);
            }
            canvas.behind(Shape::Ellipse { centre, axis, a, b: a }, paint);
        } else {
            let tall = a * random.within(0.7, 1.7);
            let axis = direction(random.within(-0.02, 0.02));
            let centre = (x, foot - 0.7 * tall);
            let ink = Colour::natural(0.9, 0.03, 0.0);
            let size = random.within(9.0, 15.0);
            text(
                canvas,
                random,
                &letters,
                (x - 0.7 * a, centre.1 - 0.5 * tall, x + 0.8 * a, centre.1),
                size,
                axis,
                ink,
            );
            let side = vec![
                (x + 0.8 * a, centre.1 - 0.8 * tall),
                (x + 1.25 * a, centre.1 - 0.95 * tall),
                (x + 1.25 * a, centre.1 + 0.5 * tall),
                (x + 0.8 * a, centre.1 + 0.8 * tall),
            ];
            let mut front = surface(&palette, random, centre, axis, (a, tall));
            if random.chance(0.5) {
                front.pattern = pattern(random, a);
                front.second = front.base.towards(front.second, 0.5);
            }
            canvas.behind(Shape::Rectangle { centre, axis, a: 0.8 * a, b: 0.8 * tall }, front.clone());
            canvas.behind(
                Shape::Polygon(side),
                Paint { base: front.base.times(0.55), second: front.second.times(0.55), ..front },
            );
        }
    }
    let grain = direction(random.within(-0.02, 0.02));
    let mut table = surface(&palette, random, (0.0, height), grain, (width, height));
    table.pattern = Pattern::Wood { period: random.within(16.0, 30.0) };
    (table.base, table.second) = (Colour::natural(0.55, 0.2, 0.03), Colour::natural(0.33, 0.17, 0.01));
    canvas.ground(Shape::Ridge { base: edge, height: 0.0, width, seed: 0, octaves: 1 }, table);
    let mut wall = surface(&palette, random, (0.3 * width, 0.0), (1.0, 0.0), (width, height));
    wall.pattern = match random.below(3) {
        0 => Pattern::Bricks { length: 34.0, height: 14.0, joint: 2.2 },
        1 => Pattern::Stripes { period: random.within(18.0, 40.0), share: 0.5 },
        _ => Pattern::Clouds { size: 160.0, cover: 0.4 },
    };
    wall.second = wall.base.times(0.8);
    canvas.ground(Shape::Everywhere, wall);
}
