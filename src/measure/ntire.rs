//! Protocol `ntire`: what the official script does (`test_demo.py` of the organisers' repository, 2022 to 2026).
//!
//! One timed forward per input in list order, no warm-up, nothing left out, so the first sample pays for the cold start
//! and the official mean includes it. With a baseline the candidate's whole list runs first, then the baseline's, in one
//! process; what a process pays once is then the candidate's, so a comparison cannot flatter it.

use std::time::Duration;

use super::bench::Bench;
use super::clocks_log::Phase;
use super::error::Error;
use super::gpu::disturbance;
use super::lane::Lane;
use super::measurement::Validity;
use super::pass::Pass;
use super::stats::Summary;
use super::steady::{MIN_SAMPLES, NOISY_RELATIVE_IQR};

/// The least time between two looks at the host.
const OBSERVE_EVERY: Duration = Duration::from_millis(500);

/// The protocol in words.
pub(super) fn procedure(with_baseline: bool) -> String {
    let alone = "one timed forward per input in list order, batch 1, no warm-up, the first input counted, as the official script does";
    if with_baseline {
        format!("{alone}; the candidate's whole list first, then the baseline's, in the same process")
    } else {
        alone.to_owned()
    }
}

/// Takes the samples.
pub(super) fn run(lanes: &mut [Lane<'_>], bench: &mut Bench<'_>) -> Result<(), Error> {
    for lane in lanes {
        let fresh = lane.reset_peaks(bench.probe);
        let (role, mut last_ms) = (lane.role, 0.0);
        for item in 0..lane.items() {
            lane.prepare(item)?;
            let mut pass = Pass::default();
            let from_ns = bench.mark(|| format!("{role} input {} begins", item + 1));
            lane.forward(bench, item, &mut pass)?;
            let seen = bench.close(from_ns, || format!("{role} input {} ends", item + 1));
            last_ms = pass.mean_ms();
            // Nothing is left out, so a disturbance is only noted. A low clock alone is none: between images the device rests, and
            // the official script counts what that costs too.
            let disturbed = seen.as_ref().and_then(|seen| disturbance(seen, None, None));
            lane.accept(pass, seen.as_ref(), disturbed);
            bench.observe_every(OBSERVE_EVERY, lane.role, last_ms);
        }
        lane.note_peaks(fresh, bench.probe);
        bench.observe(Phase::Window, lane.role, last_ms);
    }
    Ok(())
}

/// The spread of the time per pixel, and what it means. One pass cannot be repeated to see whether it agrees with itself, but
/// the time of a convolutional model grows with the pixels, so inputs of all sizes can be put beside each other.
pub(super) fn judge(lane: &Lane<'_>) -> (Option<f64>, (Validity, String)) {
    let Some(summary) = Summary::of(&lane.per_pixel()) else {
        return (None, (Validity::Noisy, "no sample was accepted".to_owned()));
    };
    let n = summary.n;
    let percent = summary.relative_iqr * 100.0;
    let verdict = if n < MIN_SAMPLES {
        let reason = format!(
            "too few samples: {n} of at least {MIN_SAMPLES}; give more images or use protocol steady"
        );
        (Validity::Noisy, reason)
    } else if summary.relative_iqr > NOISY_RELATIVE_IQR {
        let limit = NOISY_RELATIVE_IQR * 100.0;
        let reason = format!(
            "relative IQR of the time per pixel {percent:.1} % over {n} samples is above {limit:.0} %"
        );
        (Validity::Noisy, reason)
    } else {
        (Validity::Valid, format!("relative IQR of the time per pixel {percent:.1} % over {n} samples"))
    };
    (Some(summary.relative_iqr), verdict)
}
