//! The values a pickle can build: plain ones, and tensors as views of storages.
//!
//! They live in one arena and refer to each other by number, so sharing and cycles need no care and dropping never recurses.

use super::convert::Dtype;

/// The number of a value in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(usize);

impl Id {
    /// The value at this place of the arena.
    pub(super) fn at(index: usize) -> Self {
        Self(index)
    }

    /// Its place in the arena.
    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Node {
    None,
    Bool,
    Int(i128),
    Float,
    Text(String),
    Bytes,
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(Tensor),
}

/// The names a pickle may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

/// A reference to a storage outside the pickle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) dtype: Dtype,
    /// The name of the member, or of the entry in the list of storages.
    pub(super) key: String,
    /// The number of values of the whole storage.
    pub(super) len: usize,
    /// Old checkpoints may refer to a part of a storage: its first value and its length.
    pub(super) part: Option<(usize, usize)>,
}

/// A tensor as a strided view of a storage. Strides and offset count values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) storage: Storage,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The values a pickle built.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    root: Id,
    /// The number of bytes of the stream it took.
    pub(super) length: usize,
}

impl Pickle {
    /// Wraps a finished arena; `length` is the number of bytes the stream took.
    pub(super) fn new(nodes: Vec<Node>, root: Id, length: usize) -> Self {
        Self { nodes, root, length }
    }

    /// The value the pickle is of.
    pub(super) fn root(&self) -> &Node {
        self.get(self.root)
    }

    /// A value by number.
    pub(super) fn get(&self, id: Id) -> &Node {
        self.nodes.get(id.0).unwrap_or(&Node::None)
    }

    /// Every reference to a storage, in the order they were made.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// The text of a value, if it is one.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// What a value is, for messages.
pub(super) fn describe(node: &Node) -> &'static str {
    match node {
        Node::None => "None",
        Node::Bool => "a truth value",
        Node::Int(_) => "an integer",
        Node::Float => "a number",
        Node::Text(_) => "a string",
        Node::Bytes => "bytes",
        Node::List(_) => "a list",
        Node::Tuple(_) => "a tuple",
        Node::Dict(_) => "a dictionary",
        Node::Global(_) => "a class",
        Node::Storage(_) => "a storage",
        Node::Tensor(_) => "a tensor",
    }
}
