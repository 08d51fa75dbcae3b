//! The six kinds of pictures. Everything random about one follows from its seed.

mod city;
mod common;
mod foliage;
mod landscape;
mod page;
mod patchwork;
mod still_life;
mod writing;

use super::canvas::Canvas;
use super::random::Random;

/// The number of kinds; the images of a set take turns.
pub(super) const KINDS: usize = 6;

/// Draws a picture of the given kind.
pub(super) fn draw(kind: usize, canvas: &mut Canvas, random: &mut Random) {
    match kind % KINDS {
        0 => foliage::draw(canvas, random),
        1 => city::draw(canvas, random),
        2 => page::draw(canvas, random),
        3 => still_life::draw(canvas, random),
        4 => landscape::draw(canvas, random),
        _ => patchwork::draw(canvas, random),
    }
}
