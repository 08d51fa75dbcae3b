//! The six kinds of pictures. Everything random about one follows from its seed.

use super::arith::{Colour, direction};
use super::canvas::{Canvas, Shadow};
use super::paint::{Light, Paint, Pattern};
use super::random::Random;
use super::shape::Shape;

/// The number of kinds; the images of a set take turns.
pub(super) const KINDS: usize = 6;

/// Draws a picture of the given kind.
pub(super) fn draw(kind: usize, canvas: &mut Canvas, random: &mut Random) {
    match kind % KINDS {
        0 => foliage(canvas, random),
        1 => city(canvas, random),
        2 => page(canvas, random),
        3 => still_life(canvas, random),
        4 => landscape(canvas, random),
        _ => patchwork(canvas, random),
    }
}

/// A few related colours from which a picture takes most of its surfaces.
struct Palette(Vec<Colour>);

impl Palette {
    fn new(random: &mut Random) -> Self {
        let (warm, green) = (random.within(-0.12, 0.3), random.within(-0.08, 0.16));
        Self(
            (0..7)
                .map(|step| {
                    let lightness = 0.14 + 0.11 * f64::from(step) + random.within(-0.04, 0.04);
                    let (warm, green) = (
                        warm + random.within(-0.16, 0.16),
                        green + random.within(-0.1, 0.1),
                    );
                    Colour::natural(lightness, warm, green)
                })
                .collect(),
        )
    }

    fn pick(&self, random: &mut Random) -> Colour {
        let colour = self.0.get(random.below(self.0.len())).copied();
        colour
            .unwrap_or(Colour([0.5; 3]))
            .times(random.within(0.85, 1.15))
    }

    /// Two colours that differ visibly.
    fn two(&self, random: &mut Random) -> (Colour, Colour) {
        let first = random.below(self.0.len());
        let second = (first + 2 + random.below(self.0.len() - 4)) % self.0.len();
        let at = |index: usize| self.0.get(index).copied().unwrap_or(Colour([0.5; 3]));
        (
            at(first).times(random.within(0.9, 1.1)),
            at(second).times(random.within(0.9, 1.1)),
        )
    }
}

/// A pattern whose details are a few pixels wide, in proportion to a surface of that size.
fn pattern(random: &mut Random, size: f64) -> Pattern {
    let period = random.within(0.12, 0.4) * size.clamp(24.0, 80.0);
    match random.below(7) {
        0 => Pattern::Stripes {
            period,
            share: random.within(0.25, 0.6),
        },
        1 => Pattern::Grating {
            period: period.max(5.0),
        },
        2 => Pattern::Checks { period: 1.4 * period },
        3 => Pattern::Dots {
            period: period.max(6.0),
            radius: random.within(0.22, 0.4) * period.max(6.0),
        },
        4 => Pattern::Wood { period },
        5 => Pattern::Weave {
            period: 0.6 * period.max(7.0),
        },
        _ => Pattern::Gradient,
    }
}

/// A surface with the picture's colours, its frame on the shape.
fn surface(
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
        light: Light::Slope {
            towards: (-0.6, -0.8),
            strength: random.within(0.05, 0.35),
        },
        ..Paint::plain(base)
    }
}

fn somewhere(canvas: &Canvas, random: &mut Random) -> (f64, f64) {
    let (width, height) = canvas.size();
    (
        random.within(-20.0, width + 20.0),
        random.within(-20.0, height + 20.0),
    )
}

/// Dead leaves: opaque shapes of all sizes over each other, as foliage, pebbles or crowds are.
fn foliage(canvas: &mut Canvas, random: &mut Random) {
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
                    paint.light = Light::Ball {
                        from: (-0.48, -0.6, 0.64),
                    };
                }
                Shape::Ellipse { centre, axis, a, b }
            }
            _ => {
                if a > 14.0 {
                    paint.pattern = Pattern::Veins {
                        period: random.within(7.0, 12.0),
                    };
                    paint.second = paint.base.times(1.35);
                }
                Shape::Leaf {
                    centre,
                    axis,
                    a,
                    b: 0.7 * b,
                }
            }
        };
        canvas.behind(shape, paint);
    }
    canvas.behind(
        Shape::Everywhere,
        Paint {
            grain: 0.3,
            ..Paint::plain(palette.pick(random).times(0.5))
        },
    );
}

/// A polygon of 3 to 7 corners about a point; a star now and then.
fn polygon(random: &mut Random, centre: (f64, f64), radius: f64) -> Vec<(f64, f64)> {
    let (corners, turn, star) = (3 + random.below(5), random.unit(), random.chance(0.25));
    let count = if star { 2 * corners } else { corners };
    (0..count)
        .map(|corner| {
            let (dx, dy) = direction(turn + corner as f64 / count as f64);
            let reach = radius
                * if star && corner % 2 == 1 {
                    0.45
                } else {
                    random.within(0.8, 1.0)
                };
            (centre.0 + reach * dx, centre.1 + reach * dy)
        })
        .collect()
}

/// Streets of house fronts with windows under a sky, cables and lamps before them.
fn city(canvas: &mut Canvas, random: &mut Random) {
    let palette = Palette::new(random);
    let (width, height) = canvas.size();
    let level = (1.0, 0.0);
    for _ in 0..random.below(4) {
        let (from, to) = (random.within(0.0, 0.5) * height, random.within(0.0, 0.6) * height);
        let cable = Shape::Stroke {
            from: (-5.0, from),
            to: (width + 5.0, to),
            start: 0.6,
            end: 0.9,
        };
        canvas.behind(cable, Paint::plain(Colour::natural(0.1, 0.0, 0.0)));
    }
    for _ in 0..2 + random.below(3) {
        let foot = (random.within(0.0, width), height);
        let head = (foot.0, random.within(0.45, 0.7) * height);
        let lamp = Paint {
            light: Light::Ball {
                from: (-0.48, -0.6, 0.64),
            },
            origin: head,
            extent: (6.0, 6.0),
            ..Paint::plain(Colour::natural(0.9, 0.1, 0.0))
        };
        canvas.behind(
            Shape::Ellipse {
                centre: head,
                axis: level,
                a: 6.0,
                b: 6.0,
            },
            lamp,
        );
        canvas.behind(
            Shape::Stroke {
                from: foot,
                to: head,
                start: 2.2,
                end: 1.2,
            },
            Paint::plain(Colour::natural(0.12, 0.02, 0.02)),
        );
    }
    for depth in 0..3 {
        // Each row of houses stands farther away: smaller, paler, higher up.
        let far = f64::from(depth);
        let mut left = random.within(-40.0, 0.0);
        while left < width {
            let (half, top) = (
                random.within(26.0, 60.0) / (1.0 + 0.5 * far),
                random.within(0.1, 0.5) + 0.16 - 0.13 * far,
            );
            let roof = (top * height).max(8.0);
            let floor = height * (0.95 - 0.05 * far);
            let centre = (left + half, 0.5 * (roof + floor));
            let mut paint = surface(&palette, random, (left, roof), level, (half, floor - roof));
            let size = 1.0 / (1.0 + 0.45 * far);
            paint.pattern = match random.below(4) {
                0 => Pattern::Bricks {
                    length: 15.0 * size,
                    height: 7.0 * size,
                    joint: 1.3 * size,
                },
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
                tiles.pattern = Pattern::Bricks {
                    length: 8.0 * size,
                    height: 5.0 * size,
                    joint: size,
                };
                tiles.base = Colour::natural(0.42, 0.2, -0.04).towards(haze, 0.22 * far);
                tiles.second = tiles.base.times(0.6);
                canvas.behind(Shape::Polygon(gable), tiles);
            }
            canvas.behind(
                Shape::Rectangle {
                    centre,
                    axis: level,
                    a: half,
                    b: 0.5 * (floor - roof),
                },
                paint,
            );
            left += 2.0 * half
                + if random.chance(0.3) {
                    random.within(2.0, 20.0)
                } else {
                    0.0
                };
        }
    }
    let road = Paint {
        grain: 0.2,
        grain_size: 4.0,
        ..Paint::plain(Colour::natural(0.35, 0.02, 0.0))
    };
    canvas.behind(
        Shape::Ridge {
            base: 0.9 * height,
            height: 0.0,
            width,
            seed: 0,
            octaves: 1,
        },
        road,
    );
    sky(canvas, random);
}

/// A sky with clouds behind everything.
fn sky(canvas: &mut Canvas, random: &mut Random) {
    let blue = Colour::natural(random.within(0.5, 0.68), random.within(-0.32, -0.12), 0.02);
    let paint = Paint {
        second: Colour::natural(0.93, random.within(-0.02, 0.1), 0.0),
        pattern: Pattern::Clouds {
            size: random.within(90.0, 200.0),
            cover: random.within(0.1, 0.5),
        },
        seed: random.next(),
        ..Paint::plain(blue)
    };
    canvas.behind(Shape::Everywhere, paint);
}

/// The strokes of one invented letter, in a box of width 0.6 and height 1.
enum Pen {
    Line((f64, f64), (f64, f64)),
    Bow {
        centre: (f64, f64),
        radius: f64,
        half: Option<(f64, f64)>,
    },
}

fn alphabet(random: &mut Random) -> Vec<Vec<Pen>> {
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
fn text(
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
        (
            left + (x - left) * tilt.0 - (y - top) * tilt.1,
            top + (x - left) * tilt.1 + (y - top) * tilt.0,
        )
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
                    Pen::Line(from, to) => Shape::Stroke {
                        from: place(*from),
                        to: place(*to),
                        start: pen,
                        end: pen,
                    },
                    Pen::Bow { centre, radius, half } => Shape::Ring {
                        centre: place(*centre),
                        radius: radius * size,
                        pen,
                        half: *half,
                    },
                };
                canvas.behind(shape, Paint::plain(ink));
            }
            at += 0.85 * size;
        }
        line += 1.55 * size;
    }
}

/// Printed or painted writing of several sizes on paper, signs and tables, with a small picture among it.
fn page(canvas: &mut Canvas, random: &mut Random) {
    let palette = Palette::new(random);
    let letters = alphabet(random);
    let (width, height) = canvas.size();
    let tilt = direction(random.within(-0.02, 0.02));
    let dark = random.chance(0.25);
    let (paper, ink) = match dark {
        true => (
            Colour::natural(0.2, random.within(-0.15, 0.1), 0.02),
            Colour::natural(0.88, 0.04, 0.0),
        ),
        false => (
            Colour::natural(0.88, random.within(0.0, 0.12), 0.01),
            Colour::natural(0.13, random.within(-0.1, 0.1), 0.0),
        ),
    };
    let accent = Colour::natural(0.45, random.within(-0.4, 0.4), 0.0);
    let column = random.within(0.5, 0.65) * width;
    let large = random.within(28.0, 44.0);
    text(
        canvas,
        random,
        &letters,
        (22.0, 18.0, width - 10.0, 20.0 + large),
        large,
        tilt,
        accent,
    );
    let rule = Shape::Stroke {
        from: (20.0, 34.0 + large),
        to: (width - 30.0, 34.0 + large + 0.9 * width * tilt.1),
        start: 1.2,
        end: 1.2,
    };
    canvas.behind(rule, Paint::plain(ink));
    let body = random.within(12.0, 17.0);
    let body_top = 46.0 + large;
    text(
        canvas,
        random,
        &letters,
        (22.0, body_top, column - 12.0, 0.72 * height),
        body,
        tilt,
        ink,
    );
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
    let frame = (
        0.5 * (column + width) - 6.0,
        body_top + 62.0,
        0.5 * (width - column) - 14.0,
        56.0,
    );
    let window = |x: f64, y: f64| (frame.0 + x * frame.2, frame.1 + y * frame.3);
    for _ in 0..9 {
        let centre = window(random.within(-0.6, 0.6), random.within(-0.4, 0.4));
        let a = random.within(8.0, 22.0);
        let axis = direction(random.unit());
        let mut paint = surface(&palette, random, centre, axis, (a, a));
        paint.pattern = pattern(random, a);
        let shape = match random.below(3) {
            0 => Shape::Polygon(polygon(random, centre, a)),
            1 => Shape::Rectangle {
                centre,
                axis,
                a,
                b: 0.6 * a,
            },
            _ => {
                paint.light = Light::Ball {
                    from: (-0.48, -0.6, 0.64),
                };
                Shape::Ellipse {
                    centre,
                    axis,
                    a,
                    b: a,
                }
            }
        };
        canvas.behind(shape, paint);
    }
    let mut backdrop = surface(
        &palette,
        random,
        (frame.0, frame.1),
        (1.0, 0.0),
        (frame.2, frame.3),
    );
    backdrop.pattern = Pattern::Gradient;
    canvas.behind(
        Shape::Rectangle {
            centre: (frame.0, frame.1),
            axis: (1.0, 0.0),
            a: frame.2,
            b: frame.3,
        },
        backdrop,
    );
    let caption = (
        frame.0 - frame.2,
        frame.1 + frame.3 + 8.0,
        frame.0 + frame.2,
        height - 10.0,
    );
    text(canvas, random, &letters, caption, note, (1.0, 0.0), ink);
    let sheet = Paint {
        grain: 0.05,
        grain_size: 6.0,
        seed: random.next(),
        extent: (width, height),
        light: Light::Slope {
            towards: (-0.6, -0.8),
            strength: random.within(0.05, 0.25),
        },
        ..Paint::plain(paper)
    };
    let centre = (0.5 * width, 0.5 * height);
    canvas.behind(
        Shape::Rectangle {
            centre,
            axis: tilt,
            a: 0.5 * width - 4.0,
            b: 0.5 * height - 4.0,
        },
        sheet,
    );
    let wood = Paint {
        second: Colour::natural(0.3, 0.16, 0.02),
        pattern: Pattern::Wood { period: 15.0 },
        ..Paint::plain(Colour::natural(0.48, 0.2, 0.02))
    };
    canvas.behind(Shape::Everywhere, wood);
}

/// Balls, boxes and books on a table before a wall.
fn still_life(canvas: &mut Canvas, random: &mut Random) {
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
        canvas.shadow(Shadow {
            centre: (x + 0.5 * a, foot),
            half: (1.7 * a, 0.45 * a),
            strength: 0.6,
        });
        if random.chance(0.55) {
            let (centre, axis) = ((x, foot - 0.85 * a), direction(random.unit()));
            let mut paint = surface(&palette, random, centre, axis, (a, a));
            paint.light = Light::Ball { from: light };
            if random.chance(0.6) {
                paint.pattern = pattern(random, a);
            }
            canvas.behind(
                Shape::Ellipse {
                    centre,
                    axis,
                    a,
                    b: a,
                },
                paint,
            );
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
            canvas.behind(
                Shape::Rectangle {
                    centre,
                    axis,
                    a: 0.8 * a,
                    b: 0.8 * tall,
                },
                front.clone(),
            );
            canvas.behind(
                Shape::Polygon(side),
                Paint {
                    base: front.base.times(0.55),
                    second: front.second.times(0.55),
                    ..front
                },
            );
        }
    }
    let grain = direction(random.within(-0.02, 0.02));
    let mut table = surface(&palette, random, (0.0, height), grain, (width, height));
    table.pattern = Pattern::Wood {
        period: random.within(16.0, 30.0),
    };
    (table.base, table.second) = (
        Colour::natural(0.55, 0.2, 0.03),
        Colour::natural(0.33, 0.17, 0.01),
    );
    canvas.ground(
        Shape::Ridge {
            base: edge,
            height: 0.0,
            width,
            seed: 0,
            octaves: 1,
        },
        table,
    );
    let mut wall = surface(&palette, random, (0.3 * width, 0.0), (1.0, 0.0), (width, height));
    wall.pattern = match random.below(3) {
        0 => Pattern::Bricks {
            length: 34.0,
            height: 14.0,
            joint: 2.2,
        },
        1 => Pattern::Stripes {
            period: random.within(18.0, 40.0),
            share: 0.5,
        },
        _ => Pattern::Clouds {
            size: 160.0,
            cover: 0.4,
        },
    };
    wall.second = wall.base.times(0.8);
    canvas.ground(Shape::Everywhere, wall);
}

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
                Shape::Leaf {
                    centre,
                    axis,
                    a,
                    b: 0.45 * a,
                },
                Paint::plain(leaf.times(random.within(0.6, 1.35))),
            );
        }
    } else {
        for _ in 0..2 + random.below(2) {
            let (bend, shrink) = (random.within(-0.11, 0.11), random.within(0.6, 0.82));
            branch(
                canvas,
                random,
                tip,
                turn + bend,
                length * shrink,
                0.66 * pen,
                (bark, leaf),
            );
        }
    }
    let paint = Paint {
        grain: 0.35,
        grain_size: 5.0,
        ..Paint::plain(bark.times(random.within(0.8, 1.2)))
    };
    canvas.behind(
        Shape::Stroke {
            from: foot,
            to: tip,
            start: pen,
            end: 0.66 * pen,
        },
        paint,
    );
}

/// Hills in haze, trees and grass.
fn landscape(canvas: &mut Canvas, random: &mut Random) {
    let (width, height) = canvas.size();
    let season = random.within(-0.05, 0.28);
    let leaf = Colour::natural(random.within(0.3, 0.42), season, random.within(0.02, 0.2));
    let meadow = Colour::natural(random.within(0.34, 0.5), 0.12, random.within(0.06, 0.2));
    for _ in 0..700 {
        let near = random.unit();
        let foot = (
            random.within(-5.0, width + 5.0),
            height * (1.02 - 0.16 * near * near),
        );
        let tip = (
            foot.0 + random.within(-9.0, 9.0),
            foot.1 - random.within(9.0, 30.0) * (1.2 - near),
        );
        let blade = Paint::plain(meadow.times(random.within(0.55, 1.4)));
        canvas.behind(
            Shape::Stroke {
                from: foot,
                to: tip,
                start: 1.3,
                end: 0.25,
            },
            blade,
        );
    }
    let bark = Colour::natural(0.2, random.within(0.02, 0.12), 0.0);
    for _ in 0..1 + random.below(3) {
        let foot = (
            random.within(0.05, 0.95) * width,
            random.within(0.8, 0.95) * height,
        );
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
            Shape::Rectangle {
                centre,
                axis: direction(random.within(-0.01, 0.01)),
                a: 2.4,
                b: 15.0,
            },
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
            Paint {
                grain: 0.3,
                grain_size: 5.0,
                ..Paint::plain(Colour::natural(0.46, 0.1, 0.01))
            },
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
                Pattern::Clouds {
                    size: 30.0,
                    cover: 0.3,
                }
            } else {
                Pattern::Clouds {
                    size: 60.0,
                    cover: 0.2,
                }
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

/// Pieces of cloth, tiles and paper side by side, with buttons and thread on them.
fn patchwork(canvas: &mut Canvas, random: &mut Random) {
    let palette = Palette::new(random);
    let (width, height) = canvas.size();
    for _ in 0..26 {
        let (centre, a) = (somewhere(canvas, random), random.radius(6.0, 26.0));
        let mut paint = surface(&palette, random, centre, (1.0, 0.0), (a, a));
        paint.light = Light::Ball {
            from: (-0.48, -0.6, 0.64),
        };
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
            Shape::Ring {
                centre,
                radius: 0.8 * a,
                pen: 0.05 * a,
                half: None,
            },
            Paint::plain(paint.base.times(0.6)),
        );
        canvas.behind(
            Shape::Ellipse {
                centre,
                axis: (1.0, 0.0),
                a,
                b: a,
            },
            paint,
        );
    }
    for _ in 0..8 {
        let thread = palette.pick(random).times(1.3);
        let mut at = somewhere(canvas, random);
        let mut turn = random.unit();
        for _ in 0..40 {
            turn += random.within(-0.06, 0.06);
            let (dx, dy) = direction(turn);
            let next = (at.0 + 8.0 * dx, at.1 + 8.0 * dy);
            canvas.behind(
                Shape::Stroke {
                    from: at,
                    to: next,
                    start: 1.1,
                    end: 1.1,
                },
                Paint::plain(thread),
            );
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
            1 => Pattern::Clouds {
                size: random.within(20.0, 60.0),
                cover: 0.2,
            },
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
    ground.pattern = Pattern::Weave {
        period: random.within(5.0, 9.0),
    };
    canvas.behind(Shape::Everywhere, ground);
}
