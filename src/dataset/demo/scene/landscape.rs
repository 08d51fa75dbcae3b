//! Fine branches, grass and soft hills.

use super::common::sky;
use crate::dataset::demo::arith::{Colour, direction};
use crate::dataset::demo::canvas::Canvas;
use crate::dataset::demo::paint::{Paint, Pattern};
use crate::dataset::demo::random::Random;
use crate::dataset::demo::shape::Shape;

/// A tree of strokes: each branch carries two or three thinner ones, the last ones leaves.
fn branch(
    canvas: &mut Canvas,
    random: &mut Random,
    foot: (f64, f64),
    turn: f64,
    length: f64,
    pen: f64,
    (bark, leaf): (Colour, Colour),
) {
    let (dx, dy) = direction(turn);
    let tip = (foot.0 + length * dx, foot.1 + length * dy);
    if length < 9.0 {
        for _ in 0..3 {
            let axis = direction(random.unit());
            let centre = (tip.0 + random.within(-5.0, 5.0), tip.1 + random.within(-5.0, 5.0));
            let a = random.within(2.5, 5.5);
            canvas.behind(
                Shape::Leaf { centre, axis, a, b: 0.45 * a },
                Paint::plain(leaf.times(random.within(0.6, 1.35))),
            );
        }
    } else {
        for _ in 0..2 + random.below(2) {
            let (bend, shrink) = (random.within(-0.11, 0.11), random.within(0.6, 0.82));
            branch(canvas, random, tip, turn + bend, length * shrink, 0.66 * pen, (bark, leaf));
        }
    }
    let paint = Paint { grain: 0.35, grain_size: 5.0, ..Paint::plain(bark.times(random.within(0.8, 1.2))) };
    canvas.behind(Shape::Stroke { from: foot, to: tip, start: pen, end: 0.66 * pen }, paint);
}

/// Hills in haze, trees and grass.
pub(super) fn draw(canvas: &mut Canvas, random: &mut Random) {
    let (width, height) = canvas.size();
    let season = random.within(-0.05, 0.28);
    let leaf = Colour::natural(random.within(0.3, 0.42), season, random.within(0.02, 0.2));
    let meadow = Colour::natural(random.within(0.34, 0.5), 0.12, random.within(0.06, 0.2));
    for _ in 0..700 {
        let near = random.unit();
        let foot = (random.within(-5.0, width + 5.0), height * (1.02 - 0.16 * near * near));
        let tip = (foot.0 + random.within(-9.0, 9.0), foot.1 - random.within(9.0, 30.0) * (1.2 - near));
        let blade = Paint::plain(meadow.times(random.within(0.55, 1.4)));
        canvas.behind(Shape::Stroke { from: foot, to: tip, start: 1.3, end: 0.25 }, blade);
    }
    let bark = Colour::natural(0.2, random.within(0.02, 0.12), 0.0);
    for _ in 0..1 + random.below(3) {
        let foot = (random.within(0.05, 0.95) * width, random.within(0.8, 0.95) * height);
        let length = random.within(34.0, 56.0);
        let upwards = -0.25 + random.within(-0.02, 0.02);
        branch(canvas, random, foot, upwards, length, 0.1 * length, (bark, leaf));
    }
    // A fence or a path of stones along the meadow.
    for post in 0..14 {
        let foot = (f64::from(post) * 38.0 + random.within(-3.0, 3.0), 0.86 * height);
        let paint = Paint {
            grain: 0.3,
            grain_size: 4.0,
            seed: random.next(),
            ..Paint::plain(Colour::natural(0.5, 0.1, 0.01))
        };
        let centre = (foot.0, foot.1 - 12.0);
        canvas.behind(
            Shape::Rectangle { centre, axis: direction(random.within(-0.01, 0.01)), a: 2.4, b: 15.0 },
            paint,
        );
    }
    for rail in [0.8, 0.835] {
        let shape = Shape::Stroke {
            from: (-9.0, rail * height),
            to: (width + 9.0, (rail + 0.004) * height),
            start: 1.5,
            end: 1.5,
        };
        canvas.behind(
            shape,
            Paint { grain: 0.3, grain_size: 5.0, ..Paint::plain(Colour::natural(0.46, 0.1, 0.01)) },
        );
    }
    let haze = Colour::natural(0.75, -0.08, 0.0);
    let hills = 4 + random.below(3);
    for hill in 0..hills {
        let far = hill as f64 / hills as f64;
        let base = height * (0.82 - 0.42 * far);
        let ground = meadow.times(random.within(0.55, 1.1)).towards(haze, 0.9 * far);
        let paint = Paint {
            origin: (0.0, base),
            extent: (width, 60.0),
            second: ground.times(0.7),
            pattern: if hill == 0 {
                Pattern::Clouds { size: 30.0, cover: 0.3 }
            } else {
                Pattern::Clouds { size: 60.0, cover: 0.2 }
            },
            grain: 0.4 * (1.0 - far),
            grain_size: 9.0,
            seed: random.next(),
            ..Paint::plain(ground)
        };
        let ridge = Shape::Ridge {
            base,
            height: 14.0 + 46.0 * far,
            width: 60.0 + 130.0 * far,
            seed: random.next(),
            octaves: 6,
        };
        canvas.behind(ridge, paint);
    }
    sky(canvas, random);
}
