//! A program with everything that is decided on it before it has memory.

use super::choice::{Choices, Chooser, Used};
use super::compile::{Compiler, Sites};
use super::layout::Layout;
use super::packed::Packed;
use super::{Kernels, Math, check_size};
use crate::engine::EngineError;
use crate::engine::plan::program::Program;

/// A program, where its values will lie, what computes its convolutions, and where their weights will lie.
pub(super) struct Draft {
    pub(super) program: Program,
    pub(super) math: Math,
    pub(super) layout: Layout,
    pub(super) choices: Choices,
    pub(super) packed: Packed,
}

impl Draft {
    /// Decides for the device that has the kernels: by shape alone, or as `chooser` finds out.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for what is too large to be counted; [`EngineError::Gpu`] where a trial loses the device or finds no memory.
    pub(super) fn new(
        program: Program,
        math: Math,
        kernels: &Kernels,
        chooser: Option<&Chooser>,
    ) -> Result<Self, EngineError> {
        let multiprocessors = kernels.gpu().facts().multiprocessors as usize;
        let mut draft = Self::plain(program, math, multiprocessors)?;
        if let Some(chooser) = chooser {
            draft.choose(chooser.choose(kernels, (&draft.program, &draft.layout, math))?);
        }
        Ok(draft)
    }

    /// Decides by shape alone, for a device of so many multiprocessors.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for what is too large to be counted.
    pub(super) fn plain(program: Program, math: Math, multiprocessors: usize) -> Result<Self, EngineError> {
        check_size(&program)?;
        let layout = Layout::of(&program, math, multiprocessors);
        let choices = Choices::default();
        let packed = Packed::of(&program, &layout, math, &choices);
        Ok(Self { program, math, layout, choices, packed })
    }

    /// Lets other ways compute it.
    pub(super) fn choose(&mut self, choices: Choices) {
        self.packed = Packed::of(&self.program, &self.layout, self.math, &choices);
        self.choices = choices;
    }

    /// How many convolutions each way computes.
    pub(super) fn used(&self) -> Used {
        self.choices.used(&self.program)
    }

    /// Makes launches of it, with these places.
    pub(super) fn compiler<'a>(&'a self, sites: Sites<'a>) -> Compiler<'a> {
        Compiler {
            program: &self.program,
            layout: &self.layout,
            packed: &self.packed,
            choices: &self.choices,
            math: self.math,
            sites,
        }
    }
}
