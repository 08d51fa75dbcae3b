//! RLFN as team ByteESR submitted it in 2022 (`models/team04_rlfn.py`, class `RLFN_cut`); the 2024 baseline is the same network.

use super::rfdn::{SLOPE, esa};
use crate::graph::{BuildError, Graph, GraphBuilder, Value};

/// The parameters of an RLFN.
#[derive(Clone, Debug, PartialEq)]
pub struct RlfnConfig {
    /// Channel width between blocks.
    pub channels: usize,
    /// Channel width inside a block.
    pub middle: usize,
    /// Channel width of the attention.
    pub attention: usize,
    /// Number of residual local feature blocks.
    pub blocks: usize,
    /// Upscaling factor.
    pub scale: usize,
}

impl Default for RlfnConfig {
    fn default() -> Self {
        Self { channels: 46, middle: 48, attention: 16, blocks: 4, scale: 4 }
    }
}

/// Builds the graph with the official key names. Input and output range over 0 to 255.
pub(super) fn rlfn(config: &RlfnConfig) -> Result<Graph, BuildError> {
    let mut g = GraphBuilder::new();
    let lr = g.input(3);
    let fea = g.conv3x3("fea_conv", lr, config.channels);
    let mut x = fea;
    for block in 1..=config.blocks {
        x = rlfb(&mut g, &format!("B{block}"), x, config);
    }
    let body = g.conv3x3("LR_conv", x, config.channels);
    let features = g.add(body, fea);
    let up = g.conv3x3("upsampler.0", features, 3 * config.scale * config.scale);
    let sr = g.pixel_shuffle(up, config.scale);
    Ok(g.finish(sr, config.scale)?.with_data_range(255.0))
}

/// Residual local feature block.
fn rlfb(g: &mut GraphBuilder, path: &str, x: Value, config: &RlfnConfig) -> Value {
    let mut v = x;
    for (name, width) in [("c1_r", config.middle), ("c2_r", config.middle), ("c3_r", config.channels)] {
        v = g.conv3x3(format!("{path}.{name}"), v, width);
        v = g.leaky_relu(v, SLOPE);
    }
    let v = g.add(v, x);
    let v = g.conv1x1(format!("{path}.c5"), v, config.channels);
    esa(g, &format!("{path}.esa"), v, config.attention, false)
}
