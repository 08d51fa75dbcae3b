//! When the next sample is due.

use std::time::Duration;

/// The time from one sample to the next, 10 to 100 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingPeriod(Duration);

impl SamplingPeriod {
    /// The shortest: the driver's own values change about as often.
    pub const SHORTEST: Self = Self(Duration::from_millis(10));
    /// The longest: a slower sampler would miss a dip of the clocks.
    pub const LONGEST: Self = Self(Duration::from_millis(100));
    /// The period unless another is asked for.
    pub const DEFAULT: Self = Self(Duration::from_millis(20));

    /// A period of that many milliseconds; `None` unless it is between [`Self::SHORTEST`] and [`Self::LONGEST`].
    pub fn from_ms(milliseconds: u64) -> Option<Self> {
        let period = Self(Duration::from_millis(milliseconds));
        (Self::SHORTEST.0..=Self::LONGEST.0).contains(&period.0).then_some(period)
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl Default for SamplingPeriod {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The sampler rests at least this many times as long as a sample took, so that it takes at most a tenth of the time however
/// slow the driver is.
const REST_FACTOR: u32 = 9;

/// Absolute due times `start + n * period`: a late sample does not shift the ones after it, and due times that passed are
/// counted, not caught up with.
#[derive(Debug)]
pub(super) struct Schedule {
    period: Duration,
    due: Duration,
    pub(super) missed: u64,
    pub(super) worst_late: Duration,
}

impl Schedule {
    /// A schedule whose first sample is due at `start`.
    pub(super) fn new(start: Duration, period: SamplingPeriod) -> Self {
        Self { period: period.0, due: start, missed: 0, worst_late: Duration::ZERO }
    }

    /// Takes note of the sample that began and ended then, and returns when the next one is due.
    pub(super) fn next_due(&mut self, began: Duration, ended: Duration) -> Duration {
        self.worst_late = self.worst_late.max(began.saturating_sub(self.due));
        let rested = ended.saturating_add(ended.saturating_sub(began).saturating_mul(REST_FACTOR));
        let behind = rested.saturating_sub(self.due).as_nanos();
        // The first due time that is not before the end of the rest, at least one period on.
        let periods = behind.div_ceil(self.period.as_nanos()).max(1);
        let periods = u64::try_from(periods).unwrap_or(u64::MAX);
        self.missed = self.missed.saturating_add(periods - 1);
        let step = self.period.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX));
        self.due = self.due.saturating_add(step);
        self.due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn a_late_sample_shifts_nothing_and_a_slow_one_is_followed_by_rest() {
        let mut schedule = Schedule::new(us(0), SamplingPeriod::SHORTEST);
        assert_eq!(schedule.next_due(us(100), us(400)), us(10_000));
        assert_eq!(schedule.next_due(us(10_700), us(10_900)), us(20_000));
        assert_eq!((schedule.missed, schedule.worst_late), (0, us(700)));
        // Five milliseconds of reading call for 45 of rest, which ends at 70 ms.
        assert_eq!(schedule.next_due(us(20_000), us(25_000)), us(70_000));
        assert_eq!(schedule.missed, 4);
    }

    #[test]
    fn periods_have_bounds() {
        assert_eq!(SamplingPeriod::from_ms(9), None);
        assert_eq!(SamplingPeriod::from_ms(10), Some(SamplingPeriod::SHORTEST));
        assert_eq!(SamplingPeriod::from_ms(100), Some(SamplingPeriod::LONGEST));
        assert_eq!(SamplingPeriod::from_ms(101), None);
    }

    proptest! {
        #[test]
        fn every_period_is_sampled_or_missed_and_the_share_is_bounded(
            steps in prop::collection::vec((0u64..30_000, 0u64..60_000), 1..60),
        ) {
            let period = SamplingPeriod::SHORTEST;
            let mut schedule = Schedule::new(us(0), period);
            let (mut due, mut reading) = (us(0), us(0));
            for &(late, read) in &steps {
                let (began, ended) = (due + us(late), due + us(late) + us(read));
                reading += us(read);
                due = schedule.next_due(began, ended);
                prop_assert!(due >= ended);
                prop_assert_eq!(due.as_nanos() % period.duration().as_nanos(), 0);
            }
            let periods = u64::try_from(due.as_nanos() / period.duration().as_nanos()).unwrap();
            prop_assert_eq!(periods, steps.len() as u64 + schedule.missed);
            prop_assert!(reading * 10 <= due);
        }
    }
}
