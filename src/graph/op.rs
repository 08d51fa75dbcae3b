//! The operations, in the field's terms, and the graph that holds them.

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
}

impl Op {
    /// A short name for tables and dumps.
    pub fn label(&self) -> String {
        match self {
            Self::Input { .. } => "input".into(),
            Self::Conv2d(conv) => {
                let mut label = format!("conv{k}x{k}", k = conv.kernel);
                if conv.stride != 1 {
                    label.push_str(&format!("/s{}", conv.stride));
                }
                if conv.groups != 1 {
                    label.push_str(&format!("/g{}", conv.groups));
                }
                label
            }
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
        }
    }
}

/// An operation in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Module path. For a convolution it is the path of its weights; for other nodes it helps a reader.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<NodeId>,
}

impl Node {
    /// The key of the weight, for a convolution.
    pub fn weight_key(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// The key of the bias, for a convolution.
    pub fn bias_key(&self) -> String {
        format!("{}.bias", self.name)
    }
}

/// A model: nodes in order of execution. Made by [`super::GraphBuilder`] only.
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

    /// The node whose value is the SR image.
    pub fn output(&self) -> NodeId {
        self.output
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

    /// How often each node's value is read, the graph's output counting as one reader.
    pub fn use_counts(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        for input in self.nodes.iter().flat_map(|node| &node.inputs) {
            uses[input.0] += 1;
        }
        uses[self.output.0] += 1;
        uses
    }
}
