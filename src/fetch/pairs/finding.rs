//! What a set of pairs turned out to be.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::imaging::RgbImage;
use crate::text::thousands;

/// LR pixels on every side that depend on what lies outside the HR image: the antialiased kernel reaches 2 LR pixels far at every factor.
pub(super) const OUTERMOST_PIXELS: usize = 2;

/// What a sound set of pairs is: how many, and how its LR images were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Pairs, all of matching sizes.
    pub pairs: usize,
    /// HR pixels to an LR pixel, on each side.
    pub scale: usize,
    /// Which border rule made the sampled LR images.
    pub border: BorderRule,
    /// The pairs whose pixels were compared, in order of names; at least one.
    pub sampled: Vec<Sampled>,
}

/// Which border rule a set of LR images follows, as far as the sampled ones tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BorderRule {
    /// All equal ours with mirrored borders, and not all of them ours with clamped ones.
    Mirror,
    /// All equal ours with clamped borders, and not all of them ours with mirrored ones.
    Clamp,
    /// All equal ours under both rules, which is so when borders are flat.
    Undecided,
    /// No single rule gives all of them.
    Neither,
}

/// One pair whose pixels were compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampled {
    /// The HR file's stem.
    pub name: String,
    /// Against our shrink with mirrored borders.
    pub mirror: Comparison,
    /// Against our shrink with clamped borders.
    pub clamp: Comparison,
}

/// An LR image against one of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Comparison {
    /// Bit for bit the same.
    Equal,
    /// Not the same.
    Differs(Difference),
}

/// How two images of one size differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Pixels that differ in any channel.
    pub pixels: u64,
    /// Pixels of the image.
    pub of_pixels: u64,
    /// The largest difference of a channel, in 8-bit levels.
    pub max_abs_levels: u8,
    /// Column and row of the first pixel that differs, in reading order, from 0.
    pub first_x_y: (usize, usize),
    /// Whether all of them lie within the two outermost pixels of a side, which depend on the border rule.
    pub only_outermost: bool,
}

impl Comparison {
    /// Compares two images of the same size.
    pub(super) fn of(lr: &RgbImage, ours: &RgbImage) -> Self {
        let (width, height) = (lr.width(), lr.height());
        let is_inside =
            |at: usize, side: usize| at >= OUTERMOST_PIXELS && at.saturating_add(OUTERMOST_PIXELS) < side;
        let mut found: Option<Difference> = None;
        let row_bytes = width * 3;
        let rows = lr.pixels().chunks_exact(row_bytes).zip(ours.pixels().chunks_exact(row_bytes));
        // Whole rows first: nearly all of them are equal.
        for (y, (row, our_row)) in rows.enumerate().filter(|(_, (row, our_row))| row != our_row) {
            let pixels = row.chunks_exact(3).zip(our_row.chunks_exact(3)).enumerate();
            for (x, (pixel, our_pixel)) in pixels.filter(|(_, (pixel, our_pixel))| pixel != our_pixel) {
                let difference = found.get_or_insert(Difference {
                    pixels: 0,
                    of_pixels: (width * height) as u64,
                    max_abs_levels: 0,
                    first_x_y: (x, y),
                    only_outermost: true,
                });
                difference.pixels += 1;
                difference.only_outermost &= !(is_inside(x, width) && is_inside(y, height));
                for (value, our_value) in pixel.iter().zip(our_pixel) {
                    difference.max_abs_levels = difference.max_abs_levels.max(value.abs_diff(*our_value));
                }
            }
        }
        found.map_or(Self::Equal, Self::Differs)
    }

    /// Whether all pixels are the same.
    pub fn is_equal(&self) -> bool {
        matches!(self, Self::Equal)
    }

    fn difference(&self) -> Option<&Difference> {
        match self {
            Self::Equal => None,
            Self::Differs(difference) => Some(difference),
        }
    }
}

impl Sampled {
    /// Whether one of the rules gives it.
    pub fn is_ours(&self) -> bool {
        self.mirror.is_equal() || self.clamp.is_equal()
    }

    /// How it differs from the closer one of ours (that of mirrored borders if both are as close), unless it equals one of them.
    pub fn closest(&self) -> Option<(&Difference, &'static str)> {
        let (mirror, clamp) = (self.mirror.difference()?, self.clamp.difference()?);
        let clamp_is_closer = clamp.pixels < mirror.pixels;
        Some(if clamp_is_closer { (clamp, CLAMPED) } else { (mirror, MIRRORED) })
    }
}

impl BorderRule {
    /// The rule that gives all of `sampled`.
    pub(super) fn settle(sampled: &[Sampled]) -> Self {
        let mirror = sampled.iter().all(|one| one.mirror.is_equal());
        let clamp = sampled.iter().all(|one| one.clamp.is_equal());
        match (mirror, clamp) {
            (true, false) => Self::Mirror,
            (false, true) => Self::Clamp,
            (true, true) => Self::Undecided,
            (false, false) => Self::Neither,
        }
    }
}

const MIRRORED: &str = "mirrored borders";
const CLAMPED: &str = "clamped borders";

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (x, y) = self.first_x_y;
        let place = if self.only_outermost {
            "only within the outermost 2 pixels of its sides"
        } else {
            "not only at its border"
        };
        let (pixels, of) = (thousands(self.pixels), thousands(self.of_pixels));
        let levels = self.max_abs_levels;
        write!(
            f,
            "{pixels} of {of} pixels differ by at most {levels}, {place}, the first at column {x}, row {y}"
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.pairs == 1 { "" } else { "s" };
        let (ours, all) = (self.sampled.iter().filter(|one| one.is_ours()).count(), self.sampled.len());
        let verb = if ours == 1 { "equals" } else { "equal" };
        write!(
            f,
            "{} pair{plural} of matching sizes; {ours} of {all} sampled LR images {verb} our bicubic shrink",
            thousands(self.pairs as u64)
        )?;
        if ours > 0 {
            f.write_str(" bit for bit")?;
        }
        match self.border {
            BorderRule::Mirror => write!(f, " with {MIRRORED}"),
            BorderRule::Clamp => write!(f, " with {CLAMPED}"),
            BorderRule::Undecided => {
                write!(f, " with {MIRRORED} and with {CLAMPED} (theirs are too flat to tell)")
            }
            BorderRule::Neither if ours == all => {
                let mirror = self.sampled.iter().filter(|one| !one.clamp.is_equal()).count();
                let clamp = self.sampled.iter().filter(|one| !one.mirror.is_equal()).count();
                write!(f, ", but {mirror} only with {MIRRORED} and {clamp} only with {CLAMPED}")
            }
            BorderRule::Neither => {
                let others = self.sampled.iter().filter_map(|one| Some((&one.name, one.closest()?)));
                for (name, (difference, rule)) in others.take(1) {
                    write!(f, "; `{name}` against ours with {rule}: {difference}")?;
                }
                match all - ours {
                    0 | 1 => Ok(()),
                    others => write!(f, "; and {} more", others - 1),
                }
            }
        }
    }
}
