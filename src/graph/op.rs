//! The operations, in the field's terms, and the graph that holds them.
//!
//! Operations named `…Grad`, `Place` and `PixelUnshuffle` appear only in what [`super::backward()`] makes: each is the adjoint of a forward operation. `dy` is
//! the gradient of the loss with respect to that operation's value.

/// The position of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) usize);

impl NodeId {
    /// The position as a number.
    pub fn index(self) -> usize {
        self.0
    }
}

/// A 2-D convolution as PyTorch's `Conv2d`: cross-correlation, zero padding, weights OIHW.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Side of the square kernel in pixels.
    pub kernel: usize,
    /// Step between output positions in pixels.
    pub stride: usize,
    /// Zeros added on each side in pixels.
    pub padding: usize,
    /// Channel groups that do not mix.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Conv2d {
    /// The shape of the weight, OIHW.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.out_channels, self.in_channels / self.groups, self.kernel, self.kernel]
    }

    /// Learnable values, bias included.
    pub fn parameter_count(&self) -> u64 {
        let weight: usize = self.weight_shape().iter().product();
        (weight + if self.bias { self.out_channels } else { 0 }) as u64
    }

    /// A short name for tables and dumps.
    fn label(&self) -> String {
        let mut label = format!("conv{k}x{k}", k = self.kernel);
        if self.stride != 1 {
            label.push_str(&format!("/s{}", self.stride));
        }
        if self.groups != 1 {
            label.push_str(&format!("/g{}", self.groups));
        }
        label
    }

    /// Whether the output has the input's size and the layer mixes all channels: what collapsing understands.
    pub fn is_plain_same(&self) -> bool {
        self.stride == 1 && self.groups == 1 && self.kernel % 2 == 1 && self.padding == self.kernel / 2
    }
}

/// One operation. Values are NCHW.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The LR image, values in the model's data range.
    Input {
        /// Channels of the image.
        channels: usize,
    },
    /// Convolution; its weights are called `<node name>.weight` and `<node name>.bias`.
    Conv2d(Conv2d),
    /// `x` where positive, `slope * x` elsewhere.
    LeakyRelu {
        /// The factor for negative values.
        slope: f32,
    },
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Sum of two values of one shape.
    Add,
    /// Product of two values of one shape, element by element.
    Mul,
    /// Channels of all inputs one after another.
    Concat,
    /// A range of channels.
    Narrow {
        /// First channel.
        start: usize,
        /// Number of channels.
        length: usize,
    },
    /// Maximum over square windows, no padding.
    MaxPool {
        /// Side of the window in pixels.
        kernel: usize,
        /// Step between windows in pixels.
        stride: usize,
    },
    /// Bilinear resize of the first input to the height and width of the second (`align_corners=False`).
    ResizeBilinear,
    /// `out[c, f*h+i, f*w+j] = in[c*f*f + f*i + j, h, w]`.
    PixelShuffle {
        /// The upscaling factor.
        factor: usize,
    },
    /// Bicubic upscaling (Keys, a = -0.5) with mirrored borders; the classical baseline.
    UpscaleBicubic {
        /// The upscaling factor.
        factor: usize,
    },
    /// The HR images that the SR images are compared with: `channels` × `scale * height` × `scale * width` for an LR image of `height` × `width`.
    Target {
        /// Channels of the image.
        channels: usize,
    },
    /// Inputs `[sr, hr]` of one shape: the mean of `|sr - hr|` over all values of the batch. Its shape is 1×1×1, one for the whole batch.
    L1Loss,
    /// Inputs `[sr, hr]`: `sign(sr - hr) / count`, zero where both are equal, `count` being the number of values of the batch. Shape: that of `sr`.
    L1LossGrad,
    /// Inputs `[dy, like]`: the gradient with respect to the input of the convolution of the same name, whose weight it reads. `like` is that input
    /// and gives only the shape.
    ConvInputGrad(Conv2d),
    /// Inputs `[x, dy]`: the gradient with respect to the weight of the convolution of the same name, whose input is `x`. It is OIHW and summed over
    /// the batch; its shape is reported as `[out_channels, in_channels / groups, kernel * kernel]`.
    ConvWeightGrad(Conv2d),
    /// Input `[dy]`: the gradient with respect to the bias of the convolution of the same name, summed over the batch. Shape: one value per channel of
    /// `dy`, reported as `[channels, 1, 1]`.
    ConvBiasGrad,
    /// Inputs `[dy, signs]` of one shape: `dy` where `signs` is positive, `slope * dy` elsewhere (PyTorch's choice at zero). `signs` is the activation's
    /// output, which is positive exactly where the input is; only for a negative slope, where that is not so, it is the input. ReLU has slope zero.
    LeakyReluGrad {
        /// The factor where `signs` is not positive.
        slope: f32,
    },
    /// Inputs `[dy, y]` of one shape, `y` being the sigmoid's output: `dy * y * (1 - y)`.
    SigmoidGrad,
    /// Inputs `[dy, x]`, `x` being what was pooled: each value of `dy` goes to its window's maximum, the first in row order where several are equal, as
    /// PyTorch chooses. Shape: that of `x`.
    MaxPoolGrad {
        /// Side of the window in pixels.
        kernel: usize,
        /// Step between windows in pixels.
        stride: usize,
    },
    /// Inputs `[dy, like]`: the adjoint of the bilinear resize from the height and width of `like`, which gives only the shape.
    ResizeBilinearGrad,
    /// `out[c*f*f + f*i + j, h, w] = in[c, f*h+i, f*w+j]`: the adjoint, and the inverse, of [`Op::PixelShuffle`].
    PixelUnshuffle {
        /// The factor by which height and width shrink.
        factor: usize,
    },
    /// The input in channels `start..` of a value that is zero elsewhere: the adjoint of [`Op::Narrow`].
    Place {
        /// Where the input's first channel goes.
        start: usize,
        /// Number of channels of the result.
        total: usize,
    },
}

impl Op {
    /// A short name for tables and dumps.
    pub fn label(&self) -> String {
        match self {
            Self::Input { .. } => "input".into(),
            Self::Conv2d(conv) => conv.label(),
            Self::LeakyRelu { slope } => format!("leaky_relu({slope})"),
            Self::Relu => "relu".into(),
            Self::Sigmoid => "sigmoid".into(),
            Self::Add => "add".into(),
            Self::Mul => "mul".into(),
            Self::Concat => "concat".into(),
            Self::Narrow { start, length } => format!("channels[{start}..{}]", start + length),
            Self::MaxPool { kernel, stride } => format!("max_pool{kernel}x{kernel}/s{stride}"),
            Self::ResizeBilinear => "resize_bilinear".into(),
            Self::PixelShuffle { factor } => format!("pixel_shuffle(x{factor})"),
            Self::UpscaleBicubic { factor } => format!("upscale_bicubic(x{factor})"),
            Self::Target { .. } => "target".into(),
            Self::L1Loss => "l1_loss".into(),
            Self::L1LossGrad => "l1_loss_grad".into(),
            Self::ConvInputGrad(conv) => format!("input_grad({})", conv.label()),
            Self::ConvWeightGrad(conv) => format!("weight_grad({})", conv.label()),
            Self::ConvBiasGrad => "bias_grad".into(),
            Self::LeakyReluGrad { slope } => format!("leaky_relu_grad({slope})"),
            Self::SigmoidGrad => "sigmoid_grad".into(),
            Self::MaxPoolGrad { kernel, stride } => format!("max_pool_grad{kernel}x{kernel}/s{stride}"),
            Self::ResizeBilinearGrad => "resize_bilinear_grad".into(),
            Self::PixelUnshuffle { factor } => format!("pixel_unshuffle(x{factor})"),
            Self::Place { start, total } => format!("place[{start}.. of {total}]"),
        }
    }

    /// Channels of the result, given those of the inputs.
    pub(super) fn channels(&self, inputs: &[usize]) -> usize {
        let first = inputs.first().copied().unwrap_or(0);
        match self {
            Self::Input { channels } | Self::Target { channels } => *channels,
            Self::Conv2d(conv) | Self::ConvWeightGrad(conv) => conv.out_channels,
            Self::ConvInputGrad(conv) => conv.in_channels,
            Self::Concat => inputs.iter().sum(),
            Self::Narrow { length, .. } => *length,
            Self::Place { total, .. } => *total,
            Self::PixelShuffle { factor } => first / (factor * factor),
            Self::PixelUnshuffle { factor } => first * factor * factor,
            Self::L1Loss => 1,
            Self::LeakyRelu { .. }
            | Self::Relu
            | Self::Sigmoid
            | Self::Add
            | Self::Mul
            | Self::MaxPool { .. }
            | Self::ResizeBilinear
            | Self::UpscaleBicubic { .. }
            | Self::L1LossGrad
            | Self::ConvBiasGrad
            | Self::LeakyReluGrad { .. }
            | Self::SigmoidGrad
            | Self::MaxPoolGrad { .. }
            | Self::ResizeBilinearGrad => first,
        }
    }

    /// Whether the input at `input_index` gives only its height and width, so that its values need not be alive when this operation runs.
    pub fn reads_only_shape(&self, input_index: usize) -> bool {
        let like = matches!(self, Self::ResizeBilinear | Self::ResizeBilinearGrad | Self::ConvInputGrad(_));
        like && input_index == 1
    }
}

/// An operation in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Module path. For a convolution and its gradients it is the path of its weights; for other nodes it helps a reader.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<NodeId>,
}

impl Node {
    /// The key of the weight, for a convolution and its gradients.
    pub fn weight_key(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// The key of the bias, for a convolution and its gradients.
    pub fn bias_key(&self) -> String {
        format!("{}.bias", self.name)
    }
}

/// A model, or a training step of one: nodes in order of execution. Made by [`super::GraphBuilder`] and from other graphs only.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) output: NodeId,
    pub(super) scale: usize,
    pub(super) data_range: f32,
}

impl Graph {
    /// The graph up to the node at `index`, whose value becomes the output.
    #[cfg(test)]
    pub(crate) fn ending_at(&self, index: usize) -> Self {
        Self { nodes: self.nodes[..=index].to_vec(), output: NodeId(index), ..self.clone() }
    }

    /// The nodes in order of execution.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node at `id`. Ids come from this graph, so the node exists.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The node whose value is the SR image; in the graph of a training step, the loss.
    pub fn output(&self) -> NodeId {
        self.output
    }

    /// Channels of the LR image.
    pub fn input_channels(&self) -> usize {
        let input = |node: &Node| match node.op {
            Op::Input { channels } => Some(channels),
            _ => None,
        };
        self.nodes.iter().find_map(input).unwrap_or(0)
    }

    /// Upscaling factor.
    pub fn scale(&self) -> usize {
        self.scale
    }

    /// The value of white in the model's input and output: 1 or 255.
    pub fn data_range(&self) -> f32 {
        self.data_range
    }

    /// The same graph for another data range.
    #[must_use]
    pub fn with_data_range(mut self, data_range: f32) -> Self {
        self.data_range = data_range;
        self
    }

    /// The convolutions with their nodes, in order of execution.
    pub fn convolutions(&self) -> impl Iterator<Item = (&Node, &Conv2d)> {
        self.nodes.iter().filter_map(|node| match &node.op {
            Op::Conv2d(conv) => Some((node, conv)),
            _ => None,
        })
    }

    /// Every weight's key and shape in order of execution, weight before bias.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let mut parameters = Vec::new();
        for (node, conv) in self.convolutions() {
            parameters.push((node.weight_key(), conv.weight_shape().to_vec()));
            if conv.bias {
                parameters.push((node.bias_key(), vec![conv.out_channels]));
            }
        }
        parameters
    }

    /// Channels of every node's value.
    pub(super) fn channels(&self) -> Vec<usize> {
        let mut channels: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let inputs: Vec<usize> = node.inputs.iter().map(|id| channels[id.0]).collect();
            channels.push(node.op.channels(&inputs));
        }
        channels
    }

    /// How often each node's value is read, the graph's output counting as one reader. For a training step see [`super::Backward::use_counts`].
    pub fn use_counts(&self) -> Vec<usize> {
        self.use_counts_with(&[self.output])
    }

    /// How often each node's value is read, each of `roots` counting as one reader.
    pub(crate) fn use_counts_with(&self, roots: &[NodeId]) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        for id in self.nodes.iter().flat_map(|node| &node.inputs).chain(roots) {
            uses[id.0] += 1;
        }
        uses
    }
}
