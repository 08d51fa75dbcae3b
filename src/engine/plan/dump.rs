//! A plan as text, for people and to compare plans: what runs, in which order, on which memory. Addresses and threads do not occur in it.

use std::fmt;

use super::breakdown::{algorithm, name};
use super::compile::Plan;
use super::program::{Algorithm, Part, Piece, Step};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = &self.program;
        for (index, buffer) in program.buffers.iter().enumerate() {
            let storage = self.memory.of_buffer[index];
            writeln!(
                f,
                "b{index}: {}x{}x{} {}, {} rows at m{storage}",
                buffer.channels,
                buffer.height,
                buffer.width,
                buffer.precision.name(),
                self.memory.storages[storage].rows
            )?;
        }
        for (number, stage) in self.stages.iter().enumerate() {
            match &stage.lags {
                Some(_) => writeln!(f, "stage {number}, wave")?,
                None => writeln!(f, "stage {number}")?,
            }
            for &index in &stage.steps {
                let lag = stage.lag(index).map_or(String::new(), |lag| format!("  -{lag}"));
                let step = &program.steps[index];
                writeln!(f, "  {}{lag}", Line { step, algorithm: algorithm(&step.operation) })?;
            }
        }
        writeln!(f, "{} tasks, {} bytes", self.tasks.list.len(), self.arena_bytes())
    }
}

/// A step without its algorithm, which is the processor's: what it computes, of what, where to, and what is done before it is stored.
#[cfg(test)]
pub(in crate::engine) fn step_text(step: &Step) -> String {
    Line { step, algorithm: None }.to_string()
}

struct Line<'a> {
    step: &'a Step,
    algorithm: Option<Algorithm>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, algorithm } = self;
        let pieces = |pieces: &Vec<Piece>| pieces.iter().map(range).collect::<Vec<_>>().join(" ");
        let inputs: Vec<String> = step.inputs.iter().map(pieces).collect();
        write!(f, "{}", name(&step.operation))?;
        if let Some(algorithm) = algorithm {
            write!(f, ", {algorithm}")?;
        }
        write!(f, "({})", inputs.join(", "))?;
        if let Some(output) = step.output {
            write!(f, " -> b{output}")?;
        }
        for part in &step.parts {
            part_text(f, part)?;
        }
        write!(f, "  # {}", step.label)
    }
}

fn part_text(f: &mut fmt::Formatter<'_>, part: &Part) -> fmt::Result {
    let Part { start, before, activation, after, mask, .. } = part;
    if before.is_none() && activation.is_none() && after.is_none() && mask.is_none() {
        return Ok(());
    }
    write!(f, " [{start}..{}", part.end())?;
    if let Some(piece) = before {
        write!(f, " + {}", range(piece))?;
    }
    if let Some(slope) = activation {
        write!(f, " leaky_relu({slope})")?;
    }
    if let Some(piece) = after {
        write!(f, " + {}", range(piece))?;
    }
    if let Some((piece, slope)) = mask {
        write!(f, " mask({}, {slope})", range(piece))?;
    }
    write!(f, "]")
}

fn range(piece: &Piece) -> String {
    format!("b{}[{}..{}]", piece.buffer, piece.start, piece.end())
}
