//! Which algorithm computes a convolution: a cost model.
//!
//! Costs are in units of a register tile's row: one input channel times one block of output channels, which takes about a cycle. Four constants were
//! fitted to times of one thread with AVX2 (Zen 3) for 3 to 64 input channels, 16 to 64 output channels and images of 5×5 to 256×256; `cargo bench --bench kernels`
//! measures such times. Over those 18 shapes the chosen algorithm takes 1 % more time than the fastest in the mean, and 7 % at most; a test has the times.

use super::lower::Mode;
use super::program::Algorithm;
use crate::engine::cpu::BLOCK;
use crate::engine::cpu::geometry::Direction;
use crate::engine::cpu::winograd::{F2x2, F4x4, F4x6, Variant};
use crate::graph::Conv2d;

/// Rows of a register tile as long as which the transforms of a tile take, for each block of channels read or written.
const TRANSFORM_6: usize = 620;
/// The same for tiles of 4×4.
const TRANSFORM_4: usize = 420;
/// The same for tiles of 2×2.
const TRANSFORM_2: usize = 120;
/// The same for beginning a tap of a register tile of the direct kernel.
const TAP: usize = 32;
/// Rows of a whole register tile.
const TILE_ROWS: usize = 6;
/// A register tile of fewer rows takes as long as one of these many, because multiplications then wait for one another.
const FEWEST_ROWS: usize = 4;

/// The algorithm for a convolution with output `[height, width]`. Training keeps to the more accurate ones: rounding errors of a forward pass reappear in gradients,
/// as sums that cancel.
pub(super) fn choose(conv: &Conv2d, direction: Direction, size: [usize; 2], mode: Mode) -> Algorithm {
    use Algorithm::{Direct, Winograd2x2, Winograd4x4, Winograd4x6};
    let general: &[Algorithm] = match mode {
        Mode::Infer => &[Winograd4x6, Winograd4x4, Winograd2x2, Direct],
        Mode::Train => &[Winograd4x4, Winograd2x2, Direct],
    };
    choose_among(conv, direction, size, general)
}

/// The algorithm for the gradient of the weights of a convolution with output `[height, width]`. What it costs is much the same, but there are no tiles of 2×2.
pub(super) fn choose_gradient(conv: &Conv2d, size: [usize; 2]) -> Algorithm {
    choose_among(conv, Direction::Forward, size, &[Algorithm::Winograd4x4, Algorithm::Direct])
}

/// `general` are those to choose from where nothing special is known.
fn choose_among(conv: &Conv2d, direction: Direction, size: [usize; 2], general: &[Algorithm]) -> Algorithm {
    if conv.groups > 1 {
        return Algorithm::Grouped;
    }
    if !conv.is_plain_same() {
        return Algorithm::Direct;
    }
    match conv.kernel {
        1 => Algorithm::Pointwise,
        3 => {
            let channels = match direction {
                Direction::Forward => (conv.in_channels, conv.out_channels),
                Direction::InputGradient => (conv.out_channels, conv.in_channels),
            };
            let cheapest = general.iter().min_by_key(|algorithm| cost(**algorithm, channels, size));
            cheapest.copied().unwrap_or(Algorithm::Direct)
        }
        _ => Algorithm::Direct,
    }
}

/// What a 3×3 convolution of one image costs.
fn cost(algorithm: Algorithm, (inputs, outputs): (usize, usize), [height, width]: [usize; 2]) -> usize {
    let blocks = outputs.div_ceil(BLOCK);
    let winograd = |tile: (usize, usize), points: usize, transform: usize| {
        let tiles = height.div_ceil(tile.0) * width.div_ceil(tile.1);
        points * blocks * inputs * tiles.max(FEWEST_ROWS)
            + transform * tiles * (inputs.div_ceil(BLOCK) + blocks)
    };
    match algorithm {
        Algorithm::Winograd4x6 => winograd(F4x6::TILE, F4x6::POINTS, TRANSFORM_6),
        Algorithm::Winograd4x4 => winograd(F4x4::TILE, F4x4::POINTS, TRANSFORM_4),
        Algorithm::Winograd2x2 => winograd(F2x2::TILE, F2x2::POINTS, TRANSFORM_2),
        _ => {
            // Taps in the rows above and below the image are left out.
            let taps = 3 * (3 * height).saturating_sub(2);
            taps * blocks * (inputs * width.max(FEWEST_ROWS) + TAP * width.div_ceil(TILE_ROWS))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALGORITHMS: [Algorithm; 4] =
        [Algorithm::Winograd4x6, Algorithm::Winograd4x4, Algorithm::Winograd2x2, Algorithm::Direct];

    fn conv(in_channels: usize, out_channels: usize) -> Conv2d {
        Conv2d { in_channels, out_channels, kernel: 3, stride: 1, padding: 1, groups: 1, bias: true }
    }

    /// Channels, side of the image, and microseconds of [`ALGORITHMS`]: least of many runs, one thread, AVX2 on a Zen 3 at 3.2 GHz that others used too.
    #[rustfmt::skip]
    const MEASURED: [((usize, usize), usize, [f64; 4]); 18] = [
        ((3, 64), 64, [180.1, 195.4, 250.4, 410.1]),
        ((3, 64), 256, [3_551.0, 3_470.0, 4_016.0, 6_841.0]),
        ((16, 16), 5, [1.7, 1.9, 1.5, 1.4]),
        ((16, 16), 8, [2.7, 1.9, 3.0, 3.6]),
        ((16, 16), 20, [13.5, 11.2, 17.4, 22.4]),
        ((16, 16), 64, [112.2, 110.4, 181.6, 230.0]),
        ((16, 16), 256, [1_927.0, 1_802.0, 3_155.0, 3_733.0]),
        ((48, 16), 64, [236.2, 248.7, 390.1, 603.1]),
        ((48, 16), 256, [4_028.0, 4_102.0, 7_084.0, 9_803.0]),
        ((48, 64), 64, [788.2, 772.0, 1_315.0, 2_433.0]),
        ((48, 64), 256, [12_290.0, 13_120.0, 21_840.0, 40_170.0]),
        ((64, 48), 64, [744.7, 809.7, 1_366.0, 2_381.0]),
        ((64, 48), 256, [12_200.0, 12_910.0, 21_590.0, 39_530.0]),
        ((64, 64), 5, [17.5, 15.6, 14.1, 17.4]),
        ((64, 64), 8, [22.4, 16.1, 26.0, 47.5]),
        ((64, 64), 20, [111.8, 97.7, 163.5, 304.9]),
        ((64, 64), 64, [1_002.0, 1_044.0, 1_741.0, 3_184.0]),
        ((64, 64), 256, [15_820.0, 16_500.0, 27_290.0, 52_450.0]),
    ];

    #[test]
    fn the_chosen_algorithm_is_nearly_the_fastest() {
        let mut extra = 0.0;
        for ((inputs, outputs), side, times) in MEASURED {
            let chosen = choose(&conv(inputs, outputs), Direction::Forward, [side, side], Mode::Infer);
            let at = ALGORITHMS.iter().position(|algorithm| *algorithm == chosen).unwrap();
            let ratio = times[at] / times.iter().copied().fold(f64::MAX, f64::min);
            assert!(ratio <= 1.1, "{inputs} to {outputs} at {side}: {chosen} takes {ratio} of the fastest");
            extra += (ratio - 1.0) / MEASURED.len() as f64;
        }
        assert!(extra <= 0.015, "{extra}");
    }

    #[test]
    fn costs_are_what_their_description_says() {
        // 25 tiles of 4×4; 36 points, 4 blocks of outputs; 4 blocks read and 4 written.
        let four = 36 * 4 * 64 * 25 + 420 * 25 * 8;
        assert_eq!(cost(Algorithm::Winograd4x4, (64, 64), [20, 20]), four);
        assert_eq!(cost(Algorithm::Winograd2x2, (64, 64), [20, 20]), 16 * 4 * 64 * 100 + 120 * 100 * 8);
        assert_eq!(cost(Algorithm::Direct, (64, 64), [20, 20]), 3 * 58 * 4 * (64 * 20 + 32 * 4));
        // One tile costs as much to multiply as four.
        assert_eq!(cost(Algorithm::Winograd4x4, (3, 16), [4, 4]), 36 * 3 * 4 + 420 * 2);
    }

    #[test]
    fn what_is_no_plain_3x3_is_decided_without_costs() {
        let plain = conv(64, 64);
        let of = |conv: Conv2d| choose(&conv, Direction::Forward, [64, 64], Mode::Infer);
        assert_eq!(of(Conv2d { groups: 64, ..plain.clone() }), Algorithm::Grouped);
        assert_eq!(of(Conv2d { stride: 2, ..plain.clone() }), Algorithm::Direct);
        assert_eq!(of(Conv2d { kernel: 1, padding: 0, ..plain.clone() }), Algorithm::Pointwise);
        assert_eq!(of(Conv2d { kernel: 5, padding: 2, ..plain.clone() }), Algorithm::Direct);
    }

    #[test]
    fn directions_exchange_channels_and_gradients_have_no_small_tiles() {
        let size = [5, 5];
        assert_eq!(choose(&conv(64, 64), Direction::Forward, size, Mode::Train), Algorithm::Winograd2x2);
        assert_eq!(choose_gradient(&conv(64, 64), size), Algorithm::Winograd4x4);
        let (wide, narrow) = (conv(3, 64), conv(64, 3));
        for size in [[8, 8], [5, 5], [64, 64]] {
            let forward = choose(&wide, Direction::Forward, size, Mode::Train);
            assert_eq!(forward, choose(&narrow, Direction::InputGradient, size, Mode::Train));
        }
    }
}
