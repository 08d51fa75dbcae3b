//! Folding at every step: which branches are added up in which weights of the collapsed model, and the two launches that do it and carry gradients back.
//!
//! What is added to what is written to the device once, as lists of positions among all values; one launch works on all of it.

use std::sync::Arc;

use super::state::State;
use crate::engine::EngineError;
use crate::engine::cuda::launch::folding::{self, Form, Lists};
use crate::engine::cuda::launch::{Command, Launch};
use crate::engine::cuda::layout::Room;
use crate::engine::cuda::params::{self, Branch};
use crate::engine::cuda::tensors::Tensors;
use crate::engine::cuda::{number, unsupported};
use crate::gpu::device::{DeviceMemory, Gpu};
use crate::graph::fold::Fold;

/// Weights and gradients of the collapsed model that no tensor of the expanded one is.
pub(super) struct Folding {
    weights: Tensors,
    gradients: Tensors,
    /// Kept, because launches read them.
    lists: DeviceMemory,
    /// What the kernels are told: of weights on the way there, of gradients on the way back.
    told: [params::Fold; 2],
}

impl Folding {
    /// Memory for what is folded by `folds`, which name the layers of the collapsed model; `None` if that is nothing.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for anything but sums of convolutions and identities, [`EngineError::Weight`] for a branch that the model does not have,
    /// [`EngineError::Gpu`].
    pub(super) fn new(
        gpu: &Arc<Gpu>,
        folds: &[(String, Fold)],
        state: &State,
    ) -> Result<Option<Self>, EngineError> {
        let folds = || folds.iter().filter(|(_, fold)| !fold.is_trivial());
        let sums: Vec<_> = folds().map(|(name, fold)| sums(name, fold)).collect::<Result<_, _>>()?;
        let sums: Vec<Sum> = sums.into_iter().flatten().collect();
        if sums.is_empty() {
            return Ok(None);
        }
        let tensors = || Tensors::new(gpu, sums.iter().map(|sum| (sum.key.clone(), sum.shape())));
        let (weights, gradients) = (tensors()?, tensors()?);
        let lists = lists(&sums, &weights, &state.weights)?;
        let bytes = lists.bytes();
        let mut room = Room::behind(0);
        let offsets = [0, 1, 2].map(|list: usize| room.take(bytes[list].len() as u64));
        let mut memory = gpu.allocate(room.bytes())?;
        for (offset, list) in offsets.into_iter().zip(&bytes) {
            memory.upload(offset, list)?;
        }
        let at = offsets.map(|offset| memory.address() + offset);
        // Gradients lie among gradients as weights lie among weights.
        let pairs = [(&state.weights, &weights), (&state.gradients, &gradients)];
        let told = pairs.map(|(expanded, folded)| lists.told(at, expanded.address(), folded.address()));
        Ok(Some(Self { weights, gradients, lists: memory, told }))
    }

    /// Where a folded weight or bias lies.
    pub(super) fn weight(&self, key: &str) -> Option<u64> {
        self.weights.of(key)
    }

    /// Where its gradient lies.
    pub(super) fn gradient(&self, key: &str) -> Option<u64> {
        self.gradients.of(key)
    }

    /// Adds up all branches.
    pub(super) fn fold(&self) -> Command {
        let [told, _] = self.told;
        command(folding::fold(&told), told)
    }

    /// Carries all gradients back to the branches.
    pub(super) fn unfold(&self) -> Command {
        let [_, told] = self.told;
        command(folding::unfold(&told), told)
    }

    /// Bytes of device memory.
    pub(super) fn bytes(&self) -> u64 {
        self.weights.bytes() + self.gradients.bytes() + self.lists.bytes()
    }
}

fn command(launch: Launch, told: params::Fold) -> Command {
    Command { label: launch.kernel.into(), work: (launch, told).into(), multiply_adds: 0 }
}

/// One weight or bias of the collapsed model.
struct Sum {
    key: String,
    form: Form,
    is_bias: bool,
    /// Key and side of the kernel of what is added, in this order; no key for the identity.
    branches: Vec<(Option<String>, usize)>,
}

impl Sum {
    fn shape(&self) -> Vec<usize> {
        let Form { out_channels, in_channels, kernel } = self.form;
        if self.is_bias { vec![out_channels] } else { vec![out_channels, in_channels, kernel, kernel] }
    }
}

/// The weight, and the bias if there is one, of a layer of the collapsed model.
fn sums(name: &str, fold: &Fold) -> Result<Vec<Sum>, EngineError> {
    let unsupported = || {
        let what = format!("folding of the chain `{name}`");
        unsupported(format!("{what}: set `train_on = \"expanded\"`, or train on the CPU"))
    };
    let branches = fold.plain_branches().ok_or_else(unsupported)?;
    let conv = fold.conv();
    let of_weight = branches.iter().map(|branch| match branch {
        Fold::Conv { name, conv } => (Some(format!("{name}.weight")), conv.kernel),
        _ => (None, 0),
    });
    // The bias is the sum of those that there are.
    let of_bias = branches.iter().filter_map(|branch| match branch {
        Fold::Conv { name, conv } if conv.bias => Some((Some(format!("{name}.bias")), 1)),
        _ => None,
    });
    let [out_channels, in_channels, kernel, _] = conv.weight_shape();
    let weight = Sum {
        key: format!("{name}.weight"),
        form: Form { out_channels, in_channels, kernel },
        is_bias: false,
        branches: of_weight.collect(),
    };
    let bias = conv.bias.then(|| Sum {
        key: format!("{name}.bias"),
        form: Form { out_channels, in_channels: 1, kernel: 1 },
        is_bias: true,
        branches: of_bias.collect(),
    });
    Ok([Some(weight), bias].into_iter().flatten().collect())
}

/// Positions of everything that is added.
fn lists(sums: &[Sum], folded: &Tensors, expanded: &Tensors) -> Result<Lists, EngineError> {
    let first = |tensors: &Tensors, key: &String| {
        let missing = || EngineError::Weight { key: key.clone(), shape: Vec::new() };
        tensors.first(key).map(|first| first as u64).ok_or_else(missing)
    };
    let mut lists = Lists::default();
    for Sum { key, form, branches, .. } in sums {
        let branch = |(key, kernel): &(Option<String>, usize)| {
            let first = key.as_ref().map_or(Ok(0), |key| first(expanded, key))?;
            Ok::<_, EngineError>(Branch { first, kernel: number(*kernel), unused: 0 })
        };
        let branches: Vec<Branch> = branches.iter().map(branch).collect::<Result<_, _>>()?;
        lists.add(first(folded, key)?, *form, branches);
    }
    Ok(lists)
}
