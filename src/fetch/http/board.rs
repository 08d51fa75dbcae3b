//! Which parts of a file are here, which are on their way, and who waits for what. Shared by all threads of one round.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::extents::Extents;

/// The shared state. Every part is claimed by at most one stream at a time, so no two write to the same place.
#[derive(Debug)]
pub(super) struct Board {
    state: Mutex<State>,
    changed: Condvar,
    /// The most the file may have while its size is not known, in bytes.
    limit_bytes: u64,
}

#[derive(Debug)]
struct State {
    held: Extents,
    claims: BTreeMap<u64, Range<u64>>,
    next_claim: u64,
    total_bytes: Option<u64>,
    /// How many streams may claim something; those with higher numbers wait.
    streams: usize,
    /// Whether there will not be more of them.
    settled: bool,
    stopped: bool,
    closed: bool,
}

/// What the follower of the front of the file learns when it waited.
#[derive(Debug)]
pub(super) struct Front {
    /// Everything before this is here.
    pub(super) prefix: u64,
    /// Whether nothing more will come.
    pub(super) closed: bool,
    /// Whether the round failed.
    pub(super) stopped: bool,
}

impl Board {
    pub(super) fn new(held: Extents, total_bytes: Option<u64>, limit_bytes: u64) -> Self {
        let state = State {
            held,
            claims: BTreeMap::new(),
            next_claim: 0,
            total_bytes,
            streams: 1,
            settled: false,
            stopped: false,
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), limit_bytes }
    }

    /// A thread that panicked here would be found when it is joined; the numbers themselves are always whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the first part that is neither here nor on its way, at most `step` bytes of it, for the stream of that number.
    pub(super) fn claim(&self, step: u64, stream: usize) -> Option<Claim<'_>> {
        let mut state = self.state();
        if state.stopped || stream >= state.streams {
            return None;
        }
        let gap = self.free(&state, 0)?;
        let range = gap.start..gap.end.min(gap.start.saturating_add(step));
        let id = state.next_claim;
        state.next_claim += 1;
        state.claims.insert(id, range.clone());
        Some(Claim { board: self, id, range })
    }

    fn free(&self, state: &State, from: u64) -> Option<Range<u64>> {
        let mut taken = state.held.clone();
        for claim in state.claims.values() {
            taken.insert(claim.clone());
        }
        taken.gap(from, state.total_bytes.unwrap_or(self.limit_bytes))
    }

    /// The file turned out to have this many bytes.
    pub(super) fn ends_at(&self, total_bytes: u64) {
        self.state().total_bytes = Some(total_bytes);
        self.changed.notify_all();
    }

    /// So many streams may claim parts from now on; with `for_good`, that stays so, and who waits for its turn need not wait any more.
    pub(super) fn allow(&self, streams: usize, for_good: bool) {
        let mut state = self.state();
        if !state.settled {
            (state.streams, state.settled) = (streams, for_good);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// From now on only the first stream goes on.
    pub(super) fn no_more_help(&self) {
        let mut state = self.state();
        (state.streams, state.settled) = (1, true);
        drop(state);
        self.changed.notify_all();
    }

    /// No stream is added any more; those that are there go on.
    pub(super) fn settle(&self) {
        self.state().settled = true;
        self.changed.notify_all();
    }

    /// Waits until the stream of that number may claim parts; `false` if it never will.
    pub(super) fn wait_turn(&self, stream: usize) -> bool {
        let waits = |state: &mut State| !state.stopped && !state.settled && stream >= state.streams;
        let state = self.changed.wait_while(self.state(), waits).unwrap_or_else(PoisonError::into_inner);
        !state.stopped && stream < state.streams
    }

    /// Waits for `timeout`; how much is here then, or nothing if the number of streams will not change any more.
    pub(super) fn look_after(&self, timeout: Duration) -> Option<u64> {
        let waits = |state: &mut State| !state.stopped && !state.settled;
        let waited = self.changed.wait_timeout_while(self.state(), timeout, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (!state.stopped && !state.settled).then(|| state.held.bytes())
    }

    /// Nobody needs to go on: something failed for good.
    pub(super) fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    pub(super) fn is_complete(&self) -> bool {
        let state = self.state();
        state.total_bytes == Some(state.held.prefix())
    }

    /// No stream will write any more. Without the whole file, nobody needs the rest of the hash either.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.stopped |= state.total_bytes != Some(state.held.prefix());
        state.closed = true;
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until more than `hashed` bytes are here from the front on, or everything ended, or `timeout` passed.
    pub(super) fn wait_beyond(&self, hashed: u64, timeout: Duration) -> Front {
        let idle = |state: &mut State| !state.stopped && !state.closed && state.held.prefix() <= hashed;
        let waited = self.changed.wait_timeout_while(self.state(), timeout, idle);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        Front { prefix: state.held.prefix(), closed: state.closed, stopped: state.stopped }
    }

    /// What is here now.
    pub(super) fn held(&self) -> Extents {
        self.state().held.clone()
    }

    /// The size of the file, if it is known by now.
    pub(super) fn total_bytes(&self) -> Option<u64> {
        self.state().total_bytes
    }
}

/// A part of the file that one stream is about to write. Dropping it gives back what was not written.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    board: &'a Board,
    id: u64,
    range: Range<u64>,
}

impl Claim<'_> {
    /// What is still to be written.
    pub(super) fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The next `bytes` of it are written.
    pub(super) fn advance(&mut self, bytes: u64) {
        let mut state = self.board.state();
        let end = self.range.start.saturating_add(bytes).min(self.range.end);
        state.held.insert(self.range.start..end);
        self.range.start = end;
        state.claims.insert(self.id, self.range.clone());
        drop(state);
        self.board.changed.notify_all();
    }

    /// Goes on behind its end, for at most `step` bytes, if nobody else is there.
    pub(super) fn extend(&mut self, step: u64) -> bool {
        let mut state = self.board.state();
        let Some(free) = self.board.free(&state, self.range.end).filter(|free| free.start == self.range.end)
        else {
            return false;
        };
        self.range.end = free.end.min(free.start.saturating_add(step));
        state.claims.insert(self.id, self.range.clone());
        true
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.board.state().claims.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_one_writer() {
        let board = Board::new(Extents::default(), Some(10), 99);
        let mut first = board.claim(4, 0).unwrap();
        assert!(board.claim(4, 1).is_none(), "its turn has not come");
        board.allow(2, false);
        assert!(board.wait_turn(1) && board.look_after(Duration::ZERO) == Some(0));
        let second = board.claim(4, 1).unwrap();
        assert_eq!((first.range(), second.range()), (0..4, 4..8));
        first.advance(4);
        assert!(!first.extend(4), "the second has that");
        drop(second);
        assert!(first.extend(4));
        assert_eq!(first.range(), 4..8);
        assert_eq!(board.claim(4, 1).unwrap().range(), 8..10);
        board.no_more_help();
        board.allow(2, true);
        assert!(board.claim(4, 1).is_none() && board.claim(4, 0).is_some());
        assert!(!board.wait_turn(1) && board.look_after(Duration::ZERO).is_none());
        first.advance(4);
        assert!(first.extend(4));
        first.advance(2);
        assert!(board.is_complete() && !first.extend(4));
    }

    #[test]
    fn an_unknown_size_is_bounded_until_it_is_known() {
        let board = Board::new(Extents::default(), None, 7);
        let mut claim = board.claim(u64::MAX, 0).unwrap();
        assert_eq!(claim.range(), 0..7);
        claim.advance(3);
        board.ends_at(3);
        assert!(board.is_complete());
        board.close();
        let front = board.wait_beyond(3, Duration::ZERO);
        assert!(front.closed && !front.stopped && front.prefix == 3);
    }
}
