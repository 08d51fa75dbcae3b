//! House fronts: straight edges and repeated windows.

use super::common::{Palette, sky, surface};
use crate::dataset::demo::arith::Colour;
use crate::dataset::demo::canvas::Canvas;
use crate::dataset::demo::paint::{Light, Paint, Pattern};
use crate::dataset::demo::random::Random;
use crate::dataset::demo::shape::Shape;

/// Streets of house fronts with windows under a sky, cables and lamps before them.
pub(super) fn draw(canvas: &mut Canvas, random: &mut Random) {
    let palette = Palette::new(random);
    let (width, height) = canvas.size();
    let level = (1.0, 0.0);
    for _ in 0..random.below(4) {
        let (from, to) = (random.within(0.0, 0.5) * height, random.within(0.0, 0.6) * height);
        let cable = Shape::Stroke { from: (-5.0, from), to: (width + 5.0, to), start: 0.6, end: 0.9 };
        canvas.behind(cable, Paint::plain(Colour::natural(0.1, 0.0, 0.0)));
    }
    for _ in 0..2 + random.below(3) {
        let foot = (random.within(0.0, width), height);
        let head = (foot.0, random.within(0.45, 0.7) * height);
        let lamp = Paint {
            light: Light::Ball { from: (-0.48, -0.6, 0.64) },
            origin: head,
            extent: (6.0, 6.0),
            ..Paint::plain(Colour::natural(0.9, 0.1, 0.0))
        };
        canvas.behind(Shape::Ellipse { centre: head, axis: level, a: 6.0, b: 6.0 }, lamp);
        canvas.behind(
            Shape::Stroke { from: foot, to: head, start: 2.2, end: 1.2 },
            Paint::plain(Colour::natural(0.12, 0.02, 0.02)),
        );
    }
    for depth in 0..3 {
        // Each row of houses stands farther away: smaller, paler, higher up.
        let far = f64::from(depth);
        let mut left = random.within(-40.0, 0.0);
        while left < width {
            let (half, top) =
                (random.within(26.0, 60.0) / (1.0 + 0.5 * far), random.within(0.1, 0.5) + 0.16 - 0.13 * far);
            let roof = (top * height).max(8.0);
            let floor = height * (0.95 - 0.05 * far);
            let centre = (left + half, 0.5 * (roof + floor));
            let mut paint = surface(&palette, random, (left, roof), level, (half, floor - roof));
            let size = 1.0 / (1.0 + 0.45 * far);
            paint.pattern = match random.below(4) {
                0 => Pattern::Bricks { length: 15.0 * size, height: 7.0 * size, joint: 1.3 * size },
                _ => Pattern::Windows {
                    width: random.within(11.0, 20.0) * size,
                    height: random.within(14.0, 24.0) * size,
                    share: random.within(0.5, 0.75),
                },
            };
            let haze = Colour::natural(0.72, -0.06, 0.0);
            paint.base = paint.base.towards(haze, 0.22 * far);
            paint.second = Colour::natural(0.3, -0.1, 0.02).towards(haze, 0.25 * far);
            if random.chance(0.4) {
                let peak = (left + half, roof - random.within(0.3, 0.8) * half);
                let gable = vec![(left - 3.0, roof), peak, (left + 2.0 * half + 3.0, roof)];
                let mut tiles = surface(&palette, random, peak, level, (half, half));
                tiles.pattern = Pattern::Bricks { length: 8.0 * size, height: 5.0 * size, joint: size };
                tiles.base = Colour::natural(0.42, 0.2, -0.04).towards(haze, 0.22 * far);
                tiles.second = tiles.base.times(0.6);
                canvas.behind(Shape::Polygon(gable), tiles);
            }
            canvas.behind(Shape::Rectangle { centre, axis: level, a: half, b: 0.5 * (floor - roof) }, paint);
            left += 2.0 * half + if random.chance(0.3) { random.within(2.0, 20.0) } else { 0.0 };
        }
    }
    let road = Paint { grain: 0.2, grain_size: 4.0, ..Paint::plain(Colour::natural(0.35, 0.02, 0.0)) };
    canvas.behind(Shape::Ridge { base: 0.9 * height, height: 0.0, width, seed: 0, octaves: 1 }, road);
    sky(canvas, random);
}
