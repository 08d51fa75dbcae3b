//! What runs models: an engine on the processor, or the planned engine on a GPU.

use std::sync::Arc;

use super::Engine;
use super::cuda::Math;
use crate::gpu::device::Gpu;

/// An engine and where it computes.
#[derive(Clone)]
pub enum Backend {
    /// An engine on the processor, in f32.
    Cpu(Engine),
    /// The planned engine on a GPU.
    Cuda {
        /// The device.
        gpu: Arc<Gpu>,
        /// How products are computed.
        math: Math,
    },
}

impl From<Engine> for Backend {
    fn from(engine: Engine) -> Self {
        Self::Cpu(engine)
    }
}

impl Backend {
    /// `cpu` or `cuda:N`.
    pub fn device(&self) -> String {
        match self {
            Self::Cpu(_) => "cpu".into(),
            Self::Cuda { gpu, .. } => format!("cuda:{}", gpu.facts().ordinal),
        }
    }

    /// The engine.
    pub fn engine(&self) -> Engine {
        match self {
            Self::Cpu(engine) => *engine,
            Self::Cuda { .. } => Engine::Plan,
        }
    }

    /// The name of the number format that products are computed in.
    pub fn precision(&self) -> &'static str {
        match self {
            Self::Cpu(_) => Math::F32.name(),
            Self::Cuda { math, .. } => math.name(),
        }
    }

    /// What decides which bits come out: results of one kind of backend can be told from those of another.
    pub fn kind(&self) -> String {
        match self {
            Self::Cpu(engine) => engine.name().into(),
            Self::Cuda { math, .. } => format!("cuda-{}", math.name()),
        }
    }
}
