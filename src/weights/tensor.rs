//! Strided views of storages to dense arrays.

use super::convert::{ByteOrder, Dtype, Tally};
use super::error::Problem;
use super::value::Tensor;
use crate::array::{Array, element_count};

/// The most values of all tensors together: forty times the largest ESR entry, 256 MiB as `f32`.
const ELEMENTS_LIMIT: usize = 64 << 20;
/// How many values a file may expand to for each of its bytes. A byte holds at most one value; overlapping views (a stride of zero, as
/// `Tensor.expand` makes) can repeat it, which honest weights hardly do.
const ELEMENTS_PER_BYTE: usize = 4;

/// Turns tensors into arrays within one budget, and counts what happened to their values.
pub(super) struct Gatherer {
    left: usize,
    limit: usize,
    pub(super) tally: Tally,
    /// Tensors whose values do not lie in row-major order.
    pub(super) strided: usize,
}

impl Gatherer {
    /// A budget for a file of `file_bytes` bytes.
    pub(super) fn new(file_bytes: usize) -> Self {
        let limit = file_bytes.saturating_mul(ELEMENTS_PER_BYTE).min(ELEMENTS_LIMIT);
        Self { left: limit, limit, tally: Tally::default(), strided: 0 }
    }

    fn reserve(&mut self, elements: usize) -> Result<(), Problem> {
        match self.left.checked_sub(elements) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                Err(Problem::limit("the number of values of all tensors of a file of this size", self.limit))
            }
        }
    }

    /// The values of `tensor` in row-major order; `bytes` is the whole storage it is a view of.
    ///
    /// # Errors
    /// [`Problem::Tensor`] when any value lies outside the storage, [`Problem::Limit`] when the budget is spent.
    pub(super) fn gather(
        &mut self,
        name: &str,
        tensor: &Tensor,
        bytes: &[u8],
        order: ByteOrder,
    ) -> Result<Array<f32>, Problem> {
        let dtype = tensor.storage.dtype;
        let storage = tensor.window(bytes).ok_or_else(|| {
            let (len, found) = (tensor.storage.len, bytes.len());
            Problem::tensor(
                name,
                format!("its storage should hold {len} values of {}, it has {found} bytes", dtype.name()),
            )
        })?;
        let count = element_count(&tensor.shape)
            .ok_or_else(|| Problem::tensor(name, format!("the shape {:?} is impossible", tensor.shape)))?;
        self.reserve(count)?;
        let available = storage.len() / dtype.bytes();
        if count > 0 && tensor.last_index().is_none_or(|last| last >= available) {
            return Err(Problem::tensor(
                name,
                format!(
                    "shape {:?} with strides {:?} from value {} reaches beyond its storage of {available} values",
                    tensor.shape, tensor.strides, tensor.offset
                ),
            ));
        }
        self.tally.tensor(dtype);
        if !tensor.is_contiguous() {
            self.strided += 1;
        }
        let mut data = Vec::with_capacity(count);
        for index in Indices::new(tensor, count) {
            let start = index * dtype.bytes();
            // The last index was checked above, so every slice is inside.
            let raw = storage.get(start..start + dtype.bytes()).unwrap_or_default();
            let (value, fate) = dtype.decode(raw, order);
            self.tally.value(dtype, fate);
            data.push(value);
        }
        Array::new(tensor.shape.clone(), data).map_err(|error| Problem::tensor(name, error.to_string()))
    }

    /// A dense row-major array of little-endian values.
    pub(super) fn dense(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: Dtype,
        bytes: &[u8],
    ) -> Result<Array<f32>, Problem> {
        self.reserve(bytes.len() / dtype.bytes())?;
        self.tally.tensor(dtype);
        let mut data = Vec::with_capacity(bytes.len() / dtype.bytes());
        for raw in bytes.chunks_exact(dtype.bytes()) {
            let (value, fate) = dtype.decode(raw, ByteOrder::Little);
            self.tally.value(dtype, fate);
            data.push(value);
        }
        Array::new(shape, data).map_err(|error| Problem::tensor(name, error.to_string()))
    }
}

impl Tensor {
    /// The bytes of the storage, or of the part of it that is meant; `None` when there are fewer than announced.
    fn window<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let size = self.storage.dtype.bytes();
        let whole = bytes.get(..self.storage.len.checked_mul(size)?)?;
        match self.storage.part {
            None => Some(whole),
            Some((offset, len)) => {
                let start = offset.checked_mul(size)?;
                whole.get(start..start.checked_add(len.checked_mul(size)?)?)
            }
        }
    }

    /// The largest storage index of a tensor that is not empty; `None` when it overflows.
    fn last_index(&self) -> Option<usize> {
        self.shape.iter().zip(&self.strides).try_fold(self.offset, |last, (&n, &stride)| {
            last.checked_add(n.checked_sub(1)?.checked_mul(stride)?)
        })
    }

    /// Whether the values lie in row-major order without gaps (the strides of axes of length one do not matter).
    fn is_contiguous(&self) -> bool {
        let mut expected = 1usize;
        for (&n, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if n == 0 {
                return true;
            }
            if n != 1 && stride != expected {
                return false;
            }
            expected = expected.saturating_mul(n);
        }
        true
    }
}

/// The storage indices of a tensor's values in row-major order of its axes.
struct Indices<'a> {
    tensor: &'a Tensor,
    position: Vec<usize>,
    index: usize,
    left: usize,
}

impl<'a> Indices<'a> {
    fn new(tensor: &'a Tensor, count: usize) -> Self {
        Self { tensor, position: vec![0; tensor.shape.len()], index: tensor.offset, left: count }
    }
}

impl Iterator for Indices<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let current = self.index;
        let axes = self.position.iter_mut().zip(&self.tensor.shape).zip(&self.tensor.strides);
        for ((position, &n), &stride) in axes.rev() {
            *position += 1;
            if *position < n {
                self.index += stride;
                break;
            }
            // This axis starts again: go back over the steps it took.
            self.index -= (n - 1) * stride;
            *position = 0;
        }
        Some(current)
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::Storage;
    use super::*;
    use proptest::prelude::*;

    fn tensor(len: usize, offset: usize, shape: &[usize], strides: &[usize]) -> Tensor {
        let storage = Storage { dtype: Dtype::U8, key: "0".into(), len, part: None };
        Tensor { storage, offset, shape: shape.to_vec(), strides: strides.to_vec() }
    }

    fn gather(tensor: &Tensor, bytes: &[u8]) -> Result<Array<f32>, Problem> {
        Gatherer::new(1 << 20).gather("t", tensor, bytes, ByteOrder::Little)
    }

    #[test]
    fn a_transposed_view_with_an_offset_is_read_in_order() {
        let bytes: Vec<u8> = (0..10).collect();
        let array = gather(&tensor(10, 2, &[2, 3], &[1, 2]), &bytes).unwrap();
        assert_eq!(array.data(), [2.0, 4.0, 6.0, 3.0, 5.0, 7.0]);
    }

    #[test]
    fn scalars_and_empty_tensors_exist() {
        assert_eq!(gather(&tensor(1, 0, &[], &[]), &[9]).unwrap().data(), [9.0]);
        assert_eq!(gather(&tensor(0, 0, &[0, 4], &[4, 1]), &[]).unwrap().shape(), [0, 4]);
    }

    #[test]
    fn views_outside_the_storage_are_refused() {
        for bad in [
            tensor(10, 0, &[11], &[1]),
            tensor(10, 1, &[10], &[1]),
            tensor(10, usize::MAX, &[1], &[1]),
            tensor(10, 0, &[2], &[usize::MAX]),
            tensor(10, 1, &[2, 2], &[usize::MAX, 1]),
            tensor(11, 0, &[1], &[1]),
            tensor(10, 0, &[usize::MAX, 2], &[0, 0]),
        ] {
            assert!(gather(&bad, &[0; 10]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_stride_of_zero_cannot_expand_a_small_file() {
        let bomb = tensor(1, 0, &[1 << 40], &[0]);
        let error = Gatherer::new(1000).gather("t", &bomb, &[1], ByteOrder::Little).unwrap_err();
        assert!(error.to_string().contains("limit of 4000"), "{error}");
    }

    #[test]
    fn a_part_of_a_storage_is_a_storage() {
        let mut view = tensor(10, 1, &[2], &[1]);
        view.storage.part = Some((4, 3));
        let bytes: Vec<u8> = (0..10).collect();
        assert_eq!(gather(&view, &bytes).unwrap().data(), [5.0, 6.0]);
        view.storage.part = Some((4, 7));
        assert!(gather(&view, &bytes).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// The odometer visits what nested loops over the axes visit.
        #[test]
        fn indices_are_those_of_nested_loops(
            shape in proptest::collection::vec(1usize..5, 0..5),
            strides in proptest::collection::vec(0usize..9, 5),
            offset in 0usize..7,
        ) {
            let strides = &strides[..shape.len()];
            let view = tensor(0, offset, &shape, strides);
            let count: usize = shape.iter().product();
            let mut plain = Vec::new();
            for flat in 0..count {
                let (mut rest, mut index) = (flat, offset);
                for axis in (0..shape.len()).rev() {
                    index += rest % shape[axis] * strides[axis];
                    rest /= shape[axis];
                }
                plain.push(index);
            }
            prop_assert_eq!(view.last_index(), plain.iter().max().copied());
            prop_assert_eq!(Indices::new(&view, count).collect::<Vec<_>>(), plain);
        }
    }
}
