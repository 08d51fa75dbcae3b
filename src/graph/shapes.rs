//! The shape of every value, for one input size.

use super::{Graph, Op};

/// The input is too small, or so large that its values cannot be counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an LR image of {width}x{height} pixels does not go through `{node}`: {problem}")]
pub struct ShapeError {
    /// LR width in pixels.
    pub width: usize,
    /// LR height in pixels.
    pub height: usize,
    /// The layer that cannot take it.
    pub node: String,
    /// Why.
    pub problem: String,
}

/// The most pixels along a side that we reason about; keeps products of sizes far from overflow.
const MAX_SIDE_PIXELS: usize = 1 << 20;

/// The (channels, height, width) of every node's value for an LR image of `width` × `height` pixels.
///
/// # Errors
/// [`ShapeError`] when a layer's window is larger than what it slides over (ESA needs at least 15 LR pixels), or when the values that a layer joins
/// differ in shape.
pub fn shapes(graph: &Graph, width: usize, height: usize) -> Result<Vec<[usize; 3]>, ShapeError> {
    let error = |node: &str, problem: String| ShapeError { width, height, node: node.into(), problem };
    if width == 0 || height == 0 || width > MAX_SIDE_PIXELS || height > MAX_SIDE_PIXELS {
        return Err(error("input", format!("sides must be 1 to {MAX_SIDE_PIXELS} pixels")));
    }
    let mut shapes: Vec<[usize; 3]> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let input = |index: usize| node.inputs.get(index).map_or([0; 3], |id| shapes[id.index()]);
        let [c, h, w] = input(0);
        // Output positions of a window of `kernel` that moves by `stride` over `length` pixels.
        let slide = |length: usize, kernel: usize, stride: usize| {
            if length < kernel {
                let problem =
                    format!("its {kernel}x{kernel} window is larger than the {w}x{h} pixels it is given");
                return Err(error(&node.name, problem));
            }
            Ok((length - kernel) / stride + 1)
        };
        let [out_h, out_w] = match &node.op {
            Op::Input { .. } => [height, width],
            Op::Target { .. } => [height * graph.scale(), width * graph.scale()],
            Op::Conv2d(conv) => [
                slide(h + 2 * conv.padding, conv.kernel, conv.stride)?,
                slide(w + 2 * conv.padding, conv.kernel, conv.stride)?,
            ],
            Op::Add | Op::Mul | Op::L1Loss | Op::L1LossGrad => {
                let other = input(1);
                if other != [c, h, w] {
                    return Err(error(
                        &node.name,
                        format!("shapes {:?} and {other:?} do not agree", [c, h, w]),
                    ));
                }
                match &node.op {
                    Op::L1Loss => [1, 1],
                    _ => [h, w],
                }
            }
            Op::LeakyRelu { .. }
            | Op::Relu
            | Op::Sigmoid
            | Op::Concat
            | Op::Narrow { .. }
            | Op::LeakyReluGrad { .. }
            | Op::SigmoidGrad
            | Op::Place { .. } => [h, w],
            Op::MaxPool { kernel, stride } => [slide(h, *kernel, *stride)?, slide(w, *kernel, *stride)?],
            Op::ResizeBilinear | Op::ConvInputGrad(_) | Op::MaxPoolGrad { .. } | Op::ResizeBilinearGrad => {
                let [_, like_h, like_w] = input(1);
                [like_h, like_w]
            }
            Op::PixelShuffle { factor } | Op::UpscaleBicubic { factor } => [h * factor, w * factor],
            Op::PixelUnshuffle { factor } => [h / factor, w / factor],
            Op::ConvWeightGrad(conv) => [conv.in_channels / conv.groups, conv.kernel * conv.kernel],
            Op::ConvBiasGrad => [1, 1],
        };
        let in_channels: Vec<usize> = node.inputs.iter().map(|id| shapes[id.index()][0]).collect();
        shapes.push([node.op.channels(&in_channels), out_h, out_w]);
    }
    Ok(shapes)
}
