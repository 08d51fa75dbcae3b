//! `esr measure --breakdown`: where the planned engine's time goes.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::common::Size;
use super::{CliError, output};
use crate::engine::plan::{Breakdown, Network, StepCost, gflops};
use crate::engine::{Backend, Engine};
use crate::graph::shapes;
use crate::models::Model;

/// Timed runs: with the median of so many, a disturbed run now and then does not show.
const RUNS: usize = 21;

/// Prints the breakdown of a model with weights.
pub(super) fn run(model: &Model, size: Size, backend: &Backend, json: bool) -> Result<(), CliError> {
    match backend {
        Backend::Cpu(Engine::Plan) => {}
        Backend::Cpu(engine) => {
            let engine = engine.name();
            return Err(CliError::usage(format!(
                "--breakdown shows the steps of the planned engine, and the {engine} engine has none: leave out --engine {engine}"
            )));
        }
        Backend::Cuda(_) => {
            return Err(CliError::usage("--breakdown shows what threads of the CPU do: use --device cpu"));
        }
    }
    if model.graph.parameters().is_empty() {
        return Err(CliError::usage(format!(
            "`{}` is no network: there are no steps to break down",
            model.identity.architecture
        )));
    }
    shapes(&model.graph, size.width, size.height)?;
    let network = Network::new(model.graph.clone(), model.weights()?)?;
    let breakdown = network.breakdown(model.identity.clone(), [size.width, size.height], RUNS)?;
    match json {
        true => output::json(&breakdown)?,
        false => output::result(&render(&breakdown, tracing::enabled!(tracing::Level::INFO)))?,
    }
    Ok(())
}

/// A line of the table: a step, or several that do the same.
struct Row {
    name: String,
    operation: String,
    algorithm: String,
    count: usize,
    multiply_adds: u64,
    thread_ms: f64,
    share: f64,
}

impl Row {
    fn of(step: &StepCost) -> Self {
        Self {
            name: step.name.clone(),
            operation: step.operation.clone(),
            algorithm: step.algorithm.clone().unwrap_or_default(),
            count: 1,
            multiply_adds: step.multiply_adds,
            thread_ms: step.median_thread_ms,
            share: step.share,
        }
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.multiply_adds += other.multiply_adds;
        self.thread_ms += other.thread_ms;
        self.share += other.share;
    }

    fn gflops(&self) -> String {
        match self.multiply_adds > 0 && self.thread_ms > 0.0 {
            true => format!("{:.1}", gflops(self.multiply_adds, self.thread_ms)),
            false => "-".to_owned(),
        }
    }
}

/// One row a step, or a row for all that do the same in the same way; the costliest first.
fn rows(breakdown: &Breakdown, every_step: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = if every_step {
        breakdown.steps.iter().map(Row::of).collect()
    } else {
        let mut groups: BTreeMap<(&str, Option<&str>), Row> = BTreeMap::new();
        for step in &breakdown.steps {
            let row = Row::of(step);
            let key = (step.operation.as_str(), step.algorithm.as_deref());
            match groups.get_mut(&key) {
                Some(group) => group.add(row),
                None => drop(groups.insert(key, row)),
            }
        }
        groups.into_values().collect()
    };
    rows.sort_by(|a, b| b.share.total_cmp(&a.share));
    rows
}

fn render(breakdown: &Breakdown, every_step: bool) -> String {
    let rows = rows(breakdown, every_step);
    let first = |row: &Row| if every_step { row.name.clone() } else { row.count.to_string() };
    let header = ["layer", "steps"][usize::from(!every_step)];
    let widest =
        |of: &dyn Fn(&Row) -> usize, header: &str| rows.iter().map(of).max().unwrap_or(0).max(header.len());
    let names = widest(&|row| first(row).len(), header);
    let operations = widest(&|row| row.operation.len(), "operation");
    let algorithms = widest(&|row| row.algorithm.len(), "algorithm");
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}, {}, plan engine, f32\n", breakdown.model.architecture, breakdown.input);
    let _ = writeln!(
        text,
        "{header:names$}  {:operations$}  {:algorithms$}  {:>9}  {:>7}  {:>16}",
        "operation", "algorithm", "thread ms", "share", "GFLOP/s a thread"
    );
    for row in &rows {
        let _ = writeln!(
            text,
            "{:names$}  {:operations$}  {:algorithms$}  {:>9.3}  {:>5.1} %  {:>16}",
            first(row),
            row.operation,
            row.algorithm,
            row.thread_ms,
            row.share * 100.0,
            row.gflops()
        );
    }
    let _ = writeln!(
        text,
        "\none run {:.2} ms (median of {}), {} thread(s), {}; threads busy {:.1} %",
        breakdown.median_run_ms,
        breakdown.run_ms.len(),
        breakdown.threads,
        breakdown.isa,
        breakdown.busy_share * 100.0
    );
    let _ = writeln!(
        text,
        "{:.1} GFLOP/s, {:.2} of the {:.1} that these threads reach with multiply-adds alone\n\
         operations are counted by definition; Winograd's convolutions need fewer, so this may exceed 1",
        breakdown.effective_gflops, breakdown.share_of_peak, breakdown.peak_gflops
    );
    text
}
