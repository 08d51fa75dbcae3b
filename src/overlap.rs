//! Items that are read, computed and finished one after another, with the three steps of neighbouring items side by side.
//!
//! While an item is computed, the one before is finished and the one after is read, all in rayon's pool: at most three items are in memory, no thread is added to those asked
//! for, and results come in the order of the items. The computing step never runs twice at a time, so it may hold a lock while it waits for its own parallel work.

/// Walks through `count` items. `each` gets what is finished, in order, on the calling thread.
///
/// # Errors
/// The error of the first item that has one, after all items before it are finished.
pub fn overlapped<A, B, C, E>(
    count: usize,
    read: impl Fn(usize) -> Result<A, E> + Sync,
    compute: impl Fn(usize, A) -> Result<B, E> + Sync,
    finish: impl Fn(usize, B) -> Result<C, E> + Sync,
    mut each: impl FnMut(usize, C) -> Result<(), E>,
) -> Result<(), E>
where
    A: Send,
    B: Send,
    C: Send,
    E: Send,
{
    let mut to_compute = (count > 0).then(|| read(0));
    let mut to_finish: Option<B> = None;
    for item in 0..=count {
        let (waiting, last) = (to_compute.take(), to_finish.take());
        let next = item + 1;
        let (computed, (finished, read)) = rayon::join(
            || waiting.map(|value| compute(item, value?)),
            || {
                rayon::join(
                    || last.map(|value| finish(item - 1, value)),
                    || (next < count).then(|| read(next)),
                )
            },
        );
        if let Some(finished) = finished {
            each(item - 1, finished?)?;
        }
        to_finish = computed.transpose()?;
        to_compute = read;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn everything_comes_in_order_with_at_most_three_items_at_a_time() {
        for threads in [1, 2, 4] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for count in [0, 1, 2, 3, 20] {
                let (held, most, mut seen) = (AtomicUsize::new(0), AtomicUsize::new(0), Vec::new());
                let computing = Mutex::new(());
                let read = |item: usize| {
                    most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    Ok::<_, ()>(item * 10)
                };
                let compute = |item, value| {
                    let _alone = computing.try_lock().unwrap();
                    assert_eq!(value, item * 10);
                    Ok(value + 1)
                };
                let finish = |item, value| {
                    assert_eq!(value, item * 10 + 1);
                    held.fetch_sub(1, Ordering::SeqCst);
                    Ok(value)
                };
                let each = |item, value| {
                    seen.push((item, value));
                    Ok(())
                };
                pool.install(|| overlapped(count, read, compute, finish, each)).unwrap();
                let expected: Vec<_> = (0..count).map(|item| (item, item * 10 + 1)).collect();
                assert_eq!(seen, expected);
                assert!(most.into_inner() <= 3);
            }
        }
    }

    #[test]
    fn the_first_error_comes_after_all_that_is_before_it() {
        for (step, at) in ["read", "compute", "finish"].into_iter().flat_map(|step| [(step, 0), (step, 3)]) {
            let mut seen = Vec::new();
            // The item after the bad one is bad in every step: its error must not come first.
            let check = |name: &'static str, item: usize| match item {
                _ if name == step && item == at => Err((name, item)),
                _ if item == at + 1 => Err((name, item)),
                _ => Ok(()),
            };
            let error = overlapped(
                6,
                |item| check("read", item),
                |item, ()| check("compute", item),
                |item, ()| check("finish", item),
                |item, ()| {
                    seen.push(item);
                    Ok(())
                },
            );
            assert_eq!(error, Err((step, at)));
            assert_eq!(seen, (0..at).collect::<Vec<_>>());
        }
    }
}
