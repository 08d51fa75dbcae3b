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
    /// Whether streams beside the first may claim more.
    helped: bool,
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
    pub(super) fn new(held: Extents, total_bytes: Option<u64>, limit_bytes: u64, helped: bool) -> Self {
        let state = State {
            held,
            claims: BTreeMap::new(),
            next_claim: 0,
            total_bytes,
            helped,
            stopped: false,
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), limit_bytes }
    }

    /// A thread that panicked here would be found when it is joined; the numbers themselves are always whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the first part that is neither here nor on its way, at most `step` bytes of it.
    pub(super) fn claim(&self, step: u64, helper: bool) -> Option<Claim<'_>> {
        let mut state = self.state();
        if state.stopped || (helper && !state.helped) {
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

    /// From now on only the first stream goes on.
    pub(super) fn no_more_help(&self) {
        self.state().helped = false;
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
        let board = Board::new(Extents::default(), Some(10), 99, true);
        let mut first = board.claim(4, false).unwrap();
        let second = board.claim(4, true).unwrap();
        assert_eq!((first.range(), second.range()), (0..4, 4..8));
        first.advance(4);
        assert!(!first.extend(4), "the second has that");
        drop(second);
        assert!(first.extend(4));
        assert_eq!(first.range(), 4..8);
        assert_eq!(board.claim(4, true).unwrap().range(), 8..10);
        board.no_more_help();
        assert!(board.claim(4, true).is_none() && board.claim(4, false).is_some());
        first.advance(4);
        assert!(first.extend(4));
        first.advance(2);
        assert!(board.is_complete() && !first.extend(4));
    }

    #[test]
    fn an_unknown_size_is_bounded_until_it_is_known() {
        let board = Board::new(Extents::default(), None, 7, false);
        let mut claim = board.claim(u64::MAX, false).unwrap();
        assert_eq!(claim.range(), 0..7);
        claim.advance(3);
        board.ends_at(3);
        assert!(board.is_complete());
        board.close();
        let front = board.wait_beyond(3, Duration::ZERO);
        assert!(front.closed && !front.stopped && front.prefix == 3);
    }
}
