//! Folding at every step of training: all convolutions at once, into memory that is kept.
//!
//! What [`Collapsed::weights`](super::Collapsed::weights) and [`Collapsed::backward`](super::Collapsed::backward) compute, bit for bit. Sums of
//! convolutions and identities, which is what the paper trains, are added in place; chains are left to the plain code, a layer per thread.

use rayon::prelude::*;

use super::Graph;
use super::collapse::collapse;
use super::fold::{Fold, FoldError, Linear, Named, Slices, SlicesMut};
use crate::array::Array;

/// A collapsed graph that is trained, with the weights and gradients of the convolutions that something is folded into.
pub struct Folding {
    graph: Graph,
    layers: Vec<Layer>,
}

/// One convolution of the collapsed graph that is made of several tensors. Each of those belongs to this layer alone, since
/// [`GraphBuilder`](super::GraphBuilder) gives no name twice.
struct Layer {
    fold: Fold,
    weight_key: String,
    bias_key: String,
    /// The tensors of the expanded graph that it is made of, with their shapes.
    parts: Vec<(String, Vec<usize>)>,
    folded: Linear<f32>,
    gradient: Linear<f32>,
}

impl Folding {
    /// Collapses a graph.
    pub fn new(expanded: &Graph) -> Self {
        let collapsed = collapse(expanded);
        let layer = |(name, fold): (String, Fold)| {
            let mut parts = Vec::new();
            collect_parts(&fold, &mut parts);
            Layer {
                weight_key: format!("{name}.weight"),
                bias_key: format!("{name}.bias"),
                parts,
                folded: fold.zeros(),
                gradient: fold.zeros(),
                fold,
            }
        };
        // A convolution that nothing is folded into keeps its name: its weights and gradients are the expanded graph's.
        let folds = collapsed.folds.into_iter().filter(|(_, fold)| !fold.is_trivial());
        Self { graph: collapsed.graph, layers: folds.map(layer).collect() }
    }

    /// The collapsed graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Makes the collapsed weights.
    ///
    /// # Errors
    /// [`FoldError`] when an expanded tensor is missing or misshapen.
    pub fn fold(&mut self, expanded: &Slices<'_>) -> Result<(), FoldError> {
        self.layers.par_iter_mut().try_for_each(|layer| layer.evaluate(expanded))
    }

    /// The collapsed graph's weights, as [`Folding::fold`] made them, and where to put their gradients.
    ///
    /// Both also hold entries of the expanded graph that no convolution of the collapsed one reads.
    pub fn tensors<'a>(
        &'a mut self,
        expanded: &Slices<'a>,
        mut gradients: SlicesMut<'a>,
    ) -> (Slices<'a>, SlicesMut<'a>) {
        let mut weights = expanded.clone();
        for Layer { weight_key, bias_key, folded, gradient, .. } in &mut self.layers {
            weights.insert(weight_key, folded.weight.data());
            gradients.insert(weight_key, gradient.weight.data_mut());
            if let (Some(bias), Some(gradient)) = (&folded.bias, &mut gradient.bias) {
                weights.insert(bias_key, bias.data());
                gradients.insert(bias_key, gradient.data_mut());
            }
        }
        (weights, gradients)
    }

    /// Carries the gradients of the collapsed weights back to the expanded tensors; those that are the same tensor are there already.
    ///
    /// # Errors
    /// As for [`Folding::fold`], also for a gradient without a place.
    pub fn unfold(&self, expanded: &Slices<'_>, mut gradients: SlicesMut<'_>) -> Result<(), FoldError> {
        let places = |layer: &Layer| -> SlicesMut<'_> {
            layer.parts.iter().filter_map(|(key, _)| gradients.remove_entry(key.as_str())).collect()
        };
        let work: Vec<_> = self.layers.iter().map(places).collect();
        self.layers.par_iter().zip(work).try_for_each(|(layer, places)| layer.backward(expanded, places))
    }
}

impl Layer {
    fn evaluate(&mut self, expanded: &Slices<'_>) -> Result<(), FoldError> {
        let Some(branches) = self.fold.plain_branches() else {
            self.folded = self.fold.evaluate(&self.parts(expanded)?)?;
            return Ok(());
        };
        let (kernel, Linear { weight, bias }) = (self.fold.kernel(), &mut self.folded);
        let weight = weight.data_mut();
        weight.fill(0.0);
        let mut bias = bias.as_mut().map(Array::data_mut);
        if let Some(bias) = &mut bias {
            bias.fill(0.0);
        }
        for branch in branches {
            match branch {
                Fold::Conv { name, conv } => {
                    let part = lookup(expanded, &format!("{name}.weight"), &conv.weight_shape())?;
                    add_centred(weight, kernel, part, conv.kernel);
                    if let (true, Some(bias)) = (conv.bias, &mut bias) {
                        add(bias, lookup(expanded, &format!("{name}.bias"), &[conv.out_channels])?);
                    }
                }
                Fold::Identity { channels } => {
                    let taps = kernel * kernel;
                    let diagonal = weight.iter_mut().skip(taps / 2).step_by((channels + 1) * taps);
                    diagonal.for_each(|sum| *sum += 1.0);
                }
                Fold::Sum(_) | Fold::Chain { .. } => {}
            }
        }
        Ok(())
    }

    fn backward(&self, expanded: &Slices<'_>, mut places: SlicesMut<'_>) -> Result<(), FoldError> {
        let Some(branches) = self.fold.plain_branches() else {
            let mut gradients = Named::new();
            self.fold.backward(&self.parts(expanded)?, &self.gradient, &mut gradients)?;
            for (key, gradient) in gradients {
                place(&mut places, &key, gradient.shape())?.copy_from_slice(gradient.data());
            }
            return Ok(());
        };
        let (kernel, Linear { weight, bias }) = (self.fold.kernel(), &self.gradient);
        for branch in branches {
            let Fold::Conv { name, conv } = branch else { continue };
            let part = place(&mut places, &format!("{name}.weight"), &conv.weight_shape())?;
            take_centre(part, conv.kernel, weight.data(), kernel);
            if let (true, Some(bias)) = (conv.bias, bias) {
                place(&mut places, &format!("{name}.bias"), bias.shape())?.copy_from_slice(bias.data());
            }
        }
        Ok(())
    }

    /// The tensors that it is made of, for the plain code.
    fn parts(&self, expanded: &Slices<'_>) -> Result<Named<f32>, FoldError> {
        let mut named = Named::new();
        for (key, shape) in &self.parts {
            let values = lookup(expanded, key, shape)?;
            let mut array = Array::filled(shape.clone(), 0.0);
            array.data_mut().copy_from_slice(values);
            named.insert(key.clone(), array);
        }
        Ok(named)
    }
}

fn collect_parts(fold: &Fold, parts: &mut Vec<(String, Vec<usize>)>) {
    match fold {
        Fold::Conv { name, conv } => {
            parts.push((format!("{name}.weight"), conv.weight_shape().to_vec()));
            if conv.bias {
                parts.push((format!("{name}.bias"), vec![conv.out_channels]));
            }
        }
        Fold::Identity { .. } => {}
        Fold::Sum(branches) => branches.iter().for_each(|branch| collect_parts(branch, parts)),
        Fold::Chain { first, then } => [first, then].into_iter().for_each(|fold| collect_parts(fold, parts)),
    }
}

fn error(key: &str, expected: &[usize], found: Option<usize>) -> FoldError {
    let found = match found {
        Some(count) => format!("but has {count} values"),
        None => "but is missing".into(),
    };
    FoldError { key: key.into(), expected: expected.to_vec(), found }
}

fn lookup<'a>(values: &Slices<'a>, key: &str, shape: &[usize]) -> Result<&'a [f32], FoldError> {
    match values.get(key) {
        Some(slice) if slice.len() == shape.iter().product::<usize>() => Ok(slice),
        found => Err(error(key, shape, found.map(|slice| slice.len()))),
    }
}

fn place<'a, 'b>(
    places: &'a mut SlicesMut<'b>,
    key: &str,
    shape: &[usize],
) -> Result<&'a mut &'b mut [f32], FoldError> {
    match places.get_mut(key) {
        Some(slice) if slice.len() == shape.iter().product::<usize>() => Ok(slice),
        found => Err(error(key, shape, found.map(|slice| slice.len()))),
    }
}

fn add(sum: &mut [f32], part: &[f32]) {
    sum.iter_mut().zip(part).for_each(|(sum, &value)| *sum += value);
}

/// The taps of a small square kernel in the middle of a large one: index in the large kernel, index in the small one.
fn taps(large: usize, small: usize) -> impl Iterator<Item = (usize, usize)> {
    let offset = (large - small) / 2;
    (0..small * small).map(move |tap| ((tap / small + offset) * large + tap % small + offset, tap))
}

fn add_centred(sum: &mut [f32], large: usize, part: &[f32], small: usize) {
    if large == small {
        return add(sum, part);
    }
    for (to, from) in taps(large, small) {
        let sums = sum.iter_mut().skip(to).step_by(large * large);
        sums.zip(part.iter().skip(from).step_by(small * small)).for_each(|(sum, &value)| *sum += value);
    }
}

fn take_centre(part: &mut [f32], small: usize, whole: &[f32], large: usize) {
    if large == small {
        return part.copy_from_slice(whole);
    }
    for (from, to) in taps(large, small) {
        let parts = part.iter_mut().skip(to).step_by(small * small);
        parts.zip(whole.iter().skip(from).step_by(large * large)).for_each(|(part, &value)| *part = value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphBuilder;
    use crate::models::Architecture;
    use crate::train::kaiming_uniform;

    fn slices(named: &Named<f32>) -> Slices<'_> {
        named.iter().map(|(key, array)| (key.as_str(), array.data())).collect()
    }

    fn slices_mut(named: &mut Named<f32>) -> SlicesMut<'_> {
        named.iter_mut().map(|(key, array)| (key.as_str(), array.data_mut())).collect()
    }

    fn architecture(branches: &str) -> Graph {
        format!("imdn:blocks=1,channels=8,distilled=2{branches}")
            .parse::<Architecture>()
            .unwrap()
            .graph()
            .unwrap()
    }

    /// Three sizes of kernel with and without a bias, and a branch that is a chain.
    fn mixed() -> Graph {
        let mut graph = GraphBuilder::new();
        let x = graph.input(6);
        let large = graph.conv_same("large", x, 6, 5);
        let middle = graph.conv_same("middle", x, 6, 3);
        let sum = graph.add(large, middle);
        let sum = graph.add(sum, x);
        graph.finish(sum, 1).unwrap()
    }

    #[test]
    fn weights_and_gradients_have_the_bits_of_the_plain_fold() {
        for (name, graph) in [
            ("nothing to fold", architecture("")),
            ("1x1", architecture(",branches=1x1")),
            ("1x1+identity", architecture(",branches=1x1+identity")),
            ("chains", architecture(",branches=wide12")),
            ("5x5, 3x3 and identity", mixed()),
        ] {
            let collapsed = collapse(&graph);
            let mut folding = Folding::new(&graph);
            assert_eq!(*folding.graph(), collapsed.graph);
            // Twice: nothing of the first time may be left over.
            for seed in [1, 2] {
                let expanded = kaiming_uniform(&graph, seed);
                let given = kaiming_uniform(&collapsed.graph, seed + 10);
                let mut found: Named<f32> =
                    expanded.iter().map(|(key, array)| (key.clone(), array.map(|_| f32::NAN))).collect();
                folding.fold(&slices(&expanded)).unwrap();
                let (weights, mut gradients) = folding.tensors(&slices(&expanded), slices_mut(&mut found));
                for (key, plain) in collapsed.weights(&expanded).unwrap() {
                    assert_eq!(weights[key.as_str()], plain.data(), "{name}: {key}");
                }
                for (key, gradient) in &given {
                    gradients.get_mut(key.as_str()).unwrap().copy_from_slice(gradient.data());
                }
                folding.unfold(&slices(&expanded), slices_mut(&mut found)).unwrap();
                assert_eq!(found, collapsed.backward(&expanded, given).unwrap(), "{name}");
            }
        }
    }

    #[test]
    fn what_is_missing_or_misshapen_is_named() {
        let graph = architecture(",branches=1x1");
        let expanded = kaiming_uniform(&graph, 1);
        let mut folding = Folding::new(&graph);
        let key = folding.layers[0].parts[0].0.clone();
        let mut less = slices(&expanded);
        less.remove(key.as_str());
        let message = folding.fold(&less).unwrap_err().to_string();
        assert!(message.contains(&key) && message.contains("but is missing"), "{message}");
        let mut less = slices(&expanded);
        less.insert(&key, &[0.0; 3]);
        let message = folding.fold(&less).unwrap_err().to_string();
        assert!(message.contains(&key) && message.contains("but has 3 values"), "{message}");
        let message = folding.unfold(&slices(&expanded), SlicesMut::new()).unwrap_err().to_string();
        assert!(message.contains("but is missing"), "{message}");
    }
}
