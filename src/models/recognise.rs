//! Which architecture a set of tensors belongs to, from their names and shapes alone.
//!
//! Recognition reads the numbers (blocks, widths, scale, branches) off a few telling tensors; whether every tensor then fits is for strict
//! loading to say.

use std::collections::BTreeMap;

use super::imdn::{Branches, CollapsibleLayers, ImdnConfig};
use super::{Architecture, RfdnConfig, RlfnConfig};

/// The tensors fit no architecture that this program knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {count} tensors (first: {first}) belong to no architecture known here; known are IMDN (`model.0.weight`, `model.1.sub.0.conv1.0.weight`, …), \
     RFDN (`fea_conv.weight`, `B1.c1_d.weight`, …) and RLFN (`fea_conv.weight`, `B1.c1_r.weight`, …)"
)]
pub struct UnknownModel {
    /// Number of tensors.
    pub count: usize,
    /// The first name in alphabetical order.
    pub first: String,
}

/// Recognises an architecture from its tensors' shapes by name.
///
/// # Errors
/// [`UnknownModel`] when the telling tensors are absent or have impossible shapes.
pub fn recognise(shapes: &BTreeMap<&str, &[usize]>) -> Result<Architecture, UnknownModel> {
    let conv = |name: &str| match shapes.get(name) {
        Some(&&[out, input, _, _]) if out > 0 && input > 0 => Some((out, input)),
        _ => None,
    };
    imdn(&conv).or_else(|| residual(&conv)).ok_or_else(|| {
        let first = shapes.keys().next().copied().unwrap_or("none").to_owned();
        UnknownModel { count: shapes.len(), first }
    })
}

/// The scale whose 3·scale² channels the upsampler puts out.
fn scale_of(channels: usize) -> Option<usize> {
    (1..=8).find(|scale| 3 * scale * scale == channels)
}

/// The number of consecutive names, from `first` on, that `make` gives and that exist.
fn run_length(first: usize, exists: impl Fn(usize) -> bool) -> usize {
    (first..).take_while(|&index| exists(index)).count()
}

fn imdn(conv: &impl Fn(&str) -> Option<(usize, usize)>) -> Option<Architecture> {
    let (channels, _) = conv("model.1.sub.0.conv1x1.weight")?;
    let (_, distilled_rest) = conv("model.1.sub.0.conv2.0.weight")?;
    let distilled = channels.checked_sub(distilled_rest).filter(|&distilled| distilled > 0)?;
    let blocks = run_length(0, |block| conv(&format!("model.1.sub.{block}.conv1.0.weight")).is_some());
    let up = conv("model.2.project1x1.weight").or_else(|| conv("model.2.weight"))?.0;
    let expansion = conv("model.1.sub.0.conv1.project1x1.weight").map(|(_, width)| width);
    let pointwise = conv("model.1.sub.0.conv1.branch1x1.weight").is_some();
    let everywhere = conv("model.0.branch1x1.weight").or_else(|| conv("model.0.project1x1.weight")).is_some();
    Some(Architecture::Imdn(ImdnConfig {
        blocks,
        channels,
        distilled,
        scale: scale_of(up)?,
        // An identity branch has no weights; a file that has one says so in its metadata.
        branches: Branches { pointwise, identity: false, expansion },
        collapsible: if everywhere { CollapsibleLayers::All } else { CollapsibleLayers::Blocks },
        ..ImdnConfig::default()
    }))
}

fn residual(conv: &impl Fn(&str) -> Option<(usize, usize)>) -> Option<Architecture> {
    let (channels, _) = conv("fea_conv.weight")?;
    let scale = scale_of(conv("upsampler.0.weight")?.0)?;
    let blocks = run_length(1, |block| conv(&format!("B{block}.c5.weight")).is_some());
    if conv("B1.c1_d.weight").is_some() {
        return Some(Architecture::Rfdn(RfdnConfig { channels, blocks, scale }));
    }
    let (middle, _) = conv("B1.c1_r.weight")?;
    let (attention, _) = conv("B1.esa.conv1.weight")?;
    Some(Architecture::Rlfn(RlfnConfig { channels, middle, attention, blocks, scale }))
}
