//! Pixel shuffle inside a network, and its inverse, which is its gradient.
//!
//! The shuffle at a network's end is part of [`super::ends`].

use super::pointwise::Rows;
use super::simd::{Kernel, Simd};
use super::view::View;

/// Which way values go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffle {
    /// `fine[c][f*y+i][f*x+j] = coarse[c*f*f + f*i + j][y][x]`
    ToFine,
    /// The inverse.
    ToCoarse,
}

/// One piece of a pixel shuffle.
pub struct PixelShuffle {
    /// Which way.
    pub shuffle: Shuffle,
    /// The upscaling factor f.
    pub factor: usize,
    /// Width of the coarse image in pixels.
    pub width: usize,
    /// The image of many channels: `fine_channels * factor * factor`.
    pub coarse: View,
    /// The image of many pixels.
    pub fine: View,
    /// Channels of the fine image.
    pub fine_channels: usize,
    /// Which rows of the coarse image.
    pub piece: Rows,
}

impl Kernel for PixelShuffle {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let (factor, image) = (self.factor, self.piece.image);
        for y in self.piece.rows.0..self.piece.rows.1 {
            for i in 0..factor {
                for x in 0..self.width {
                    for j in 0..factor {
                        // SAFETY: the pixels and channels exist in both views, by contract.
                        unsafe {
                            let coarse = self.coarse.at(image, y, x).add(i * factor + j);
                            let fine = self.fine.at(image, y * factor + i, x * factor + j);
                            for channel in 0..self.fine_channels {
                                let (coarse, fine) =
                                    (coarse.add(channel * factor * factor), fine.add(channel));
                                match self.shuffle {
                                    Shuffle::ToFine => *fine = *coarse,
                                    Shuffle::ToCoarse => *coarse = *fine,
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Buffer, SIZES, cuts, numbers};
    use super::super::simd::{Isa, run};
    use super::*;

    #[test]
    fn shuffling_is_its_definition_and_goes_back() {
        for (height, width) in SIZES {
            for (factor, channels) in [(1, 5), (2, 3), (2, 25), (3, 1), (4, 16)] {
                let coarse_shape = [2, channels * factor * factor, height, width];
                let fine_shape = [2, channels, height * factor, width * factor];
                let values = numbers(coarse_shape.iter().product(), 1);
                let expected: Vec<f32> = (0..values.len())
                    .map(|index| {
                        let (x, y) = (index % fine_shape[3], index / fine_shape[3] % fine_shape[2]);
                        let plane = index / (fine_shape[3] * fine_shape[2]);
                        let channel = plane * factor * factor + y % factor * factor + x % factor;
                        values[(channel * height + y / factor) * width + x / factor]
                    })
                    .collect();
                for isa in Isa::available() {
                    let mut coarse = Buffer::of(coarse_shape, &values);
                    let mut fine = Buffer::new(fine_shape);
                    let mut back = Buffer::new(coarse_shape);
                    for (shuffle, coarse) in [(Shuffle::ToFine, &mut coarse), (Shuffle::ToCoarse, &mut back)]
                    {
                        for image in 0..2 {
                            for rows in cuts(height) {
                                let mut kernel = PixelShuffle {
                                    shuffle,
                                    factor,
                                    width,
                                    coarse: coarse.view(),
                                    fine: fine.view(),
                                    fine_channels: channels,
                                    piece: Rows { image, rows },
                                };
                                // SAFETY: the views are those of live buffers.
                                unsafe { run(isa, &mut kernel) };
                            }
                        }
                    }
                    assert_eq!(fine.nchw(), expected, "{isa}, {factor}");
                    assert_eq!(back.nchw(), values, "{isa}, {factor}");
                }
            }
        }
    }
}
