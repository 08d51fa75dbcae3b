//! The time of one training step, as one JSON object: the number that is followed from commit to commit.

use std::error::Error;
use std::time::{Duration, Instant};

use esr::array::Array;
use esr::measure::{Machine, Summary};
use esr::models::Model;
use esr::random::Random;
use esr::train::untrained;
use serde_json::{Value, json};

use crate::work::{ENGINE, Train, Work};

/// Threads of the timed step: the number is compared between machines of different size.
pub(crate) const THREADS: usize = 2;
/// The paper's model in its training form.
const MODEL: &str = "imdn:blocks=7,branches=1x1";
const BATCH: usize = 4;
/// Side of the LR patches in pixels.
const PATCH: usize = 64;
const SCALE: usize = 4;
/// Untimed steps before the timed ones: the first one also maps memory.
const WARM_UP: usize = 2;
/// At least this many steps, and at least this long.
const REPEATS: usize = 9;
const AT_LEAST: Duration = Duration::from_secs(5);

/// Times the step.
pub(crate) fn time() -> Result<Value, Box<dyn Error>> {
    let model = untrained(Model::load(MODEL)?);
    let mut train =
        Train::new(&model, noise([BATCH, 3, PATCH, PATCH]), noise([BATCH, 3, SCALE * PATCH, SCALE * PATCH]))?;
    for _ in 0..WARM_UP {
        train.run()?;
    }
    let (start, mut samples_ms) = (Instant::now(), Vec::new());
    while samples_ms.len() < REPEATS || start.elapsed() < AT_LEAST {
        let before = Instant::now();
        train.run()?;
        samples_ms.push(before.elapsed().as_secs_f64() * 1000.0);
    }
    let summary = Summary::of(&samples_ms).ok_or("no samples")?;
    Ok(json!({
        "what": format!("training step: {MODEL}, batch {BATCH}, LR {PATCH}x{PATCH}"),
        "engine": ENGINE,
        "threads": THREADS,
        "step_median_ms": summary.median,
        "step_min_ms": summary.min,
        "relative_iqr": summary.relative_iqr,
        "n": summary.n,
        "machine": Machine::detect(),
    }))
}

/// Values in [0, 1).
fn noise(shape: [usize; 4]) -> Array<f32> {
    let mut random = Random::new(&shape.map(|extent| extent as u64));
    Array::filled(shape, 0.0f32).map(|_| random.uniform() as f32)
}
