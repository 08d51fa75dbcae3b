//! Writing in an invented alphabet: thin strokes and bows on a line.

use crate::dataset::demo::arith::Colour;
use crate::dataset::demo::canvas::Canvas;
use crate::dataset::demo::paint::Paint;
use crate::dataset::demo::random::Random;
use crate::dataset::demo::shape::Shape;

/// The strokes of one invented letter, in a box of width 0.6 and height 1.
pub(super) enum Pen {
    Line((f64, f64), (f64, f64)),
    Bow { centre: (f64, f64), radius: f64, half: Option<(f64, f64)> },
}

/// Twenty-two letters, each of two strokes or more.
pub(super) fn alphabet(random: &mut Random) -> Vec<Vec<Pen>> {
    let node = |random: &mut Random| (0.3 * random.below(3) as f64, 0.5 * random.below(3) as f64);
    (0..22)
        .map(|_| {
            let mut letter = Vec::new();
            if random.chance(0.7) {
                let stem = 0.6 * random.below(2) as f64;
                letter.push(Pen::Line((stem, 0.0), (stem, 1.0)));
            }
            if random.chance(0.55) {
                let halves = [None, Some((1.0, 0.0)), Some((-1.0, 0.0)), Some((0.0, 1.0))];
                let half = halves.get(random.below(4)).copied().flatten();
                letter.push(Pen::Bow {
                    centre: (0.3, 0.28 + 0.44 * random.below(2) as f64),
                    radius: 0.27,
                    half,
                });
            }
            while letter.len() < 2 || random.chance(0.3) {
                let (from, to) = (node(random), node(random));
                letter.push(Pen::Line(from, to));
            }
            letter
        })
        .collect()
}

/// Lines of text within a box, left aligned, in letters of that height.
pub(super) fn text(
    canvas: &mut Canvas,
    random: &mut Random,
    letters: &[Vec<Pen>],
    area: (f64, f64, f64, f64),
    size: f64,
    tilt: (f64, f64),
    ink: Colour,
) {
    let (left, top, right, bottom) = area;
    let pen = size * random.within(0.06, 0.09);
    let turned = |x: f64, y: f64| {
        (left + (x - left) * tilt.0 - (y - top) * tilt.1, top + (x - left) * tilt.1 + (y - top) * tilt.0)
    };
    let mut line = top;
    while line + size <= bottom {
        let mut at = left;
        let end = right - random.within(0.0, 0.25) * (right - left);
        while at + size < end {
            if random.chance(0.17) {
                at += 0.5 * size;
            }
            for stroke in letters.get(random.below(letters.len())).into_iter().flatten() {
                let place = |(x, y): (f64, f64)| turned(at + x * size, line + y * size);
                let shape = match stroke {
                    Pen::Line(from, to) => {
                        Shape::Stroke { from: place(*from), to: place(*to), start: pen, end: pen }
                    }
                    Pen::Bow { centre, radius, half } => {
                        Shape::Ring { centre: place(*centre), radius: radius * size, pen, half: *half }
                    }
                };
                canvas.behind(shape, Paint::plain(ink));
            }
            at += 0.85 * size;
        }
        line += 1.55 * size;
    }
}
