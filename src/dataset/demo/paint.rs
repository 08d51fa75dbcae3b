//! What surfaces look like: colour, pattern, texture and light.

use super::arith::{Colour, fraction, sine, smooth};
use super::random::{cell, fractal};
use super::shape::local;

/// How a surface is coloured, in a frame of its own.
#[derive(Clone)]
pub(super) struct Paint {
    /// Origin of the frame in pixels.
    pub(super) origin: (f64, f64),
    /// Direction of the frame's first axis, a unit vector.
    pub(super) axis: (f64, f64),
    /// Half size of the surface along both axes in pixels, for shading.
    pub(super) extent: (f64, f64),
    /// The ground colour.
    pub(super) base: Colour,
    /// The pattern's colour.
    pub(super) second: Colour,
    /// What is drawn in the second colour.
    pub(super) pattern: Pattern,
    /// Strength of a fine irregular texture, 0 for none.
    pub(super) grain: f64,
    /// Size of that texture's largest features in pixels.
    pub(super) grain_size: f64,
    /// Chooses among textures.
    pub(super) seed: u64,
    /// How the light falls on it.
    pub(super) light: Light,
}

/// What is drawn on a surface. Lengths are in pixels.
#[derive(Clone, Copy)]
pub(super) enum Pattern {
    Plain,
    /// From the base to the second colour along the second axis.
    Gradient,
    /// Bands across the first axis with hard edges; `share` of each period is the second colour.
    Stripes {
        period: f64,
        share: f64,
    },
    /// A sine grating along the first axis.
    Grating {
        period: f64,
    },
    Checks {
        period: f64,
    },
    Dots {
        period: f64,
        radius: f64,
    },
    /// Courses of bricks, each of its own shade, with joints in the second colour.
    Bricks {
        length: f64,
        height: f64,
        joint: f64,
    },
    /// A front with windows, each dark or lit on its own.
    Windows {
        width: f64,
        height: f64,
        share: f64,
    },
    /// Growth rings of sawn wood along the first axis.
    Wood {
        period: f64,
    },
    /// Soft irregular patches, such as clouds; larger `cover` shows more of the second colour.
    Clouds {
        size: f64,
        cover: f64,
    },
    /// Threads over and under each other.
    Weave {
        period: f64,
    },
    /// A midrib with side veins, for leaves.
    Veins {
        period: f64,
    },
}

/// How light falls on a surface.
#[derive(Clone, Copy)]
pub(super) enum Light {
    /// The same everywhere.
    Flat,
    /// Brighter towards a direction of the picture.
    Slope { towards: (f64, f64), strength: f64 },
    /// On a ball, from the given direction (x, y, towards the viewer; a unit vector).
    Ball { from: (f64, f64, f64) },
}

impl Paint {
    /// A plain surface, the start of all others.
    pub(super) fn plain(base: Colour) -> Self {
        Self {
            origin: (0.0, 0.0),
            axis: (1.0, 0.0),
            extent: (100.0, 100.0),
            base,
            second: base,
            pattern: Pattern::Plain,
            grain: 0.0,
            grain_size: 8.0,
            seed: 0,
            light: Light::Flat,
        }
    }

    /// The colour of the point (`x`, `y`) of the picture.
    pub(super) fn colour(&self, x: f64, y: f64) -> Colour {
        let (u, v) = local(self.origin, self.axis, x, y);
        let mut colour = self.patterned(u, v);
        if self.grain > 0.0 {
            let (gx, gy) = (u / self.grain_size, v / self.grain_size);
            colour = colour.times(1.0 + self.grain * fractal(self.seed ^ 0x6772, gx, gy, 3));
        }
        let (px, py) = (u / self.extent.0, v / self.extent.1);
        match self.light {
            Light::Flat => colour,
            Light::Slope { towards, strength } => {
                let (dx, dy) = (x - self.origin.0, y - self.origin.1);
                let reach = self.extent.0.max(self.extent.1);
                colour.times(1.0 + strength * (dx * towards.0 + dy * towards.1) / reach)
            }
            Light::Ball { from } => {
                let height = (1.0 - px * px - py * py).max(0.0).sqrt();
                // Back from the ball's frame to the picture's.
                let (nx, ny) = (px * self.axis.0 - py * self.axis.1, px * self.axis.1 + py * self.axis.0);
                let facing = (nx * from.0 + ny * from.1 + height * from.2).max(0.0);
                let shine = facing * facing * facing * facing;
                let shine = shine * shine * shine * shine;
                colour.times(0.35 + 0.8 * facing).towards(Colour([1.0; 3]), 0.45 * shine)
            }
        }
    }

    fn patterned(&self, u: f64, v: f64) -> Colour {
        let either = |second: bool| if second { self.second } else { self.base };
        match self.pattern {
            Pattern::Plain => self.base,
            Pattern::Gradient => self.base.towards(self.second, smooth(0.5 + 0.5 * v / self.extent.1)),
            Pattern::Stripes { period, share } => either(fraction(u / period) < share),
            Pattern::Grating { period } => self.base.towards(self.second, 0.5 + 0.5 * sine(u / period)),
            Pattern::Checks { period } => {
                either((fraction(u / period) < 0.5) != (fraction(v / period) < 0.5))
            }
            Pattern::Dots { period, radius } => {
                let row = (v / period).floor();
                let shift = if fraction(row / 2.0) > 0.0 { 0.5 } else { 0.0 };
                let (du, dv) =
                    ((fraction(u / period + shift) - 0.5) * period, (fraction(v / period) - 0.5) * period);
                either(du * du + dv * dv <= radius * radius)
            }
            Pattern::Bricks { length, height, joint } => {
                let course = (v / height).floor();
                let shift = if fraction(course / 2.0) > 0.0 { 0.5 } else { 0.0 };
                let along = u / length + shift;
                if fraction(along) * length < joint || fraction(v / height) * height < joint {
                    return self.second;
                }
                self.base.times(0.8 + 0.35 * cell(self.seed, along.floor() as i64, course as i64))
            }
            Pattern::Windows { width, height, share } => {
                let (column, row) = ((u / width).floor(), (v / height).floor());
                let (fu, fv) = (fraction(u / width), fraction(v / height));
                let margin = 0.5 - 0.5 * share;
                if fu < margin || fu > 1.0 - margin || fv < margin || fv > 1.0 - 0.6 * margin {
                    return self.base;
                }
                let lit = cell(self.seed, column as i64, row as i64);
                if lit > 0.8 {
                    return Colour::natural(0.85, 0.25, 0.05);
                }
                // The sky's reflection, brighter above, behind a thin crossbar.
                let glass = self.second.times(0.7 + 0.5 * lit - 0.3 * (fv - 0.5));
                if (fu - 0.5) * width < 0.6 && (fu - 0.5) * width > -0.6 {
                    self.base.times(0.8)
                } else {
                    glass
                }
            }
            Pattern::Wood { period } => {
                let bend = 1.6 * fractal(self.seed, u / (14.0 * period), v / (2.2 * period), 3);
                let ring = fraction(v / period + bend);
                let fibre = 0.25 * fractal(self.seed ^ 7, u / (4.0 * period), 3.0 * v / period, 2);
                self.base.towards(self.second, (ring * ring + fibre).clamp(0.0, 1.0))
            }
            Pattern::Clouds { size, cover } => {
                let value = 0.5 + 0.9 * fractal(self.seed, u / size, 1.8 * v / size, 5);
                self.base.towards(self.second, smooth((value + cover - 0.5) * 1.4))
            }
            Pattern::Weave { period } => {
                let over = fraction((u / period).floor() / 2.0) == fraction((v / period).floor() / 2.0);
                let (thread, across) = if over { (v, u) } else { (u, v) };
                let round = 0.75 + 0.25 * sine(fraction(thread / period) / 2.0);
                let dip = 0.8 + 0.2 * sine(fraction(across / period) / 2.0);
                either(over).times(round * dip)
            }
            Pattern::Veins { period } => {
                let side = if v < 0.0 { -v } else { v };
                let vein = fraction((u - side) / period) * period;
                either(side < 0.04 * self.extent.1.max(12.0) || vein < 0.1 * period)
            }
        }
    }
}
