//! A plan on a device as text: the steps as the processor's plan has them, each with the kernels that run it.

use std::fmt::Write;

use super::launch::Command;
use crate::engine::plan::dump::step_text;
use crate::engine::plan::program::Program;

/// One line a step. `commands` are those that were compiled for each step, in order.
pub(super) fn dump(program: &Program, commands: &[Vec<Command>]) -> String {
    let mut text = String::new();
    for (step, commands) in program.steps.iter().zip(commands) {
        let kernels: Vec<&str> = commands.iter().map(|command| command.work.name()).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}  = {}", step_text(step), kernels.join(" "));
    }
    text
}
