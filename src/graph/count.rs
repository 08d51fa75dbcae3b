//! Parameters, FLOPs, activations and convolutions as folds over the graph.
//!
//! Both FLOP counters count one multiply-add as one. Sources: `utils/model_summary.py` of the organisers' kits (2020–2023) and fvcore
//! 0.1.5's `FlopCountAnalysis` (2024 on). Neither knows a backward pass; each of a convolution's two gradients makes as many multiply-adds as the
//! convolution itself and is charged the same by both.

use super::inspection::{Inspection, LayerCost};
use super::{Conv2d, Graph, Op, ShapeError, shapes};
use crate::fsio::Artefact;
use crate::models::ModelIdentity;

/// fvcore charges four multiply-adds for each output value of a bilinear resize.
const FVCORE_BILINEAR_PER_OUTPUT: u64 = 4;

/// Counts the cost of one pass over one LR image of `width` × `height` pixels: forward, or a training step if `graph` is a [`super::Backward`]'s. The
/// challenge uses 256×256.
///
/// # Errors
/// [`ShapeError`] when the image does not go through the model.
pub fn inspect(
    graph: &Graph,
    model: ModelIdentity,
    width: usize,
    height: usize,
) -> Result<Inspection, ShapeError> {
    let shapes = shapes(graph, width, height)?;
    let mut layers = Vec::new();
    let mut convolutions = 0;
    for (node, &[c, h, w]) in graph.nodes().iter().zip(&shapes) {
        let volume = |[c, h, w]: [usize; 3]| c as u64 * h as u64 * w as u64;
        let outputs = volume([c, h, w]);
        let mut cost = LayerCost {
            name: node.name.clone(),
            op: node.op.label(),
            output_chw: [c, h, w],
            parameters: 0,
            flops_ntire2022: 0,
            flops_fvcore: 0,
            activations: 0,
        };
        match &node.op {
            Op::Conv2d(conv) => {
                cost.parameters = conv.parameter_count();
                cost.flops_ntire2022 = outputs * per_output(conv);
                cost.flops_fvcore = cost.flops_ntire2022;
                cost.activations = outputs;
                convolutions += 1;
            }
            Op::ConvInputGrad(conv) | Op::ConvWeightGrad(conv) => {
                let dy = node.inputs.get(usize::from(matches!(node.op, Op::ConvWeightGrad(_))));
                cost.flops_ntire2022 = dy.map_or(0, |dy| volume(shapes[dy.index()])) * per_output(conv);
                cost.flops_fvcore = cost.flops_ntire2022;
            }
            // The hook counter charges one per output of an activation module; fvcore charges nothing.
            Op::LeakyRelu { .. } | Op::Relu => cost.flops_ntire2022 = outputs,
            // `F.interpolate` is a function, invisible to hooks on modules.
            Op::ResizeBilinear => cost.flops_fvcore = FVCORE_BILINEAR_PER_OUTPUT * outputs,
            // Neither counter charges these, or has a rule that could be carried over to a backward pass. fvcore has no handler for bicubic upsampling.
            Op::Input { .. }
            | Op::Sigmoid
            | Op::Add
            | Op::Mul
            | Op::Concat
            | Op::Narrow { .. }
            | Op::MaxPool { .. }
            | Op::PixelShuffle { .. }
            | Op::UpscaleBicubic { .. }
            | Op::Target { .. }
            | Op::L1Loss
            | Op::L1LossGrad
            | Op::ConvBiasGrad
            | Op::LeakyReluGrad { .. }
            | Op::SigmoidGrad
            | Op::MaxPoolGrad { .. }
            | Op::ResizeBilinearGrad
            | Op::PixelUnshuffle { .. }
            | Op::Place { .. } => continue,
        }
        layers.push(cost);
    }
    let sum = |share: fn(&LayerCost) -> u64| layers.iter().map(share).sum();
    Ok(Inspection {
        schema: Inspection::SCHEMA,
        model,
        scale: graph.scale(),
        input_width: width,
        input_height: height,
        parameters: sum(|layer| layer.parameters),
        flops_ntire2022: sum(|layer| layer.flops_ntire2022),
        flops_fvcore: sum(|layer| layer.flops_fvcore),
        activations: sum(|layer| layer.activations),
        convolutions,
        layers,
    })
}

/// Multiply-adds that one output value of a convolution takes. The bias is not counted by either counter.
fn per_output(conv: &Conv2d) -> u64 {
    (conv.in_channels / conv.groups * conv.kernel * conv.kernel) as u64
}
