//! What runs models: an engine on the processor, or the planned engine on a GPU.

use super::Engine;
use super::cuda::{Computing, Math, Selection};
use crate::metrics::ComputedBy;

/// An engine and where it computes.
#[derive(Clone)]
pub enum Backend {
    /// An engine on the processor, in f32.
    Cpu(Engine),
    /// The planned engine on a GPU.
    Cuda(Computing),
}

impl From<Engine> for Backend {
    fn from(engine: Engine) -> Self {
        Self::Cpu(engine)
    }
}

impl From<Computing> for Backend {
    fn from(computing: Computing) -> Self {
        Self::Cuda(computing)
    }
}

impl Backend {
    /// `cpu` or `cuda:N`.
    pub fn device(&self) -> String {
        match self {
            Self::Cpu(_) => "cpu".into(),
            Self::Cuda(computing) => format!("cuda:{}", computing.gpu.facts().ordinal),
        }
    }

    /// The engine.
    pub fn engine(&self) -> Engine {
        match self {
            Self::Cpu(engine) => *engine,
            Self::Cuda(_) => Engine::Plan,
        }
    }

    /// The name of the number format that products are computed in.
    pub fn precision(&self) -> &'static str {
        match self {
            Self::Cpu(_) => Math::F32.name(),
            Self::Cuda(computing) => computing.math.name(),
        }
    }

    /// What runs a model, for artefacts.
    pub fn computed_by(&self) -> ComputedBy {
        let kernels = match self {
            Self::Cpu(_) => None,
            Self::Cuda(computing) => Some(computing.selection().name().into()),
        };
        ComputedBy {
            device: self.device(),
            engine: self.engine().name().into(),
            precision: self.precision().into(),
            kernels,
        }
    }

    /// What decides which bits come out: results of one kind of backend can be told from those of another.
    pub fn kind(&self) -> String {
        match self {
            Self::Cpu(engine) => engine.name().into(),
            Self::Cuda(computing) => {
                let chosen = match computing.selection() {
                    Selection::Fixed => "",
                    Selection::Fastest => "-fastest",
                };
                format!("cuda-{}{chosen}", computing.math.name())
            }
        }
    }
}
