//! IMDN as the NTIRE 2022 kit simplifies it, and its collapsible form.
//!
//! This is not the original IMDN: there is no channel attention and no fusion of intermediate blocks. Sources: `models/imdn_baseline.py` of the
//! organisers' 2022 code, and Fig. 1 of "Efficient Image Super-Resolution with Collapsible Linear Blocks".

use crate::graph::{BuildError, Graph, GraphBuilder, Value};

/// The parameters of an IMDN.
#[derive(Clone, Debug, PartialEq)]
pub struct ImdnConfig {
    /// Number of information multi-distillation blocks: 8 in the baseline, 7 in the paper.
    pub blocks: usize,
    /// Channel width.
    pub channels: usize,
    /// Channels that each of the first three convolutions of a block sets aside.
    pub distilled: usize,
    /// Negative slope of LeakyReLU.
    pub slope: f32,
    /// Upscaling factor.
    pub scale: usize,
    /// Linear branches that exist in training and are collapsed after it.
    pub branches: Branches,
    /// Which 3×3 convolutions get these branches.
    pub collapsible: CollapsibleLayers,
}

impl Default for ImdnConfig {
    /// The challenge's baseline.
    fn default() -> Self {
        Self {
            blocks: 8,
            channels: 64,
            distilled: 16,
            slope: 0.05,
            scale: 4,
            branches: Branches::default(),
            collapsible: CollapsibleLayers::Blocks,
        }
    }
}

/// Linear branches beside (or inside) a 3×3 convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Branches {
    /// A parallel 1×1 convolution: the paper's block.
    pub pointwise: bool,
    /// The input itself, where input and output have equally many channels: RepVGG's branch.
    pub identity: bool,
    /// Instead of one 3×3 convolution, a 3×3 to this many channels and a 1×1 back: SESR's block.
    pub expansion: Option<usize>,
}

impl Branches {
    /// Whether the model is its own collapsed form.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Which 3×3 convolutions are collapsible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollapsibleLayers {
    /// The four of each block, as Fig. 1c of the paper shows.
    Blocks,
    /// Those and the head, the trunk and the upsampler: the paper does not rule it out.
    All,
}

/// Builds the graph with the official key names.
pub(super) fn imdn(config: &ImdnConfig) -> Result<Graph, BuildError> {
    let mut g = GraphBuilder::new();
    let everywhere = match config.collapsible {
        CollapsibleLayers::All => config.branches,
        CollapsibleLayers::Blocks => Branches::default(),
    };
    let lr = g.input(3);
    let head = collapsible3x3(&mut g, "model.0", "model.0", lr, config.channels, everywhere);
    let mut x = head;
    for block in 0..config.blocks {
        x = imdb(&mut g, &format!("model.1.sub.{block}"), x, config);
    }
    let trunk = format!("model.1.sub.{}", config.blocks);
    let body = collapsible3x3(&mut g, &trunk, &trunk, x, config.channels, everywhere);
    let features = g.add(head, body);
    let up =
        collapsible3x3(&mut g, "model.2", "model.2", features, 3 * config.scale * config.scale, everywhere);
    let sr = g.pixel_shuffle(up, config.scale);
    g.finish(sr, config.scale)
}

/// Information multi-distillation block: three convolutions each set aside `distilled` channels, a fourth makes as many, a 1×1 fuses
/// them. LeakyReLU acts on all channels before the split; neither the fourth convolution nor the fusion is activated.
fn imdb(g: &mut GraphBuilder, path: &str, x: Value, config: &ImdnConfig) -> Value {
    let ImdnConfig { channels, distilled, slope, branches, .. } = *config;
    let mut kept = Vec::new();
    let mut rest = x;
    for step in 1..=3 {
        let branch_path = format!("{path}.conv{step}");
        let t = collapsible3x3(g, &format!("{branch_path}.0"), &branch_path, rest, channels, branches);
        let t = g.leaky_relu(t, slope);
        let (distil, remaining) = g.split(t, distilled);
        kept.push(distil);
        rest = remaining;
    }
    let path4 = format!("{path}.conv4");
    kept.push(collapsible3x3(g, &path4, &path4, rest, distilled, branches));
    let all = g.concat(&kept);
    let fused = g.conv1x1(format!("{path}.conv1x1"), all, channels);
    g.add(x, fused)
}

/// A 3×3 convolution called `name`, with its training-time branches below `path`.
fn collapsible3x3(
    g: &mut GraphBuilder,
    name: &str,
    path: &str,
    x: Value,
    out_channels: usize,
    branches: Branches,
) -> Value {
    let mut sum = match branches.expansion {
        None => g.conv3x3(name, x, out_channels),
        Some(width) => {
            let wide = g.conv3x3(name, x, width);
            g.conv1x1(format!("{path}.project1x1"), wide, out_channels)
        }
    };
    if branches.pointwise {
        let branch = g.conv1x1(format!("{path}.branch1x1"), x, out_channels);
        sum = g.add(sum, branch);
    }
    if branches.identity && x.channels == out_channels {
        sum = g.add(sum, x);
    }
    sum
}
