//! Which steps run together, and in what order.
//!
//! Stages follow one another: a stage begins when the one before it is complete. Inside a stage, steps are either independent of each other, or they
//! form a *wave*: consecutive layers over bands of rows, each layer some bands behind the one it reads. A wave's inner values need only a few bands of
//! memory, which stay in the cache between the layer that writes and the layers that read them.

use super::program::{Operation, Program, Step};

/// Steps that run together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    /// Positions in the program, in order.
    pub(super) steps: Vec<usize>,
    /// For a wave: how many bands each step lags behind the first.
    pub(super) lags: Option<Vec<usize>>,
    /// For a wave: bands of its inner values that are kept beyond those that are needed.
    spare: usize,
}

impl Stage {
    fn single(step: usize) -> Self {
        Self { steps: vec![step], lags: None, spare: 0 }
    }

    /// How far a step lags.
    pub(super) fn lag(&self, step: usize) -> Option<usize> {
        let lags = self.lags.as_ref()?;
        self.steps.iter().position(|&other| other == step).and_then(|at| lags.get(at)).copied()
    }
}

/// Bands that a step lags behind one that it reads: the band below must be done when rows above and below are read, and one band more leaves other
/// threads time to finish it.
fn lag_behind(reader: &Step) -> usize {
    match reader.reach() {
        Some(0) => 1,
        _ => 2,
    }
}

/// The bands of a value that must be kept for a reader that lags `lag` bands behind its writer.
fn bands_kept(reader: &Step, lag: usize) -> usize {
    lag + 1 + usize::from(reader.reach() != Some(0))
}

/// Stages of independent steps: every step as soon as what it reads is there, except that weights are prepared no sooner than needed.
pub(super) fn by_level(program: &Program) -> Vec<Stage> {
    let steps = &program.steps;
    let mut level = vec![0usize; steps.len()];
    let mut written = vec![0usize; program.buffers.len()];
    for (index, step) in steps.iter().enumerate() {
        let inputs = step.reads().map(|piece| written[piece.buffer] + 1).max().unwrap_or(0);
        let prepared = dependency(steps, index).map_or(0, |earlier| level[earlier] + 1);
        level[index] = inputs.max(prepared);
        if let Some(output) = step.output {
            written[output] = level[index];
        }
    }
    for index in 0..steps.len() {
        if let Some(user) = dependency(steps, index + 1).filter(|&earlier| earlier == index)
            && matches!(steps[user].operation, Operation::Pack { .. })
        {
            level[index] = level[index + 1] - 1;
        }
    }
    let last = level.iter().max().map_or(0, |last| last + 1);
    let stage = |wanted| Stage {
        steps: (0..steps.len()).filter(|&index| level[index] == wanted).collect(),
        lags: None,
        spare: 0,
    };
    (0..last).map(stage).filter(|stage| !stage.steps.is_empty()).collect()
}

/// The step whose private result (prepared weights, partial sums) this one needs: the one directly before it.
pub(super) fn dependency(steps: &[Step], index: usize) -> Option<usize> {
    let before = index.checked_sub(1)?;
    match (&steps.get(before)?.operation, &steps.get(index)?.operation) {
        (Operation::Pack { .. }, Operation::Conv { .. })
        | (Operation::WeightGradient { .. }, Operation::FinishGradient { .. }) => Some(before),
        _ => None,
    }
}

/// Stages for one image: consecutive layers are joined to waves such that least is read and written outside the cache.
///
/// `inner_bytes` bounds what the inner values of a wave may take, for bands of `band` rows. With a `spare` band a thread that begins the next band of a
/// value need not wait until another one has read the last row of the oldest.
pub(super) fn by_waves(program: &Program, band: usize, spare: usize, inner_bytes: usize) -> Vec<Stage> {
    let count = program.steps.len();
    // best[i]: least traffic of the steps before i, and where the last wave of it begins.
    let mut best: Vec<(usize, usize)> = vec![(0, 0)];
    for end in 1..=count {
        let mut choice = (usize::MAX, end - 1);
        for begin in (0..end).rev() {
            let Some(traffic) = traffic(program, begin..end, (band, spare), inner_bytes) else { break };
            let total = best[begin].0.saturating_add(traffic);
            if total < choice.0 {
                choice = (total, begin);
            }
        }
        best.push(choice);
    }
    let (mut stages, mut end) = (Vec::new(), count);
    while end > 0 {
        let begin = best[end].1;
        stages.push(match end - begin {
            1 => Stage::single(begin),
            _ => Stage { steps: (begin..end).collect(), lags: Some(lags(program, begin..end)), spare },
        });
        end = begin;
    }
    stages.reverse();
    stages
}

/// How many bands each step of a wave lags behind the first.
fn lags(program: &Program, steps: std::ops::Range<usize>) -> Vec<usize> {
    let mut lags: Vec<usize> = Vec::with_capacity(steps.len());
    for index in steps.clone() {
        let step = &program.steps[index];
        let behind = |writer: usize| lags[writer - steps.start] + lag_behind(step);
        let lag = step.reads().filter_map(|piece| writer(program, steps.clone(), piece.buffer)).map(behind);
        lags.push(lag.max().unwrap_or(0));
    }
    lags
}

fn writer(program: &Program, mut steps: std::ops::Range<usize>, buffer: usize) -> Option<usize> {
    steps.find(|&index| program.steps[index].output == Some(buffer))
}

/// Bytes read and written outside the cache by a wave, or `None` if these steps do not make one.
fn traffic(
    program: &Program,
    steps: std::ops::Range<usize>,
    (band, spare): (usize, usize),
    inner_bytes: usize,
) -> Option<usize> {
    let size = |step: &Step| {
        let buffer = step.output.or_else(|| step.reads().next().map(|piece| piece.buffer))?;
        Some((program.buffers[buffer].height, program.buffers[buffer].width))
    };
    if steps.len() > 1 {
        let first = size(&program.steps[steps.start])?;
        for step in &program.steps[steps.clone()] {
            if step.reach()? > band || size(step)? != first {
                return None;
            }
        }
    }
    let lags = lags(program, steps.clone());
    let (mut outside, mut inside) = (0, 0);
    let mut seen = Vec::new();
    for (step, &lag) in program.steps[steps.clone()].iter().zip(&lags) {
        for piece in step.reads() {
            if writer(program, steps.clone(), piece.buffer).is_none() && !seen.contains(&piece.buffer) {
                seen.push(piece.buffer);
                outside += bytes(program, piece.buffer, usize::MAX);
            }
        }
        let Some(output) = step.output else { continue };
        let bands = inner_bands(program, steps.clone(), &lags, output, lag);
        match bands {
            Some(bands) => inside += bytes(program, output, (bands + spare) * band),
            None => outside += bytes(program, output, usize::MAX),
        }
    }
    (steps.len() == 1 || inside <= inner_bytes).then_some(outside)
}

/// How many bands of a value are kept, if nothing outside the wave reads it.
fn inner_bands(
    program: &Program,
    steps: std::ops::Range<usize>,
    lags: &[usize],
    buffer: usize,
    lag: usize,
) -> Option<usize> {
    let mut kept = 0;
    for (index, step) in program.steps.iter().enumerate() {
        if step.reads().any(|piece| piece.buffer == buffer) {
            if !steps.contains(&index) {
                return None;
            }
            kept = kept.max(bands_kept(step, lags[index - steps.start] - lag));
        }
    }
    (steps.len() > 1).then_some(kept)
}

fn bytes(program: &Program, buffer: usize, rows: usize) -> usize {
    let buffer = &program.buffers[buffer];
    super::memory::pixel_floats(buffer.channels) * buffer.width * buffer.height.min(rows) * size_of::<f32>()
}

/// The bands that the memory of a step's output holds in its stage, if it is an inner value of a wave.
pub(super) fn bands_held(program: &Program, stage: &Stage, step: usize) -> Option<usize> {
    let lags = stage.lags.as_ref()?;
    let (&first, &last) = (stage.steps.first()?, stage.steps.last()?);
    let needed = inner_bands(program, first..last + 1, lags, program.steps[step].output?, stage.lag(step)?)?;
    Some(needed + stage.spare)
}
