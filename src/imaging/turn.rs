//! Squares of 16 × 16 pixels turned, and runs of 16 pixels reversed, by instructions that move 16 bytes at once.
//!
//! Each function has a plain twin, which is used where the processor lacks the instructions, and which the tests compare with.

/// Side of a square in pixels: it has 16 lines of the source and 16 of the target in the first-level cache, whatever the length of a row.
pub(super) const SIDE: usize = 16;
/// Bytes of 16 pixels.
pub(super) const LINE_BYTES: usize = SIDE * 3;
/// Lines of 16 pixels.
pub(super) type Square<'a> = [&'a [u8; LINE_BYTES]; SIDE];

/// What this processor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A pixel at a time.
    Plain,
    /// With byte shuffles (SSSE3).
    #[cfg(target_arch = "x86_64")]
    Shuffles,
}

impl Way {
    /// The fastest one.
    pub(super) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("ssse3") {
            return Self::Shuffles;
        }
        Self::Plain
    }

    /// Writes column `x` of the square, from top to bottom, at `place(x)` of `to`.
    pub(super) fn turn(self, square: &Square<'_>, to: &mut [u8], place: impl Fn(usize) -> usize) {
        match self {
            Self::Plain => turn(square, to, place),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this way is only there where the processor has the instructions.
            Self::Shuffles => unsafe { shuffles::turn(square, to, place) },
        }
    }

    /// Begins to bring a row into the cache. Squares are read from sixteen rows at once, more than the processor follows by itself.
    pub(super) fn fetch(self, row: &[u8]) {
        match self {
            Self::Plain => {}
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Shuffles => unsafe { shuffles::fetch(row) },
        }
    }

    /// Writes the pixels of a row in reverse order.
    pub(super) fn reverse(self, row: &[u8], to: &mut [u8]) {
        let (whole, rest) = to.as_chunks_mut::<LINE_BYTES>();
        let (first, blocks) = row.as_rchunks::<LINE_BYTES>();
        match self {
            Self::Plain => reverse(blocks, whole),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Shuffles => unsafe { shuffles::reverse(blocks, whole) },
        }
        let pixels = first.as_chunks::<3>().0.iter().rev();
        for (pixel, value) in rest.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
            *pixel = *value;
        }
    }
}

fn turn(square: &Square<'_>, to: &mut [u8], place: impl Fn(usize) -> usize) {
    for x in 0..SIDE {
        let line = to[place(x)..].as_chunks_mut::<3>().0.iter_mut();
        line.zip(square).for_each(|(pixel, row)| *pixel = row.as_chunks().0[x]);
    }
}

fn reverse(blocks: &[[u8; LINE_BYTES]], to: &mut [[u8; LINE_BYTES]]) {
    for (to, from) in to.iter_mut().zip(blocks.iter().rev()) {
        let pixels = from.as_chunks::<3>().0.iter().rev();
        to.as_chunks_mut::<3>().0.iter_mut().zip(pixels).for_each(|(to, from)| *to = *from);
    }
}

#[cfg(target_arch = "x86_64")]
mod shuffles {
    use std::arch::x86_64::{
        __m128i, _MM_HINT_T0, _mm_loadu_si128, _mm_or_si128, _mm_prefetch, _mm_shuffle_epi8, _mm_slli_si128,
        _mm_srli_si128, _mm_storeu_si128, _mm_unpackhi_epi32, _mm_unpackhi_epi64, _mm_unpacklo_epi32,
        _mm_unpacklo_epi64,
    };

    use super::{LINE_BYTES, SIDE, Square};

    const CACHE_LINE_BYTES: usize = 64;
    /// A shuffle puts zero where its mask says this.
    const NONE: u8 = 0x80;

    /// Four pixels of three bytes, the first of them at byte `at`, to four bytes each.
    const fn apart(at: usize) -> [u8; 16] {
        let mut mask = [NONE; 16];
        let mut byte = 0;
        while byte < 12 {
            mask[byte / 3 * 4 + byte % 3] = (at + byte) as u8;
            byte += 1;
        }
        mask
    }

    /// The way back: four pixels of four bytes to twelve bytes.
    const TOGETHER: [u8; 16] = {
        let mut mask = [NONE; 16];
        let mut byte = 0;
        while byte < 12 {
            mask[byte] = (byte / 3 * 4 + byte % 3) as u8;
            byte += 1;
        }
        mask
    };

    /// What byte 16 · `to` + i of 16 reversed pixels takes from bytes 16 · `from` to 16 · `from` + 15 of them.
    const fn reversed(to: usize, from: usize) -> [u8; 16] {
        let mut mask = [NONE; 16];
        let mut byte = 0;
        while byte < 16 {
            let place = to * 16 + byte;
            let source = (SIDE - 1 - place / 3) * 3 + place % 3;
            if source / 16 == from {
                mask[byte] = (source % 16) as u8;
            }
            byte += 1;
        }
        mask
    }

    const FIRST: [u8; 16] = apart(0);
    /// For the last four pixels of a line: sixteen bytes from their first one on would reach behind the line.
    const LAST: [u8; 16] = apart(4);

    #[target_feature(enable = "ssse3")]
    fn load(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: an unaligned load of the sixteen bytes of the reference.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "ssse3")]
    fn store(to: &mut [u8; 16], value: __m128i) {
        // SAFETY: an unaligned store to the sixteen bytes of the reference.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), value) }
    }

    /// Sixteen bytes at a place that is known to be inside.
    #[inline(always)]
    fn at<const N: usize>(bytes: &[u8; N], place: usize) -> &[u8; 16] {
        bytes[place..].first_chunk().unwrap_or(&[0; 16])
    }

    #[target_feature(enable = "ssse3")]
    pub(super) fn turn(square: &Square<'_>, to: &mut [u8], place: impl Fn(usize) -> usize) {
        let together = load(&TOGETHER);
        for left in (0..SIDE).step_by(4) {
            let is_last = left + 4 == SIDE;
            let (at_byte, mask) = if is_last { (left * 3 - 4, &LAST) } else { (left * 3, &FIRST) };
            let mask = load(mask);
            // Blocks of four by four pixels: the four rows from `top` on become a quarter of four columns, twelve bytes each.
            let quarters = |top: usize| {
                let row = |row: usize| _mm_shuffle_epi8(load(at(square[top + row], at_byte)), mask);
                let (a, b, c, d) = (row(0), row(1), row(2), row(3));
                let (low_ab, high_ab) = (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
                let (low_cd, high_cd) = (_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
                [
                    _mm_shuffle_epi8(_mm_unpacklo_epi64(low_ab, low_cd), together),
                    _mm_shuffle_epi8(_mm_unpackhi_epi64(low_ab, low_cd), together),
                    _mm_shuffle_epi8(_mm_unpacklo_epi64(high_ab, high_cd), together),
                    _mm_shuffle_epi8(_mm_unpackhi_epi64(high_ab, high_cd), together),
                ]
            };
            let [first, second, third, fourth] = [quarters(0), quarters(4), quarters(8), quarters(12)];
            for x in 0..4 {
                // Joined here and not in memory: reading back what two stores wrote together makes the processor wait.
                let line = [
                    _mm_or_si128(first[x], _mm_slli_si128::<12>(second[x])),
                    _mm_or_si128(_mm_srli_si128::<4>(second[x]), _mm_slli_si128::<8>(third[x])),
                    _mm_or_si128(_mm_srli_si128::<8>(third[x]), _mm_slli_si128::<4>(fourth[x])),
                ];
                let to = to[place(left + x)..][..LINE_BYTES].as_chunks_mut().0;
                to.iter_mut().zip(line).for_each(|(to, value)| store(to, value));
            }
        }
    }

    #[target_feature(enable = "ssse3")]
    pub(super) fn reverse(blocks: &[[u8; LINE_BYTES]], to: &mut [[u8; LINE_BYTES]]) {
        // The outer thirds take nothing from each other.
        const MASKS: [[u8; 16]; 7] = [
            reversed(0, 1),
            reversed(0, 2),
            reversed(1, 0),
            reversed(1, 1),
            reversed(1, 2),
            reversed(2, 0),
            reversed(2, 1),
        ];
        let masks = MASKS.each_ref().map(|mask| load(mask));
        for (to, from) in to.iter_mut().zip(blocks.iter().rev()) {
            let (a, b, c) = (load(at(from, 0)), load(at(from, 16)), load(at(from, 32)));
            let taken = |part: __m128i, mask: usize| _mm_shuffle_epi8(part, masks[mask]);
            let first = _mm_or_si128(taken(b, 0), taken(c, 1));
            let second = _mm_or_si128(_mm_or_si128(taken(a, 2), taken(b, 3)), taken(c, 4));
            let third = _mm_or_si128(taken(a, 5), taken(b, 6));
            for (to, value) in to.as_chunks_mut::<16>().0.iter_mut().zip([first, second, third]) {
                store(to, value);
            }
        }
    }

    #[target_feature(enable = "ssse3")]
    pub(super) fn fetch(row: &[u8]) {
        for line in row.chunks(CACHE_LINE_BYTES) {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::testdata::Bytes;

    #[test]
    fn the_best_way_does_what_the_plain_one_does() {
        let mut bytes = Bytes::new(16);
        for _ in 0..50 {
            let pixels = bytes.take(SIDE * LINE_BYTES);
            let lines = pixels.as_chunks::<LINE_BYTES>().0;
            let square = std::array::from_fn(|y| &lines[y]);
            // Every other line, from the last to the first, so that nothing beside them may change.
            let place = |x: usize| (SIDE - 1 - x) * 2 * LINE_BYTES;
            for way in [Way::Plain, Way::best()] {
                let mut to = vec![9; SIDE * 2 * LINE_BYTES];
                way.turn(&square, &mut to, place);
                for x in 0..SIDE {
                    let (line, beside) = to[place(x)..][..2 * LINE_BYTES].split_at(LINE_BYTES);
                    let column = lines.iter().flat_map(|line| line[x * 3..x * 3 + 3].to_vec());
                    assert!(column.eq(line.iter().copied()), "column {x}, {way:?}");
                    assert_eq!(beside, [9; LINE_BYTES], "column {x}, {way:?}");
                }
            }
        }
        for count in 0..70 {
            let row = bytes.take(count * 3);
            let expected: Vec<u8> = row.chunks(3).rev().flatten().copied().collect();
            for way in [Way::Plain, Way::best()] {
                let mut to = vec![9; row.len()];
                way.reverse(&row, &mut to);
                assert_eq!(to, expected, "{count} pixels, {way:?}");
            }
        }
    }
}
