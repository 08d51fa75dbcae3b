//! Where in an arena things go that are not all needed at the same time.

/// Something that needs memory for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Item {
    /// First and last moment at which it is needed.
    pub(in crate::engine) live: (usize, usize),
    /// How much it needs, in any unit.
    pub(in crate::engine) size: usize,
}

/// Gives every item its offset, a multiple of `align`: the largest first, each at the lowest place that is free while it lives. Also returns how much memory that takes.
pub(in crate::engine) fn places(items: &[Item], align: usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(items[index].size), index));
    let (mut offsets, mut placed, mut all) = (vec![0; items.len()], Vec::new(), 0);
    for index in order {
        let Item { live, size } = items[index];
        let together = |&&other: &&usize| items[other].live.0 <= live.1 && live.0 <= items[other].live.1;
        let taken =
            placed.iter().filter(together).map(|&other| (offsets[other], offsets[other] + items[other].size));
        let mut taken: Vec<(usize, usize)> = taken.collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (from, to) in taken {
            if offset + size <= from {
                break;
            }
            offset = offset.max(to.next_multiple_of(align));
        }
        offsets[index] = offset;
        all = all.max(offset + size);
        placed.push(index);
    }
    (offsets, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_together_lies_apart_and_memory_is_used_again() {
        let item = |first, last, size| Item { live: (first, last), size };
        let (offsets, all) = places(&[item(0, 1, 10), item(1, 2, 20), item(2, 3, 10), item(0, 3, 5)], 8);
        // The largest lies at the bottom; the first and the third take turns behind it.
        assert_eq!(offsets, [24, 0, 24, 40]);
        assert_eq!(all, 45);
        assert_eq!(places(&[], 8), (vec![], 0));
    }

    proptest::proptest! {
        #[test]
        fn no_two_overlap(raw in proptest::collection::vec((0usize..20, 0usize..6, 1usize..100), 0..40)) {
            let items: Vec<Item> = raw.iter().map(|&(first, length, size)| Item { live: (first, first + length), size }).collect();
            let (offsets, all) = places(&items, 16);
            for (i, a) in items.iter().enumerate() {
                assert!(offsets[i] % 16 == 0 && offsets[i] + a.size <= all);
                for (j, b) in items.iter().enumerate().skip(i + 1) {
                    let together = a.live.0 <= b.live.1 && b.live.0 <= a.live.1;
                    assert!(!together || offsets[i] + a.size <= offsets[j] || offsets[j] + b.size <= offsets[i]);
                }
            }
        }
    }
}
