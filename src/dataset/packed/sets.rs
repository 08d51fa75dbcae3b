//! Several packed sets as one, in their order: DF2K is DIV2K and Flickr2K, each packed for itself.

use super::Packed;
use crate::dataset::{PairView, Pairs};
use crate::fsio;

/// Packed sets, one after another.
#[derive(Debug)]
pub struct PackedSets(Vec<Packed>);

impl PackedSets {
    /// The pairs of all sets, in this order.
    pub fn new(sets: Vec<Packed>) -> Self {
        Self(sets)
    }
}

impl Pairs for PackedSets {
    fn len(&self) -> usize {
        self.0.iter().map(Packed::len).sum()
    }

    fn pair(&self, mut index: usize) -> Option<PairView<'_>> {
        for set in &self.0 {
            if index < set.len() {
                return set.pair(index);
            }
            index -= set.len();
        }
        None
    }

    /// From the checksums in the files: no pixel is read.
    fn images_sha256(&self) -> String {
        let lines: String = self.0.iter().map(Packed::lines).collect();
        fsio::sha256_hex(lines.as_bytes())
    }
}
