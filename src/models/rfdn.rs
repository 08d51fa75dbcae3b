//! RFDN, the baseline of the 2023 challenge (`models/rfdn_baseline` of the organisers' code).

use crate::graph::{BuildError, Conv2d, Graph, GraphBuilder, Value};

/// The parameters of an RFDN.
#[derive(Clone, Debug, PartialEq)]
pub struct RfdnConfig {
    /// Channel width; each block distils half of it.
    pub channels: usize,
    /// Number of residual feature distillation blocks.
    pub blocks: usize,
    /// Upscaling factor.
    pub scale: usize,
}

impl Default for RfdnConfig {
    fn default() -> Self {
        Self { channels: 50, blocks: 4, scale: 4 }
    }
}

/// Negative slope of LeakyReLU throughout.
pub(super) const SLOPE: f32 = 0.05;

/// Builds the graph with the official key names. Input and output range over 0 to 255.
pub(super) fn rfdn(config: &RfdnConfig) -> Result<Graph, BuildError> {
    let mut g = GraphBuilder::new();
    let lr = g.input(3);
    let fea = g.conv3x3("fea_conv", lr, config.channels);
    let mut x = fea;
    let mut outputs = Vec::new();
    for block in 1..=config.blocks {
        x = rfdb(&mut g, &format!("B{block}"), x);
        outputs.push(x);
    }
    let all = g.concat(&outputs);
    let fused = g.conv1x1("c.0", all, config.channels);
    let fused = g.leaky_relu(fused, SLOPE);
    let body = g.conv3x3("LR_conv", fused, config.channels);
    let features = g.add(body, fea);
    let up = g.conv3x3("upsampler.0", features, 3 * config.scale * config.scale);
    let sr = g.pixel_shuffle(up, config.scale);
    Ok(g.finish(sr, config.scale)?.with_data_range(255.0))
}

/// Residual feature distillation block; the block as a whole has no residual.
fn rfdb(g: &mut GraphBuilder, path: &str, x: Value) -> Value {
    let (width, distilled) = (x.channels, x.channels / 2);
    let mut kept = Vec::new();
    let mut rest = x;
    for step in 1..=3 {
        let d = g.conv1x1(format!("{path}.c{step}_d"), rest, distilled);
        kept.push(g.leaky_relu(d, SLOPE));
        let r = g.conv3x3(format!("{path}.c{step}_r"), rest, width);
        let r = g.add(r, rest);
        rest = g.leaky_relu(r, SLOPE);
    }
    let r4 = g.conv3x3(format!("{path}.c4"), rest, distilled);
    kept.push(g.leaky_relu(r4, SLOPE));
    let all = g.concat(&kept);
    let fused = g.conv1x1(format!("{path}.c5"), all, width);
    esa(g, &format!("{path}.esa"), fused, width / 4, true)
}

/// Enhanced spatial attention. `full` is RFDN's form with three convolutions after the pool; RLFN keeps one and no ReLU.
pub(super) fn esa(g: &mut GraphBuilder, path: &str, x: Value, width: usize, full: bool) -> Value {
    let a = g.conv1x1(format!("{path}.conv1"), x, width);
    let strided = Conv2d {
        in_channels: width,
        out_channels: width,
        kernel: 3,
        stride: 2,
        padding: 0,
        groups: 1,
        bias: true,
    };
    let b = g.conv(format!("{path}.conv2"), a, strided);
    let mut v = g.max_pool(b, 7, 3);
    if full {
        v = g.conv3x3(format!("{path}.conv_max"), v, width);
        v = g.relu(v);
        v = g.conv3x3(format!("{path}.conv3"), v, width);
        v = g.relu(v);
        v = g.conv3x3(format!("{path}.conv3_"), v, width);
    } else {
        v = g.conv3x3(format!("{path}.conv3"), v, width);
    }
    let resized = g.resize_bilinear(v, x);
    let skip = g.conv1x1(format!("{path}.conv_f"), a, width);
    let sum = g.add(resized, skip);
    let mask = g.conv1x1(format!("{path}.conv4"), sum, x.channels);
    let mask = g.sigmoid(mask);
    g.mul(x, mask)
}
