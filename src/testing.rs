//! Help for tests: where the reference data is, and how golden vectors are read.

mod reference;

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use crate::array::Array;
use crate::engine::reference::Float;
use crate::graph::fold::Named;
use crate::imaging::RgbImage;

pub(crate) use reference::reference;

/// A golden file of this repository; `tests/golden/README.md` says how each was made.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A safetensors file of golden vectors.
pub(crate) struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    /// Reads the file.
    pub(crate) fn open(path: &Path) -> Self {
        Self { bytes: std::fs::read(path).unwrap() }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    /// The names of its arrays.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let names: Vec<String> = self.tensors().names().into_iter().map(ToString::to_string).collect();
        names.into_iter()
    }

    /// The raw bytes of an array.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.tensors().tensor(name).unwrap().data().to_vec()
    }

    /// An array of f32 or f64, converted exactly or rounded to `T`.
    pub(crate) fn array<T: Float>(&self, name: &str) -> Array<T> {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).unwrap();
        let data = tensor.data();
        let values: Vec<T> = match tensor.dtype() {
            Dtype::F32 => data.as_chunks().0.iter().map(|b| T::of(f32::from_le_bytes(*b).into())).collect(),
            Dtype::F64 => data.as_chunks().0.iter().map(|b| T::of(f64::from_le_bytes(*b))).collect(),
            other => panic!("`{name}` holds {other:?}"),
        };
        Array::new(tensor.shape(), values).unwrap()
    }

    /// All arrays below `group/`, by the rest of their names.
    pub(crate) fn group<T: Float>(&self, group: &str) -> Named<T> {
        let of_group = |name: String| {
            let key = name.strip_prefix(group)?.strip_prefix('/')?.to_owned();
            Some((key, self.array(&name)))
        };
        let named: Named<T> = self.names().filter_map(of_group).collect();
        assert!(!named.is_empty(), "no arrays below `{group}/`");
        named
    }

    /// An array of u8, height x width x 3.
    pub(crate) fn image(&self, name: &str) -> RgbImage {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).unwrap();
        RgbImage::new(tensor.shape()[1], tensor.shape()[0], tensor.data().to_vec()).unwrap()
    }
}

/// Says what was measured, then demands that it stays within the bound.
pub(crate) fn assert_within(what: &str, measured: f64, bound: f64) {
    eprintln!("{what}: {measured:.2e}, bound {bound:.0e}");
    assert!(measured <= bound, "{what}: {measured:e} is above {bound:e}");
}

/// The largest absolute difference.
pub(crate) fn largest_difference<A: Float, B: Float>(a: &Array<A>, b: &Array<B>) -> f64 {
    assert_eq!(a.shape(), b.shape());
    let differences = a.data().iter().zip(b.data()).map(|(a, b)| (a.wide() - b.wide()).abs());
    differences
        .fold(0.0, |worst, difference| if difference.is_nan() { f64::NAN } else { worst.max(difference) })
}

/// The largest difference of any array, relative to the array's largest value.
pub(crate) fn largest_relative<A: Float, B: Float>(found: &Named<A>, expected: &Named<B>) -> f64 {
    assert!(found.keys().eq(expected.keys()), "{:?} and {:?}", found.keys(), expected.keys());
    let relative = |(a, b): (&Array<A>, &Array<B>)| {
        let largest = b.data().iter().fold(0.0f64, |largest, value| largest.max(value.wide().abs()));
        largest_difference(a, b) / largest.max(f64::MIN_POSITIVE)
    };
    found.values().zip(expected.values()).map(relative).fold(0.0, f64::max)
}

/// Values in [0, 1) that follow from a seed.
pub(crate) fn uniform<T: Float>(shape: impl Into<Vec<usize>>, seed: u64) -> Array<T> {
    let mut random = crate::random::Random::new(&[seed]);
    Array::filled(shape, ()).map(|()| T::of(random.uniform()))
}

/// The same arrays in f64.
pub(crate) fn widen(arrays: &Named<f32>) -> Named<f64> {
    arrays.iter().map(|(key, array)| (key.clone(), array.map(|&value| f64::from(value)))).collect()
}
