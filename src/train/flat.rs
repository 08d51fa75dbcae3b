//! All tensors of a model in one contiguous buffer, in the order of their keys: what an optimiser walks over from end to end.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::array::Array;
use crate::graph::fold::{Named, Slices, SlicesMut};

/// Named arrays in one buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Flat {
    /// Shared by weights, gradients and moments.
    shapes: Arc<BTreeMap<String, Vec<usize>>>,
    values: Vec<f32>,
}

impl Flat {
    /// Zeros of the shapes given by key.
    pub fn zeros(shapes: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        let shapes: BTreeMap<_, _> = shapes.into_iter().collect();
        let count = shapes.values().map(|shape| count(shape)).sum();
        Self { shapes: Arc::new(shapes), values: vec![0.0; count] }
    }

    /// Zeros in the same places.
    pub fn zeros_like(&self) -> Self {
        Self { shapes: self.shapes.clone(), values: vec![0.0; self.values.len()] }
    }

    /// The same arrays in one buffer.
    pub fn of(named: &Named<f32>) -> Self {
        let mut flat = Self::zeros(named.iter().map(|(key, array)| (key.clone(), array.shape().to_vec())));
        for (slice, array) in flat.slices_mut().into_values().zip(named.values()) {
            slice.copy_from_slice(array.data());
        }
        flat
    }

    /// The same values as arrays.
    pub fn named(&self) -> Named<f32> {
        let array = |(shape, values): (&Vec<usize>, &[f32])| {
            let mut array = Array::filled(shape.clone(), 0.0);
            array.data_mut().copy_from_slice(values);
            array
        };
        let arrays = self.shapes.values().zip(self.slices().into_values()).map(array);
        self.shapes.keys().cloned().zip(arrays).collect()
    }

    /// All values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, for writing.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Each array's values.
    pub fn slices(&self) -> Slices<'_> {
        let mut rest = self.values.as_slice();
        let mut take = |shape: &[usize]| {
            let (slice, after) = rest.split_at(count(shape));
            rest = after;
            slice
        };
        self.shapes.iter().map(|(key, shape)| (key.as_str(), take(shape))).collect()
    }

    /// Each array's values, for writing.
    pub fn slices_mut(&mut self) -> SlicesMut<'_> {
        let mut rest = self.values.as_mut_slice();
        let mut take = |shape: &[usize]| {
            let (slice, after) = std::mem::take(&mut rest).split_at_mut(count(shape));
            rest = after;
            slice
        };
        self.shapes.iter().map(|(key, shape)| (key.as_str(), take(shape))).collect()
    }

    /// What keeps these from being arrays of the same keys and shapes as `expected`; `None` if they are.
    pub fn difference(&self, expected: &Self) -> Option<String> {
        if self.shapes == expected.shapes {
            return None;
        }
        let unlike = |(key, shape): (&String, &Vec<usize>)| match self.shapes.get(key) {
            None => Some(format!("`{key}` is missing")),
            Some(found) if found != shape => Some(format!("`{key}` has shape {found:?}, expected {shape:?}")),
            Some(_) => None,
        };
        let surplus = || self.shapes.keys().find(|&key| !expected.shapes.contains_key(key));
        let surplus = || surplus().map(|key| format!("`{key}` is none of the model's"));
        expected.shapes.iter().find_map(unlike).or_else(surplus)
    }
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::uniform;

    fn named() -> Named<f32> {
        let array = |key: &str, shape: &[usize], seed| (key.to_owned(), uniform(shape, seed));
        [array("b.weight", &[2, 3, 1, 1], 1), array("a.weight", &[4, 1, 3, 3], 2), array("b.bias", &[2], 3)]
            .into()
    }

    #[test]
    fn arrays_lie_in_the_order_of_their_keys_and_come_back() {
        let named = named();
        let mut flat = Flat::of(&named);
        assert_eq!(flat.named(), named);
        let in_order: Vec<f32> =
            ["a.weight", "b.bias", "b.weight"].iter().flat_map(|&key| named[key].data()).copied().collect();
        assert_eq!(flat.values(), in_order);
        flat.slices_mut().get_mut("b.bias").unwrap().fill(7.0);
        assert_eq!(flat.slices()["b.bias"], [7.0, 7.0]);
        assert_eq!(flat.slices()["b.weight"], named["b.weight"].data());
        assert_eq!(flat.zeros_like().values(), [0.0; 44]);
    }

    #[test]
    fn differences_are_named() {
        let (named, flat) = (named(), Flat::of(&named()));
        assert_eq!(flat.difference(&flat.zeros_like()), None);
        let mut less = named.clone();
        less.remove("b.bias");
        let mut other = named;
        other.insert("b.bias".into(), uniform([1], 1));
        for (found, expected, problem) in
            [(&less, &flat, "`b.bias` is missing"), (&other, &flat, "`b.bias` has shape [1], expected [2]")]
        {
            assert_eq!(Flat::of(found).difference(expected).unwrap(), problem);
        }
        assert_eq!(flat.difference(&Flat::of(&less)).unwrap(), "`b.bias` is none of the model's");
    }
}
