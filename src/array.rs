//! A dense host array: shape plus row-major values.
//!
//! This is what weights are made of and what engines exchange. It does no arithmetic of its own beyond indexing and
//! conversion; the important invariant is that `data.len()` is the product of `shape`.

/// A dense, row-major array on the host. Images and activations are NCHW, convolution weights OIHW.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    shape: Vec<usize>,
    data: Vec<T>,
}

/// The values given do not fill the shape given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an array of shape {shape:?} holds {expected} values, but {found} were given")]
pub struct ShapeError {
    /// The shape asked for.
    pub shape: Vec<usize>,
    /// The product of the shape (saturated).
    pub expected: usize,
    /// The number of values given.
    pub found: usize,
}

impl<T> Array<T> {
    /// Wraps `data` as an array of `shape`.
    ///
    /// # Errors
    /// [`ShapeError`] when the number of values is not the product of the shape.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<T>) -> Result<Self, ShapeError> {
        let shape = shape.into();
        let expected = element_count(&shape);
        if expected != Some(data.len()) {
            return Err(ShapeError { shape, expected: expected.unwrap_or(usize::MAX), found: data.len() });
        }
        Ok(Self { shape, data })
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values in row-major order.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The values in row-major order, for writing.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no values at all.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Gives up the shape and keeps the values.
    pub fn into_data(self) -> Vec<T> {
        self.data
    }

    /// The same shape with each value mapped.
    pub fn map<U>(&self, f: impl FnMut(&T) -> U) -> Array<U> {
        Array { shape: self.shape.clone(), data: self.data.iter().map(f).collect() }
    }
}

impl<T: Clone> Array<T> {
    /// An array of `shape` with every value equal to `value`.
    pub fn filled(shape: impl Into<Vec<usize>>, value: T) -> Self {
        let shape = shape.into();
        let len = shape.iter().product();
        Self { shape, data: vec![value; len] }
    }
}

/// The product of `shape`, or `None` when it overflows (a sign of a corrupt file).
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_must_fill_the_shape() {
        assert!(Array::new([2, 3], vec![0.0f32; 6]).is_ok());
        let error = Array::new([2, 3], vec![0.0f32; 5]).unwrap_err();
        assert_eq!(error.to_string(), "an array of shape [2, 3] holds 6 values, but 5 were given");
    }

    #[test]
    fn an_overflowing_shape_is_refused() {
        assert!(Array::new([usize::MAX, 2], Vec::<f32>::new()).is_err());
    }
}
