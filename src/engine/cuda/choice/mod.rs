//! Which way computes each convolution of a program.
//!
//! Without a [`Chooser`] it is our own kernels, chosen by shape alone: the same bits on every run. With one, every way that can compute a convolution is run on this device, in memory
//! laid out as the program's: our own kernels for Hopper, and cuDNN's; what gives other results than our own kernels is dropped, and of the rest the fastest is taken.

mod compare;
pub(super) mod question;
mod store;
mod trial;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use question::Question;
use store::{Answer, Circumstances, Store};
use trial::Trial;

use super::layout::Layout;
use super::ways::Way;
use super::{Kernels, Math};
use crate::engine::EngineError;
use crate::engine::plan::program::{Operation, Program};
use crate::gpu::cudnn::Cudnn;
use crate::gpu::device::Gpu;

/// What computes the convolutions of a program, by step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choices {
    of_step: Vec<Way>,
    /// Memory that cuDNN's algorithms overwrite, enough for the one that needs most.
    pub(super) workspace_bytes: u64,
}

impl Choices {
    /// The way of a step.
    pub(super) fn of_step(&self, step: usize) -> Way {
        self.of_step.get(step).copied().unwrap_or_default()
    }

    /// Every convolution by cuDNN where it can be asked: for tests.
    #[cfg(test)]
    pub(super) fn all(program: &Program, way: Way) -> Self {
        Self { of_step: program.steps.iter().map(|_| way).collect(), workspace_bytes: 0 }
    }

    /// How many steps of a program each way computes.
    pub(super) fn used(&self, program: &Program) -> Used {
        let mut used = Used::default();
        for (index, step) in program.steps.iter().enumerate() {
            if let Operation::Conv { .. } | Operation::WeightGradient { .. } = step.operation {
                match self.of_step(index) {
                    Way::Own => used.own += 1,
                    Way::Hopper => used.hopper += 1,
                    Way::Cudnn(_) => used.cudnn += 1,
                }
            }
        }
        used
    }
}

/// How many convolutions each way computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Our own kernels.
    pub own: usize,
    /// Those of our own that are for Hopper.
    pub hopper: usize,
    /// cuDNN.
    pub cudnn: usize,
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { own, hopper, cudnn } = self;
        write!(f, "{own} convolutions by our own kernels, {hopper} by those for Hopper, {cudnn} by cuDNN")
    }
}

/// Chooses by measurement, and remembers.
pub struct Chooser {
    cudnn: Option<Arc<Cudnn>>,
    known: Mutex<Known>,
}

struct Known {
    /// Those of earlier runs, where they are kept.
    store: Option<Store>,
    /// Those that were made, or tried again, by this process.
    answers: BTreeMap<String, Way>,
}

impl Chooser {
    /// Chooses among our own kernels and those of `cudnn`. Choices are kept in a file of the folder `kept_in`, for this device, these libraries and this program alone.
    pub fn new(gpu: &Gpu, cudnn: Option<Arc<Cudnn>>, kept_in: Option<PathBuf>) -> Self {
        let version = cudnn.as_ref().map(|cudnn| cudnn.version().to_string());
        let store = kept_in.map(|folder| Store::open(&folder, Circumstances::of(gpu, version)));
        Self { cudnn, known: Mutex::new(Known { store, answers: BTreeMap::new() }) }
    }

    /// The cuDNN that is chosen from.
    pub fn cudnn(&self) -> Option<&Arc<Cudnn>> {
        self.cudnn.as_ref()
    }

    /// Chooses for every convolution of a program. What is not known yet is tried in memory of its own, which is given back before this returns.
    ///
    /// # Errors
    /// [`EngineError::Gpu`] where the device is lost or has not enough memory.
    pub(super) fn choose(
        &self,
        kernels: &Kernels,
        (program, layout, math): (&Program, &Layout, Math),
    ) -> Result<Choices, EngineError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut trial = None;
        let mut choices = Choices { of_step: vec![Way::Own; program.steps.len()], workspace_bytes: 0 };
        for index in 0..program.steps.len() {
            let Some(question) = Question::of(program, layout, math, index) else { continue };
            let key = question.key();
            let way = match known.answers.get(&key) {
                Some(way) => *way,
                None => {
                    let Known { store, answers } = &mut *known;
                    let way = match store.as_ref().and_then(|store| store.answer(&key)) {
                        Some(Way::Own) => Way::Own,
                        kept => {
                            let trial = match &mut trial {
                                Some(trial) => trial,
                                none => none.insert(Trial::new(kernels, program, layout, math)?),
                            };
                            answered(trial, &question, kept, store.as_mut())?
                        }
                    };
                    answers.insert(key, way);
                    way
                }
            };
            if let (Way::Cudnn(algorithm), Some(cudnn)) = (way, &self.cudnn) {
                let bytes = question.workspace_bytes(cudnn, algorithm).unwrap_or(0);
                choices.workspace_bytes = choices.workspace_bytes.max(bytes);
            }
            if let Some(of_step) = choices.of_step.get_mut(index) {
                *of_step = way;
            }
        }
        if let Some(store) = &mut known.store {
            store.save();
        }
        Ok(choices)
    }
}

/// What was kept, if it still computes what our own kernels compute, or else a new answer.
fn answered(
    trial: &mut Trial<'_>,
    question: &Question<'_>,
    kept: Option<Way>,
    store: Option<&mut Store>,
) -> Result<Way, EngineError> {
    if let Some(way) = kept
        && trial.is_right(question, way)?
    {
        return Ok(way);
    }
    let answer = trial.fastest(question)?;
    let Answer { way, ms, own_ms } = answer;
    tracing::info!("{}: {way}, {ms:.4} ms of {own_ms:.4} ms by our own kernels", question.key());
    if let Some(store) = store {
        store.insert(&question.key(), answer);
    }
    Ok(way)
}
