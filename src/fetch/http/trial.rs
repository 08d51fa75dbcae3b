//! How many streams of one file are worth having: measured on the line at hand, because many servers and lines give no more to several than to one.
//!
//! One stream begins. Another is added after each period in which the last one made the whole noticeably faster; the first that does not is given up, and
//! nothing is tried any more.

use std::time::Duration;

/// How much faster the whole has to become for a stream to be kept. Rates of a line vary by several percent by themselves.
const WORTH: f64 = 1.15;
/// The part of a period after a change that says nothing, because connections begin slowly.
const SETTLING: u32 = 4;

/// A trial, told now and then how much has arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    most: usize,
    period: Duration,
    streams: usize,
    is_over: bool,
    /// When the number of streams changed.
    changed: Duration,
    /// When measuring began after that, and how much was there.
    began: Option<(Duration, u64)>,
    /// What all streams had together before the last one was added, in bytes a second.
    before: Option<f64>,
}

impl Trial {
    /// A trial of up to `most` streams, each measured for `period`; without a period, all are used at once.
    pub(super) fn new(most: usize, period: Duration) -> Self {
        let at_once = period.is_zero() || most <= 1;
        let streams = if at_once { most.max(1) } else { 1 };
        Self { most, period, streams, is_over: at_once, changed: Duration::ZERO, began: None, before: None }
    }

    /// How many streams there may be now.
    pub(super) fn streams(&self) -> usize {
        self.streams
    }

    /// Whether that stays so.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// After `elapsed` since the beginning, `bytes` are here.
    pub(super) fn look(&mut self, elapsed: Duration, bytes: u64) {
        let Some((since, held)) = self.began else {
            if elapsed >= self.changed + self.period / SETTLING {
                self.began = Some((elapsed, bytes));
            }
            return;
        };
        let time = elapsed.saturating_sub(since);
        if self.is_over || time < self.period {
            return;
        }
        let rate = bytes.saturating_sub(held) as f64 / time.as_secs_f64();
        if self.before.is_some_and(|before| rate < before * WORTH) {
            self.streams -= 1;
            self.is_over = true;
        } else if self.streams == self.most {
            self.is_over = true;
        } else {
            self.streams += 1;
        }
        (self.before, self.began, self.changed) = (Some(rate), None, elapsed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The streams after each look of a simulated line that gives `rate` bytes a second to so many streams.
    fn walk(most: usize, rate: impl Fn(usize) -> u64) -> (Vec<usize>, bool) {
        let mut trial = Trial::new(most, Duration::from_secs(2));
        let (mut bytes, mut streams) = (0, vec![trial.streams()]);
        for tenth in 1..=200 {
            bytes += rate(trial.streams()) / 10;
            trial.look(Duration::from_millis(100 * tenth), bytes);
            if streams.last() != Some(&trial.streams()) {
                streams.push(trial.streams());
            }
        }
        (streams, trial.is_over())
    }

    #[test]
    fn streams_are_added_while_they_help() {
        assert_eq!(walk(4, |streams| 1000 * streams as u64), (vec![1, 2, 3, 4], true));
        assert_eq!(walk(4, |streams| 1000 * streams.min(2) as u64), (vec![1, 2, 3, 2], true));
    }

    #[test]
    fn a_line_that_gives_no_more_to_several_gets_one() {
        assert_eq!(walk(4, |_| 1000), (vec![1, 2, 1], true));
        assert_eq!(walk(4, |streams| 1000 / streams as u64), (vec![1, 2, 1], true));
        assert_eq!(walk(4, |streams| 1000 + 50 * streams as u64), (vec![1, 2, 1], true), "5 % is no help");
    }

    #[test]
    fn a_line_that_stands_still_ends_the_trial_too() {
        assert!(walk(2, |_| 0).1);
        let at_once = Trial::new(4, Duration::ZERO);
        assert_eq!((at_once.streams(), at_once.is_over()), (4, true));
        let alone = Trial::new(1, Duration::from_secs(2));
        assert_eq!((alone.streams(), alone.is_over()), (1, true));
    }
}
