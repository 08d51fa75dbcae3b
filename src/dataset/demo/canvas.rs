//! From surfaces to pixels: nine samples a pixel, each of the frontmost surface there.

use super::paint::Paint;
use super::shape::Shape;
use crate::imaging::RgbImage;

/// Samples along each side of a pixel.
const SAMPLES: usize = 3;

/// A soft dark spot on the surfaces that take shadows.
pub(super) struct Shadow {
    pub(super) centre: (f64, f64),
    pub(super) half: (f64, f64),
    pub(super) strength: f64,
}

struct Surface {
    shape: Shape,
    paint: Paint,
    takes_shadows: bool,
}

/// A picture in the making: surfaces from the front to the back.
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    surfaces: Vec<Surface>,
    shadows: Vec<Shadow>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, height, surfaces: Vec::new(), shadows: Vec::new() }
    }

    /// Width and height as the scenes calculate with them.
    pub(super) fn size(&self) -> (f64, f64) {
        (self.width as f64, self.height as f64)
    }

    /// Puts a surface behind all earlier ones.
    pub(super) fn behind(&mut self, shape: Shape, paint: Paint) {
        self.surfaces.push(Surface { shape, paint, takes_shadows: false });
    }

    /// Puts a surface that takes shadows behind all earlier ones.
    pub(super) fn ground(&mut self, shape: Shape, paint: Paint) {
        self.surfaces.push(Surface { shape, paint, takes_shadows: true });
    }

    pub(super) fn shadow(&mut self, shadow: Shadow) {
        self.shadows.push(shadow);
    }

    /// Renders the picture. Samples no surface covers are black; scenes end with one that covers everything.
    pub(super) fn render(&self) -> RgbImage {
        let owners = self.frontmost();
        let columns = self.width * SAMPLES;
        let mut pixels = Vec::with_capacity(self.width * self.height * 3);
        for y in 0..self.height {
            for x in 0..self.width {
                let mut sum = [0.0; 3];
                for (sy, sx) in (0..SAMPLES).flat_map(|sy| (0..SAMPLES).map(move |sx| (sy, sx))) {
                    let (row, column) = (y * SAMPLES + sy, x * SAMPLES + sx);
                    let owner = owners[row * columns + column] as usize;
                    let Some(surface) = owner.checked_sub(1).and_then(|at| self.surfaces.get(at)) else {
                        continue;
                    };
                    let (px, py) = (position(column), position(row));
                    let mut colour = surface.paint.colour(px, py);
                    if surface.takes_shadows {
                        colour = colour.times(self.shade(px, py));
                    }
                    for (sum, value) in sum.iter_mut().zip(colour.0) {
                        *sum += value.clamp(0.0, 1.0);
                    }
                }
                let scale = 255.0 / (SAMPLES * SAMPLES) as f64;
                pixels.extend(sum.map(|value| (value * scale + 0.5).floor() as u8));
            }
        }
        #[expect(
            clippy::expect_used,
            reason = "the loops above make three bytes for each pixel, and scenes have constant sizes"
        )]
        RgbImage::new(self.width, self.height, pixels).expect("the picture is full")
    }

    /// For each sample, one more than the index of the frontmost surface that covers it.
    fn frontmost(&self) -> Vec<u32> {
        let (columns, rows) = (self.width * SAMPLES, self.height * SAMPLES);
        let mut owners = vec![0u32; columns * rows];
        for (surface, number) in self.surfaces.iter().zip(1u32..) {
            let (left, top, right, bottom) = surface.shape.bounds();
            // `as` saturates, so a box beyond the picture ends at its edge.
            let sample = |at: f64, last: usize| ((at * SAMPLES as f64).floor().max(0.0) as usize).min(last);
            for row in sample(top, rows)..sample(bottom + 1.0, rows) {
                let (from, to) = (sample(left, columns), sample(right + 1.0, columns));
                if from >= to {
                    break;
                }
                for (column, owner) in (from..to).zip(&mut owners[row * columns + from..row * columns + to]) {
                    if *owner == 0 && surface.shape.contains(position(column), position(row)) {
                        *owner = number;
                    }
                }
            }
        }
        owners
    }

    /// How much light the shadows leave at a point.
    fn shade(&self, x: f64, y: f64) -> f64 {
        self.shadows.iter().fold(1.0, |light, shadow| {
            let (u, v) = ((x - shadow.centre.0) / shadow.half.0, (y - shadow.centre.1) / shadow.half.1);
            let near = (1.0 - u * u - v * v).max(0.0);
            light * (1.0 - shadow.strength * near * (2.0 - near))
        })
    }
}

/// The place of a sample's middle in pixels.
fn position(sample: usize) -> f64 {
    (sample as f64 + 0.5) / SAMPLES as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::demo::arith::Colour;

    #[test]
    fn edges_are_smoothed_and_the_front_hides_the_back() {
        let mut canvas = Canvas::new(4, 1);
        let half = Shape::Rectangle { centre: (0.5, 0.5), axis: (1.0, 0.0), a: 1.0, b: 9.0 };
        canvas.behind(half, Paint::plain(Colour([1.0; 3])));
        canvas.behind(Shape::Everywhere, Paint::plain(Colour([0.0; 3])));
        // The edge at 1.5 leaves the samples at 1 1/6 and 1 1/2 of the second pixel white.
        let reds: Vec<u8> = canvas.render().pixels().iter().copied().step_by(3).collect();
        assert_eq!(reds, [255, 170, 0, 0]);
    }
}
