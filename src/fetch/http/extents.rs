//! Which parts of a file are there.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A set of byte positions, kept as sorted, disjoint ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub(super) struct Extents(Vec<Range<u64>>);

impl Extents {
    /// Adds a range; what is there already stays.
    pub(super) fn insert(&mut self, new: Range<u64>) {
        if new.is_empty() {
            return;
        }
        // Everything that overlaps or touches the new range becomes part of it.
        let from = self.0.partition_point(|held| held.end < new.start);
        let to = self.0.partition_point(|held| held.start <= new.end);
        let touched = self.0.get(from..to).unwrap_or_default();
        let start = touched.first().map_or(new.start, |first| first.start.min(new.start));
        let end = touched.last().map_or(new.end, |last| last.end.max(new.end));
        self.0.splice(from..to, std::iter::once(start..end));
    }

    /// Forgets everything from `end` on.
    pub(super) fn truncate(&mut self, end: u64) {
        self.0.retain(|held| held.start < end);
        if let Some(last) = self.0.last_mut() {
            last.end = last.end.min(end);
        }
    }

    /// How many bytes there are from the file's first one on without a gap.
    pub(super) fn prefix(&self) -> u64 {
        self.0.first().filter(|first| first.start == 0).map_or(0, |first| first.end)
    }

    /// How many bytes there are.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|held| held.end - held.start).sum()
    }

    /// Where the last byte ends.
    pub(super) fn end(&self) -> u64 {
        self.0.last().map_or(0, |last| last.end)
    }

    /// The first gap at or after `from` and before `limit`.
    pub(super) fn gap(&self, from: u64, limit: u64) -> Option<Range<u64>> {
        let next = self.0.partition_point(|held| held.end <= from);
        let (start, after) = match self.0.get(next) {
            Some(held) if held.start <= from => (held.end, next + 1),
            _ => (from, next),
        };
        let end = self.0.get(after).map_or(limit, |held| held.start.min(limit));
        (start < end).then_some(start..end)
    }
}

impl From<Extents> for Vec<(u64, u64)> {
    fn from(extents: Extents) -> Self {
        extents.0.into_iter().map(|held| (held.start, held.end)).collect()
    }
}

impl TryFrom<Vec<(u64, u64)>> for Extents {
    type Error = String;

    fn try_from(pairs: Vec<(u64, u64)>) -> Result<Self, String> {
        let mut extents = Self::default();
        for (start, end) in pairs {
            if start >= end || (start <= extents.end() && !extents.0.is_empty()) {
                return Err(format!("{start}..{end} is empty, or not after the range before it"));
            }
            extents.insert(start..end);
        }
        Ok(extents)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gaps_are_what_is_not_there() {
        let mut held = Extents::default();
        assert_eq!(held.gap(0, 10), Some(0..10));
        held.insert(2..4);
        held.insert(6..8);
        assert_eq!(
            (held.gap(0, 10), held.gap(2, 10), held.gap(5, 10), held.gap(7, 10)),
            (Some(0..2), Some(4..6), Some(5..6), Some(8..10))
        );
        assert_eq!((held.gap(6, 8), held.prefix(), held.bytes(), held.end()), (None, 0, 4, 8));
        held.insert(0..6);
        assert_eq!((held.prefix(), held.0.len()), (8, 1));
        held.truncate(3);
        assert_eq!((held.prefix(), held.gap(0, 9)), (3, Some(3..9)));
    }

    proptest! {
        #[test]
        fn they_are_a_set_of_positions(ranges in prop::collection::vec((0u64..60, 0u64..20), 0..12), from in 0u64..90, limit in 0u64..90) {
            let mut held = Extents::default();
            let mut model = [false; 100];
            for (start, length) in ranges {
                held.insert(start..start + length);
                model[start as usize..(start + length) as usize].fill(true);
            }
            prop_assert_eq!(held.bytes(), model.iter().filter(|there| **there).count() as u64);
            prop_assert_eq!(held.prefix(), model.iter().take_while(|there| **there).count() as u64);
            let free = |at: &u64| !model[*at as usize];
            let expected = (from..limit).find(free).map(|start| start..(start..limit).find(|at| !free(at)).unwrap_or(limit));
            prop_assert_eq!(held.gap(from, limit), expected);
            let json = serde_json::to_string(&held).unwrap();
            prop_assert_eq!(serde_json::from_str::<Extents>(&json).unwrap(), held);
        }

        #[test]
        fn hostile_notes_are_refused_or_sane(pairs in prop::collection::vec((any::<u64>(), any::<u64>()), 0..5)) {
            if let Ok(held) = Extents::try_from(pairs) {
                prop_assert!(held.bytes() <= held.end());
            }
        }
    }
}
