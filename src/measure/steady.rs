//! Protocol `steady`: times of a warm model, with a spread that means something.
//!
//! Each model is warmed up until three successive windows agree, then windows of at least half a second are taken, candidate
//! and baseline in turn (ABBA, so that a slow drift of the machine falls on both alike), until both are steady or the time
//! budget is used up. One sample is the mean time per forward of one window; a window is a whole number of passes over
//! the inputs, so all windows hold the same work.
//!
//! On a GPU the window stays the unit, although the device can time single forwards and nvbench takes those: what decides whether a
//! sample counts, the clock and the throttle reasons, comes from NVML every 10 to 100 ms, so a forward of a millisecond has no
//! clock of its own, and the ratio in cycles needs one. The times of the single forwards are kept inside their window. As in nvbench
//! each forward starts from the same state of the cache ([`Workload::before_forward`](super::Workload::before_forward)), and a window that
//! was taken while the device slowed itself down is discarded, counted, and taken again after a pause that grows.

use std::time::Duration;

use super::bench::Bench;
use super::clocks_log::Phase;
use super::error::Error;
use super::gpu::{disturbance, is_throttled};
use super::lane::Lane;
use super::measurement::Validity;
use super::stats::Summary;

/// The least timed part of a window, so that it spans many ticks of any clock and scheduler.
const WINDOW: Duration = Duration::from_millis(500);

/// Windows wanted before the spread may end the measurement (nvbench's `min-samples`).
const WANTED_WINDOWS: usize = 10;

/// Fewer samples than this have no quartiles worth the name.
pub(super) const MIN_SAMPLES: usize = 3;

/// A spread that ends the measurement.
const STEADY_RELATIVE_IQR: f64 = 0.01;

/// A spread above which a measurement is noisy (the limit at which PyTorch's benchmark timer warns).
pub(super) const NOISY_RELATIVE_IQR: f64 = 0.10;

/// Successive warm-up windows that must agree, and how closely.
const WARM_WINDOWS: usize = 3;
const WARM_AGREEMENT: f64 = 0.01;

/// The longest warm-up of one model; slow models in a small budget get a sixth of the budget.
const WARM_UP_LIMIT: Duration = Duration::from_secs(10);
const WARM_UP_SHARE_OF_BUDGET: u32 = 6;

/// Keeps a window of a workload that takes no measurable time from running forever.
const MAX_PASSES_PER_WINDOW: f64 = 1e6;

/// The protocol in words.
pub(super) fn procedure(with_baseline: bool) -> String {
    let alone = "warm-up until three windows agree within 1 % or its limit, then windows of at least 0.5 s and of whole passes over the inputs, until the relative IQR is below 1 % over at least 10 windows or the time budget is used up";
    if with_baseline {
        format!("{alone}; candidate and baseline windows alternate in ABBA order")
    } else {
        alone.to_owned()
    }
}

/// Takes the samples. At least one window of each model is taken, even if the warm-up has used up the budget.
pub(super) fn run(lanes: &mut [Lane<'_>], bench: &mut Bench<'_>, budget: Duration) -> Result<(), Error> {
    let limit = WARM_UP_LIMIT.min(budget / WARM_UP_SHARE_OF_BUDGET);
    let mut passes = Vec::with_capacity(lanes.len());
    for lane in lanes.iter_mut() {
        passes.push(warm_up(lane, bench, limit)?);
    }
    for round in 0usize.. {
        let begun = bench.elapsed();
        let mut turns: Vec<(&mut Lane<'_>, usize)> = lanes.iter_mut().zip(passes.iter().copied()).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (lane, passes) in turns {
            take_window(lane, bench, passes, budget)?;
        }
        let now = bench.elapsed();
        let round_took = now.saturating_sub(begun);
        let rounds = round + 1;
        // Under a drift the ratios of successive pairs lie above and below the true one in turn. Only an even number of pairs,
        // whole ABBA blocks, has a median between the two; an odd one is taken only where the budget has no room for more.
        let whole_blocks = lanes.len() == 1 || rounds % 2 == 0;
        let next = if lanes.len() > 1 && whole_blocks && rounds >= MIN_SAMPLES {
            round_took * 2
        } else {
            round_took
        };
        if round_took.is_zero() || now + next > budget {
            break;
        }
        if rounds >= WANTED_WINDOWS && whole_blocks && lanes.iter().all(is_enough) {
            break;
        }
    }
    Ok(())
}

/// Takes one window, again and again after growing pauses while the GPU is disturbed in it, as long as there are tries and budget.
fn take_window(
    lane: &mut Lane<'_>,
    bench: &mut Bench<'_>,
    passes: usize,
    budget: Duration,
) -> Result<(), Error> {
    loop {
        let begun = bench.elapsed();
        let (role, number) = (lane.role, lane.taken + 1);
        let from_ns = bench.mark(|| format!("{role} window {number} begins"));
        let pass = lane.passes(bench, passes)?;
        let seen = bench.close(from_ns, || format!("{role} window {number} ends"));
        bench.observe(Phase::Window, role, pass.mean_ms());
        let disturbed = seen.as_ref().and_then(|seen| disturbance(seen, pass.device_mhz(), bench.reference));
        let Some(why) = disturbed else {
            lane.accept(pass, seen.as_ref(), None);
            return Ok(());
        };
        bench.mark(|| format!("{role} window {number} is discarded: {why}"));
        lane.discard(pass, seen.as_ref(), why);
        let now = bench.elapsed();
        match lane.pauses.next() {
            Some(pause) if now + pause + now.saturating_sub(begun) <= budget => bench.clock.sleep(pause),
            _ => {
                lane.give_up();
                return Ok(());
            }
        }
        bench.go_on()?;
    }
}

/// Whether no more windows of the model are needed. After discarded ones more are taken than otherwise, until those were few: a dip of the
/// clock that passed is then told apart from a device that goes on slowing down.
fn is_enough(lane: &Lane<'_>) -> bool {
    is_steady(lane) && !is_throttled(lane.disturbed(), lane.taken)
}

fn is_steady(lane: &Lane<'_>) -> bool {
    Summary::of(&lane.samples())
        .is_some_and(|s| s.n >= WANTED_WINDOWS && s.relative_iqr < STEADY_RELATIVE_IQR)
}

/// Warms up one model and returns how many passes make a window.
fn warm_up(lane: &mut Lane<'_>, bench: &mut Bench<'_>, limit: Duration) -> Result<usize, Error> {
    let start = bench.elapsed();
    let mut passes = 1;
    let mut means: Vec<f64> = Vec::new();
    loop {
        let begun = bench.elapsed();
        let role = lane.role;
        bench.mark(|| format!("{role} warm-up of {passes} passes begins"));
        let pass = lane.passes(bench, passes)?;
        bench.mark(|| format!("{role} warm-up of {passes} passes ends"));
        lane.warm_up_forwards += passes * lane.items();
        let mean_ms = pass.mean_ms();
        means.push(mean_ms);
        bench.observe(Phase::WarmUp, lane.role, mean_ms);
        let now = bench.elapsed();
        let per_pass = now.saturating_sub(begun).as_secs_f64() / passes as f64;
        passes = passes_for(pass.total_ms() / 1e3 / passes as f64);
        if agree(&means) {
            return Ok(passes);
        }
        // The next window is not begun if it would end after the limit, so a slow model gets a single pass.
        let next = now.saturating_sub(start).as_secs_f64() + per_pass * passes as f64;
        if next > limit.as_secs_f64() || now == begun {
            lane.notes.push(format!(
                "the warm-up ended at its limit of {:.1} s after {} windows, before three of them agreed within 1 %",
                limit.as_secs_f64(),
                means.len()
            ));
            return Ok(passes);
        }
    }
}

/// Passes that fill a window when one takes `pass_s` seconds.
fn passes_for(pass_s: f64) -> usize {
    (WINDOW.as_secs_f64() / pass_s).ceil().clamp(1.0, MAX_PASSES_PER_WINDOW) as usize
}

fn agree(means: &[f64]) -> bool {
    let Some(last) = means.len().checked_sub(WARM_WINDOWS).and_then(|from| means.get(from..)) else {
        return false;
    };
    let low = last.iter().copied().fold(f64::INFINITY, f64::min);
    let high = last.iter().copied().fold(0.0, f64::max);
    high <= low * (1.0 + WARM_AGREEMENT)
}

/// Whether the samples can be relied on, and why.
pub(super) fn judge(lane: &Lane<'_>, budget: Duration) -> (Validity, String) {
    let budget_s = budget.as_secs_f64();
    let Some(summary) = Summary::of(&lane.samples()) else {
        return (Validity::Noisy, "no sample was accepted".to_owned());
    };
    let (n, percent) = (summary.n, summary.relative_iqr * 100.0);
    if n < MIN_SAMPLES {
        let reason = format!(
            "too few samples: {n} windows fitted into the budget of {budget_s} s, at least {MIN_SAMPLES} are needed; \
             give more time or a smaller input"
        );
        return (Validity::Noisy, reason);
    }
    let fewer = if n < WANTED_WINDOWS {
        format!("; only {n} of the {WANTED_WINDOWS} windows wanted fitted into the budget of {budget_s} s")
    } else {
        String::new()
    };
    if summary.relative_iqr > NOISY_RELATIVE_IQR {
        let limit = NOISY_RELATIVE_IQR * 100.0;
        (
            Validity::Noisy,
            format!("relative IQR {percent:.1} % over {n} windows is above {limit:.0} %{fewer}"),
        )
    } else {
        (Validity::Valid, format!("relative IQR {percent:.2} % over {n} windows{fewer}"))
    }
}
