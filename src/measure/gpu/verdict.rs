//! Whether samples that were taken on a GPU can be relied on.

use crate::measure::measurement::Validity;

/// The share of discarded windows above which a measurement is called throttled.
const MOST_DISCARDED: f64 = 0.05;

/// How far the SM clock may move between windows, relative to the median, before a measurement is called unlocked.
pub(super) const MOST_SPREAD: f64 = 0.02;

/// What is known of the clocks in the windows of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::measure) struct ClockEvidence {
    /// Windows taken, discarded ones included.
    pub(in crate::measure) taken: usize,
    /// Those in which the device was disturbed.
    pub(in crate::measure) disturbed: usize,
    /// Why, of the first of them.
    pub(in crate::measure) first_disturbance: Option<String>,
    /// Whether they were left out and taken again, as protocol `steady` does.
    pub(in crate::measure) discarded: bool,
    /// The mean SM clock of each accepted window.
    pub(in crate::measure) mean_mhz: Vec<Option<f64>>,
    /// The clock that this run locked the device to.
    pub(in crate::measure) locked_mhz: Option<u32>,
    /// Why the log cannot vouch for the clocks, if it cannot.
    pub(in crate::measure) in_doubt: Option<String>,
}

/// Whether so many of the windows taken were disturbed that the device is called throttled.
pub(in crate::measure) fn is_throttled(disturbed: usize, taken: usize) -> bool {
    disturbed as f64 > MOST_DISCARDED * taken as f64
}

/// The verdict over the samples and the clocks together. Throttling weighs most, because nothing of such samples is the program's; then
/// noise; then clocks that moved or that nobody knows, under which samples agree but may not be what another run would find.
pub(in crate::measure) fn judge(
    (validity, reason): (Validity, String),
    clocks: &ClockEvidence,
) -> (Validity, String) {
    if is_throttled(clocks.disturbed, clocks.taken) {
        let what = if clocks.discarded { "windows were discarded" } else { "samples were disturbed" };
        let why = clocks.first_disturbance.as_deref().unwrap_or("the GPU slowed down");
        let throttled = format!(
            "{} of {} {what}, more than {:.0} %, the first because {why}; {reason}",
            clocks.disturbed,
            clocks.taken,
            MOST_DISCARDED * 100.0
        );
        return (Validity::Throttled, throttled);
    }
    let (is_held, told) = held(clocks);
    let reason = format!("{reason}; {told}");
    match validity {
        Validity::Valid if !is_held => (Validity::Unlocked, reason),
        other => (other, reason),
    }
}

/// Whether the clock was held, and what is known of it in words.
fn held(clocks: &ClockEvidence) -> (bool, String) {
    let n = clocks.mean_mhz.len();
    let mut known: Vec<f64> = clocks.mean_mhz.iter().flatten().copied().collect();
    known.sort_by(f64::total_cmp);
    let (Some(&low), Some(&high), Some(&median)) = (known.first(), known.last(), known.get(known.len() / 2))
    else {
        let why = clocks.in_doubt.as_deref().unwrap_or("no sample of it fell into them");
        return (false, format!("the SM clock is unknown in all {n} windows: {why}"));
    };
    if known.len() < n {
        return (false, format!("the SM clock is unknown in {} of {n} windows", n - known.len()));
    }
    let range = if low == high {
        format!("SM clock {low:.0} MHz")
    } else {
        format!("SM clock {low:.0} to {high:.0} MHz")
    };
    let spread = (high - low) / median;
    if spread > MOST_SPREAD {
        let lock = match clocks.locked_mhz {
            Some(mhz) => format!("although it was locked to {mhz} MHz"),
            None => "and it was not locked (`--lock-clocks`)".to_owned(),
        };
        let percent = (spread * 100.0, MOST_SPREAD * 100.0);
        return (
            false,
            format!("{range}, {:.1} % apart, which is more than {:.0} %, {lock}", percent.0, percent.1),
        );
    }
    match &clocks.in_doubt {
        Some(why) => (false, format!("{range}, but {why}")),
        None => (true, range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(mean_mhz: &[f64]) -> ClockEvidence {
        ClockEvidence {
            taken: mean_mhz.len(),
            discarded: true,
            mean_mhz: mean_mhz.iter().map(|&mhz| Some(mhz)).collect(),
            ..ClockEvidence::default()
        }
    }

    fn valid() -> (Validity, String) {
        (Validity::Valid, "base".to_owned())
    }

    fn noisy() -> (Validity, String) {
        (Validity::Noisy, "base".to_owned())
    }

    #[test]
    fn held_clocks_leave_the_verdict_as_it_was() {
        let steady = evidence(&[1980.0, 1980.0]);
        assert_eq!(judge(valid(), &steady), (Validity::Valid, "base; SM clock 1980 MHz".to_owned()));
        assert_eq!(judge(noisy(), &steady).0, Validity::Noisy);
        // 2 % of the median is the bound.
        let (validity, reason) = judge(valid(), &evidence(&[1980.0, 2000.0, 2020.0]));
        assert_eq!((validity, reason.as_str()), (Validity::Valid, "base; SM clock 1980 to 2020 MHz"));
    }

    #[test]
    fn moving_and_unknown_clocks_are_unlocked() {
        let (validity, reason) = judge(valid(), &evidence(&[1979.0, 2000.0, 2020.0]));
        assert_eq!(validity, Validity::Unlocked);
        assert_eq!(
            reason,
            "base; SM clock 1979 to 2020 MHz, 2.1 % apart, which is more than 2 %, and it was not locked (`--lock-clocks`)"
        );
        let locked = ClockEvidence { locked_mhz: Some(1410), ..evidence(&[1410.0, 1200.0, 1410.0]) };
        assert!(judge(valid(), &locked).1.ends_with("although it was locked to 1410 MHz"));
        let mut unknown = evidence(&[1980.0, 1980.0]);
        unknown.mean_mhz[0] = None;
        let (validity, reason) = judge(valid(), &unknown);
        assert_eq!(
            (validity, reason.as_str()),
            (Validity::Unlocked, "base; the SM clock is unknown in 1 of 2 windows")
        );
        unknown.mean_mhz[1] = None;
        unknown.in_doubt = Some("no NVML library was found".to_owned());
        assert_eq!(
            judge(valid(), &unknown),
            (
                Validity::Unlocked,
                "base; the SM clock is unknown in all 2 windows: no NVML library was found".to_owned()
            )
        );
        assert_eq!(judge(noisy(), &unknown).0, Validity::Noisy);
        let doubt = ClockEvidence { in_doubt: Some("the log ended early".to_owned()), ..evidence(&[1980.0]) };
        assert_eq!(
            judge(valid(), &doubt),
            (Validity::Unlocked, "base; SM clock 1980 MHz, but the log ended early".to_owned())
        );
    }

    #[test]
    fn more_than_one_in_twenty_discarded_is_throttled() {
        let discarded = |taken, disturbed| ClockEvidence {
            taken,
            disturbed,
            first_disturbance: Some("of heat".to_owned()),
            ..evidence(&[1980.0; 10])
        };
        assert_eq!(judge(valid(), &discarded(20, 1)).0, Validity::Valid);
        let (validity, reason) = judge(noisy(), &discarded(19, 1));
        assert_eq!(validity, Validity::Throttled);
        assert_eq!(reason, "1 of 19 windows were discarded, more than 5 %, the first because of heat; base");
    }
}
