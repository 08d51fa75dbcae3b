//! Collapsing: parallel linear branches that are summed become one convolution, chains of linear convolutions too.
//!
//! Only exact rewrites are made. A chain is folded when its second convolution is 1×1 (any other would see zero padding in the middle of the
//! chain, which no single convolution reproduces), and a value is folded away only when nothing else reads it. The paper's 3×3 + 1×1 block,
//! RepVGG's identity branch and SESR's wide 3×3–1×1 chain are all cases of it.

use std::collections::BTreeMap;

use super::fold::{Fold, FoldError, Linear, Named, Real};
use super::{Graph, Node, NodeId, Op};

/// A collapsed graph and how its weights follow from the expanded graph's.
#[derive(Clone, Debug, PartialEq)]
pub struct Collapsed {
    /// The graph after folding.
    pub graph: Graph,
    /// One entry per convolution of `graph`: its name and how it is made.
    pub folds: Vec<(String, Fold)>,
}

impl Collapsed {
    /// The collapsed weights.
    ///
    /// # Errors
    /// [`FoldError`] when an expanded tensor is missing or misshapen.
    pub fn weights<T: Real>(&self, expanded: &Named<T>) -> Result<Named<T>, FoldError> {
        let mut folded = BTreeMap::new();
        for (name, fold) in &self.folds {
            let Linear { weight, bias } = fold.evaluate(expanded)?;
            folded.insert(format!("{name}.weight"), weight);
            if let Some(bias) = bias {
                folded.insert(format!("{name}.bias"), bias);
            }
        }
        Ok(folded)
    }

    /// The gradients of the expanded tensors, given those of the collapsed ones.
    ///
    /// # Errors
    /// [`FoldError`] when a tensor or a gradient is missing.
    pub fn backward<T: Real>(&self, expanded: &Named<T>, mut grads: Named<T>) -> Result<Named<T>, FoldError> {
        let mut expanded_grads = BTreeMap::new();
        for (name, fold) in &self.folds {
            let key = format!("{name}.weight");
            let Some(weight) = grads.remove(&key) else {
                let expected = fold.conv().weight_shape().to_vec();
                return Err(FoldError { key, expected, found: "but has no gradient".into() });
            };
            let bias = grads.remove(&format!("{name}.bias"));
            fold.backward(expanded, &Linear { weight, bias }, &mut expanded_grads)?;
        }
        Ok(expanded_grads)
    }

    /// How many convolutions and identities were folded away.
    pub fn folded_away(&self, expanded: &Graph) -> usize {
        expanded.convolutions().count() - self.graph.convolutions().count()
    }
}

/// A value that is a linear function of another: `fold` applied to `source`.
struct Form {
    source: NodeId,
    fold: Fold,
}

/// Collapses everything in `graph` that can be collapsed exactly.
pub fn collapse(graph: &Graph) -> Collapsed {
    let uses = graph.use_counts();
    let mut forms: Vec<Option<Form>> = Vec::with_capacity(graph.nodes().len());
    let mut absorbed = vec![false; graph.nodes().len()];
    for node in graph.nodes() {
        let form = match &node.op {
            Op::Conv2d(conv) if conv.is_plain_same() => {
                let this = Fold::Conv { name: node.name.clone(), conv: conv.clone() };
                let input = node.inputs[0];
                match (&forms[input.0], conv.kernel, uses[input.0]) {
                    (Some(inner), 1, 1) => {
                        absorbed[input.0] = true;
                        let fold = Fold::Chain { first: Box::new(inner.fold.clone()), then: Box::new(this) };
                        Some(Form { source: inner.source, fold })
                    }
                    _ => Some(Form { source: input, fold: this }),
                }
            }
            Op::Add => sum_form(graph, node, &forms, &uses, &mut absorbed),
            _ => None,
        };
        forms.push(form);
    }
    emit(graph, &forms, &absorbed)
}

/// The form of `a + b`, if both are linear in one value (or one is that value itself).
fn sum_form(
    graph: &Graph,
    node: &Node,
    forms: &[Option<Form>],
    uses: &[usize],
    absorbed: &mut [bool],
) -> Option<Form> {
    let &[a, b] = node.inputs.as_slice() else { return None };
    let linear = |id: NodeId| forms[id.0].as_ref().filter(|_| uses[id.0] == 1);
    let (source, folds) = match (linear(a), linear(b)) {
        (Some(fa), Some(fb)) if fa.source == fb.source => (fa.source, [fa.fold.clone(), fb.fold.clone()]),
        (_, Some(fb)) if fb.source == a => (a, [fb.fold.clone(), identity(&fb.fold)?]),
        (Some(fa), _) if fa.source == b => (b, [fa.fold.clone(), identity(&fa.fold)?]),
        _ => return None,
    };
    for id in [a, b] {
        // The source itself stays: an identity branch reads it, but does not compute it.
        absorbed[id.0] |= id != source;
    }
    debug_assert!(source.index() < graph.nodes().len());
    // Sums of sums are kept flat, in the order of the branches.
    let branches = folds.into_iter().flat_map(|fold| match fold {
        Fold::Sum(branches) => branches,
        other => vec![other],
    });
    Some(Form { source, fold: Fold::Sum(branches.collect()) })
}

fn identity(beside: &Fold) -> Option<Fold> {
    let channels = beside.in_channels();
    (channels == beside.out_channels()).then_some(Fold::Identity { channels })
}

/// Writes the new graph: absorbed nodes vanish, linear forms become one convolution, the rest is copied.
fn emit(graph: &Graph, forms: &[Option<Form>], absorbed: &[bool]) -> Collapsed {
    let mut nodes = Vec::new();
    let mut folds = Vec::new();
    let mut new_ids: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    for (index, node) in graph.nodes().iter().enumerate() {
        // An absorbed node has no place in the new graph; nothing asks for its id.
        new_ids.push(NodeId(nodes.len()));
        if absorbed[index] {
            continue;
        }
        let map = |id: &NodeId| new_ids[id.0];
        let replacement = match &forms[index] {
            Some(Form { source, fold }) => {
                let name = fold.main_name().unwrap_or(&node.name).to_owned();
                folds.push((name.clone(), fold.clone()));
                Node { name, op: Op::Conv2d(fold.conv()), inputs: vec![map(source)] }
            }
            None => {
                if let Op::Conv2d(conv) = &node.op {
                    folds.push((
                        node.name.clone(),
                        Fold::Conv { name: node.name.clone(), conv: conv.clone() },
                    ));
                }
                Node {
                    name: node.name.clone(),
                    op: node.op.clone(),
                    inputs: node.inputs.iter().map(map).collect(),
                }
            }
        };
        nodes.push(replacement);
    }
    let output = new_ids[graph.output().0];
    Collapsed { graph: Graph { nodes, output, scale: graph.scale(), data_range: graph.data_range() }, folds }
}
