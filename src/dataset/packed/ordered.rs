//! Things made in parallel and taken in order, few at a time.
//!
//! Whoever finishes the next thing in line also takes it, and what waits behind it: no thread is set aside for that, and none is added to those of
//! rayon's pool. At most `in_flight` things exist at a time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What the threads share.
struct Line<T, E> {
    /// The next one to begin with.
    next: usize,
    /// The next one to take.
    due: usize,
    /// Made, and waiting for its turn.
    ready: BTreeMap<usize, Result<T, E>>,
    /// Whether a thread is taking things right now.
    taking: bool,
    /// Why no more are begun.
    stopped: Option<Option<E>>,
}

/// Calls `make` for each number of the range on the threads of rayon's pool, and `take` with the results, one at a time and in order.
///
/// # Errors
/// The error of the first number that has one, after all before it were taken.
pub(super) fn in_order<T: Send, E: Send>(
    numbers: Range<usize>,
    in_flight: usize,
    make: impl Fn(usize) -> Result<T, E> + Sync,
    take: impl FnMut(usize, T) -> Result<(), E> + Send,
) -> Result<(), E> {
    let line = Line {
        next: numbers.start,
        due: numbers.start,
        ready: BTreeMap::new(),
        taking: false,
        stopped: None,
    };
    let (line, moved, take) = (Mutex::new(line), Condvar::new(), Mutex::new(take));
    let in_flight = in_flight.max(1);
    let work = || {
        // A thread that panics must not let the others wait for ever; rayon passes the panic on.
        let _stop = StopOnPanic { line: &line, moved: &moved };
        loop {
            let mut state = lock(&line);
            while state.stopped.is_none() && state.next < numbers.end && state.next - state.due >= in_flight {
                state = moved.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stopped.is_some() || state.next >= numbers.end {
                return;
            }
            let number = state.next;
            state.next += 1;
            drop(state);
            let made = make(number);
            let mut state = lock(&line);
            state.ready.insert(number, made);
            if std::mem::replace(&mut state.taking, true) {
                // `taking` was set: that thread looks into the line again before it clears it.
                continue;
            }
            let mut take = lock(&take);
            while state.stopped.is_none() {
                let due = state.due;
                let Some(made) = state.ready.remove(&due) else { break };
                drop(state);
                let taken = made.and_then(|thing| take(due, thing));
                state = lock(&line);
                match taken {
                    Ok(()) => state.due += 1,
                    Err(error) => state.stopped = Some(Some(error)),
                }
                moved.notify_all();
            }
            state.taking = false;
        }
    };
    rayon::scope(|scope| (0..rayon::current_num_threads()).for_each(|_| scope.spawn(|_| work())));
    let line = line.into_inner().unwrap_or_else(PoisonError::into_inner);
    line.stopped.flatten().map_or(Ok(()), Err)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct StopOnPanic<'a, T, E> {
    line: &'a Mutex<Line<T, E>>,
    moved: &'a Condvar,
}

impl<T, E> Drop for StopOnPanic<'_, T, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(self.line).stopped.get_or_insert(None);
            self.moved.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn everything_is_taken_in_order_and_few_are_held() {
        for (threads, in_flight) in [(1, 1), (2, 2), (3, 4), (4, 1)] {
            let (held, most, mut seen) = (AtomicUsize::new(0), AtomicUsize::new(0), Vec::new());
            let make = |number: usize| {
                most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Later ones are ready first.
                std::thread::sleep(Duration::from_micros(200 * (5 - number as u64 % 5)));
                Ok::<_, ()>(number * 10)
            };
            let take = |number: usize, made: usize| {
                held.fetch_sub(1, Ordering::SeqCst);
                seen.push((number, made));
                Ok(())
            };
            pool(threads).install(|| in_order(3..43, in_flight, make, take)).unwrap();
            assert_eq!(seen, (3..43).map(|number| (number, number * 10)).collect::<Vec<_>>());
            assert!(most.into_inner() <= in_flight);
        }
        assert_eq!(in_order(4..4, 2, |_| Ok::<_, ()>(()), |_, ()| Ok(())), Ok(()));
    }

    #[test]
    fn the_first_error_in_order_comes_after_all_before_it() {
        for (make_fails, take_fails) in
            [(Some(7), None), (None, Some(7)), (Some(8), Some(7)), (Some(7), Some(9))]
        {
            let mut seen = Vec::new();
            let make = |number: usize| match make_fails {
                Some(first) if number >= first => Err(number),
                _ => Ok(()),
            };
            let take = |number: usize, ()| {
                seen.push(number);
                if take_fails == Some(number) { Err(number) } else { Ok(()) }
            };
            assert_eq!(pool(3).install(|| in_order(0..30, 4, make, take)), Err(7));
            assert_eq!(seen[..7], [0, 1, 2, 3, 4, 5, 6]);
            assert!(seen.len() <= 8);
        }
    }

    #[test]
    #[should_panic(expected = "image 5")]
    fn a_panic_is_passed_on_instead_of_waited_for() {
        let make = |number: usize| match number {
            5 => panic!("image 5"),
            _ => Ok::<_, ()>(()),
        };
        let _ = pool(3).install(|| in_order(0..30, 2, make, |_, ()| Ok(())));
    }
}
