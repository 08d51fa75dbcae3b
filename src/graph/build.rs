//! Building graphs so that a model's source reads like the paper's figure.
//!
//! Builder calls return plain values, not results: the first mistake (channels that do not fit, a name used twice) is remembered and
//! [`GraphBuilder::finish`] reports it, so that a model's description stays free of error handling.

use std::collections::BTreeSet;

use super::{Conv2d, Graph, Node, NodeId, Op};

/// A value in a graph under construction: its node and its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    pub(super) id: NodeId,
    /// Number of channels.
    pub channels: usize,
}

/// A model description that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model description is wrong at `{node}`: {problem}")]
pub struct BuildError {
    /// The node at fault.
    pub node: String,
    /// What does not fit.
    pub problem: String,
}

/// Collects nodes; see the module's documentation.
pub struct GraphBuilder {
    nodes: Vec<Node>,
    conv_names: BTreeSet<String>,
    mistake: Option<BuildError>,
}

impl Default for GraphBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new() -> Self {
        Self { nodes: Vec::new(), conv_names: BTreeSet::new(), mistake: None }
    }

    fn mistake(&mut self, node: &str, problem: String) {
        self.mistake.get_or_insert(BuildError { node: node.into(), problem });
    }

    pub(super) fn push(&mut self, name: String, op: Op, inputs: &[Value], channels: usize) -> Value {
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node { name, op, inputs: inputs.iter().map(|value| value.id).collect() });
        Value { id, channels }
    }

    /// Names a node without weights after what it works on.
    fn push_after(&mut self, op: Op, inputs: &[Value], channels: usize) -> Value {
        let of = inputs.first().map_or_else(String::new, |value| self.nodes[value.id.0].name.clone());
        self.push(of, op, inputs, channels)
    }

    /// The LR image.
    pub fn input(&mut self, channels: usize) -> Value {
        self.push("input".into(), Op::Input { channels }, &[], channels)
    }

    /// Any convolution; `spec.in_channels` must be `x`'s.
    pub fn conv(&mut self, name: impl Into<String>, x: Value, spec: Conv2d) -> Value {
        let name = name.into();
        if spec.in_channels != x.channels {
            self.mistake(
                &name,
                format!("it reads {} channels but is given {}", spec.in_channels, x.channels),
            );
        }
        let divisible = spec.groups > 0
            && spec.in_channels.is_multiple_of(spec.groups)
            && spec.out_channels.is_multiple_of(spec.groups);
        if !divisible
            || spec.in_channels == 0
            || spec.out_channels == 0
            || spec.kernel == 0
            || spec.stride == 0
        {
            self.mistake(&name, format!("impossible convolution {spec:?}"));
        }
        if !self.conv_names.insert(name.clone()) {
            self.mistake(&name, "two convolutions have this name".into());
        }
        let channels = spec.out_channels;
        self.push(name, Op::Conv2d(spec), &[x], channels)
    }

    /// Convolution with bias, stride 1 and the padding that keeps the size.
    pub fn conv_same(
        &mut self,
        name: impl Into<String>,
        x: Value,
        out_channels: usize,
        kernel: usize,
    ) -> Value {
        let spec = Conv2d {
            in_channels: x.channels,
            out_channels,
            kernel,
            stride: 1,
            padding: kernel / 2,
            groups: 1,
            bias: true,
        };
        self.conv(name, x, spec)
    }

    /// 3×3 convolution with bias, stride 1, padding 1.
    pub fn conv3x3(&mut self, name: impl Into<String>, x: Value, out_channels: usize) -> Value {
        self.conv_same(name, x, out_channels, 3)
    }

    /// 1×1 convolution with bias.
    pub fn conv1x1(&mut self, name: impl Into<String>, x: Value, out_channels: usize) -> Value {
        self.conv_same(name, x, out_channels, 1)
    }

    /// LeakyReLU.
    pub fn leaky_relu(&mut self, x: Value, slope: f32) -> Value {
        self.push_after(Op::LeakyRelu { slope }, &[x], x.channels)
    }

    /// ReLU.
    pub fn relu(&mut self, x: Value) -> Value {
        self.push_after(Op::Relu, &[x], x.channels)
    }

    /// Logistic sigmoid.
    pub fn sigmoid(&mut self, x: Value) -> Value {
        self.push_after(Op::Sigmoid, &[x], x.channels)
    }

    /// Element-wise sum.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.binary(Op::Add, a, b)
    }

    /// Element-wise product.
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.binary(Op::Mul, a, b)
    }

    fn binary(&mut self, op: Op, a: Value, b: Value) -> Value {
        if a.channels != b.channels {
            let name = self.nodes[a.id.0].name.clone();
            self.mistake(&name, format!("{} of {} and {} channels", op.label(), a.channels, b.channels));
        }
        self.push_after(op, &[a, b], a.channels)
    }

    /// Channels of all values one after another.
    pub fn concat(&mut self, values: &[Value]) -> Value {
        self.push_after(Op::Concat, values, values.iter().map(|value| value.channels).sum())
    }

    /// Splits off the first `count` channels: (those, the rest).
    pub fn split(&mut self, x: Value, count: usize) -> (Value, Value) {
        if count == 0 || count >= x.channels {
            let name = self.nodes[x.id.0].name.clone();
            self.mistake(&name, format!("cannot split {count} off {} channels", x.channels));
            return (x, x);
        }
        let rest = x.channels - count;
        let first = self.push_after(Op::Narrow { start: 0, length: count }, &[x], count);
        let second = self.push_after(Op::Narrow { start: count, length: rest }, &[x], rest);
        (first, second)
    }

    /// Maximum over square windows, no padding.
    pub fn max_pool(&mut self, x: Value, kernel: usize, stride: usize) -> Value {
        self.push_after(Op::MaxPool { kernel, stride }, &[x], x.channels)
    }

    /// Bilinear resize of `x` to the size of `like`.
    pub fn resize_bilinear(&mut self, x: Value, like: Value) -> Value {
        self.push_after(Op::ResizeBilinear, &[x, like], x.channels)
    }

    /// Depth to space.
    pub fn pixel_shuffle(&mut self, x: Value, factor: usize) -> Value {
        let square = factor * factor;
        if square == 0 || !x.channels.is_multiple_of(square) {
            let name = self.nodes[x.id.0].name.clone();
            self.mistake(&name, format!("{} channels cannot be shuffled by {factor}", x.channels));
        }
        self.push_after(Op::PixelShuffle { factor }, &[x], x.channels / square.max(1))
    }

    /// Bicubic upscaling.
    pub fn upscale_bicubic(&mut self, x: Value, factor: usize) -> Value {
        self.push_after(Op::UpscaleBicubic { factor }, &[x], x.channels)
    }

    /// The finished graph, whose SR image is `output`; white is 1.0 (see [`Graph::with_data_range`]).
    ///
    /// # Errors
    /// The first mistake made while building.
    pub fn finish(self, output: Value, scale: usize) -> Result<Graph, BuildError> {
        match self.mistake {
            Some(mistake) => Err(mistake),
            None => Ok(Graph { nodes: self.nodes, output: output.id, scale, data_range: 1.0 }),
        }
    }
}
