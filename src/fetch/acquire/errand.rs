//! What is fetched together, and doing several such things at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::manifest::datasets::{Archive, Dataset, Source};

/// What is fetched together.
pub(super) enum Errand<'a> {
    /// An archive, and the datasets in it.
    Archive(Arc<Archive>, Vec<(&'a Dataset, &'a Source)>),
    /// Files one by one.
    Loose(&'a Dataset, &'a Source),
}

/// What is fetched together when every dataset uses its source number `attempt`.
pub(super) fn errands<'a>(datasets: &[&'a Dataset], attempt: usize) -> Vec<Errand<'a>> {
    let mut errands: Vec<Errand<'a>> = Vec::new();
    for &dataset in datasets {
        let Some(source) = dataset.sources.get(attempt) else { continue };
        let Some(archive) = source.archive() else {
            errands.push(Errand::Loose(dataset, source));
            continue;
        };
        let same = errands.iter_mut().find_map(|errand| match errand {
            Errand::Archive(other, contents) if other.file == archive.file => Some(contents),
            _ => None,
        });
        match same {
            Some(contents) => contents.push((dataset, source)),
            None => errands.push(Errand::Archive(Arc::clone(archive), vec![(dataset, source)])),
        }
    }
    errands
}

/// Applies `work` to every item on up to `threads` threads of its own: what waits for the network must not occupy those that compute.
pub(super) fn in_parallel<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                while let Some((index, item)) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .and_then(|index| Some((index, items.get(index)?)))
                {
                    let result = work(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|&(index, _)| index);
    results.into_iter().map(|(_, result)| result).collect()
}
