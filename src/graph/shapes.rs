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
/// [`ShapeError`] when a layer's window is larger than what it slides over (ESA needs at least 15 LR pixels).
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
        let shape = match &node.op {
            Op::Input { channels } => [*channels, height, width],
            Op::Conv2d(conv) => [
                conv.out_channels,
                slide(h + 2 * conv.padding, conv.kernel, conv.stride)?,
                slide(w + 2 * conv.padding, conv.kernel, conv.stride)?,
            ],
            Op::LeakyRelu { .. } | Op::Relu | Op::Sigmoid => [c, h, w],
            Op::Add | Op::Mul => {
                let other = input(1);
                if other != [c, h, w] {
                    return Err(error(
                        &node.name,
                        format!("shapes {:?} and {other:?} do not agree", [c, h, w]),
                    ));
                }
                [c, h, w]
            }
            Op::Concat => [node.inputs.iter().map(|id| shapes[id.index()][0]).sum(), h, w],
            Op::Narrow { length, .. } => [*length, h, w],
            Op::MaxPool { kernel, stride } => [c, slide(h, *kernel, *stride)?, slide(w, *kernel, *stride)?],
            Op::ResizeBilinear => {
                let [_, like_h, like_w] = input(1);
                [c, like_h, like_w]
            }
            Op::PixelShuffle { factor } => [c / (factor * factor), h * factor, w * factor],
            Op::UpscaleBicubic { factor } => [c, h * factor, w * factor],
        };
        shapes.push(shape);
    }
    Ok(shapes)
}
