//! Named f32 tensors in one piece of device memory, in the order of their keys: weights, gradients, moments.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::gpu::device::{DeviceMemory, Gpu};
use crate::gpu::driver::GpuError;

/// Tensors on a device.
pub(super) struct Tensors {
    memory: DeviceMemory,
    /// Position of the first value, and number of values.
    places: BTreeMap<String, (usize, usize)>,
    values: usize,
}

impl Tensors {
    /// Memory for tensors of these shapes; what is in it is not defined.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`]
    pub(super) fn new(
        gpu: &Arc<Gpu>,
        shapes: impl IntoIterator<Item = (String, Vec<usize>)>,
    ) -> Result<Self, GpuError> {
        let shapes: BTreeMap<String, Vec<usize>> = shapes.into_iter().collect();
        let mut values = 0;
        let places = shapes.into_iter().map(|(key, shape)| {
            let count = shape.iter().product();
            values += count;
            (key, (values - count, count))
        });
        let places = places.collect();
        let memory = gpu.allocate((values * size_of::<f32>()) as u64)?;
        Ok(Self { memory, places, values })
    }

    /// How many values there are in all.
    pub(super) fn values(&self) -> usize {
        self.values
    }

    /// Where the first value of all lies.
    pub(super) fn address(&self) -> u64 {
        self.memory.address()
    }

    /// Where a tensor's first value lies.
    pub(super) fn of(&self, key: &str) -> Option<u64> {
        Some(self.memory.address() + (self.first(key)? * size_of::<f32>()) as u64)
    }

    /// The position of a tensor's first value among all values; the same in all memory for tensors of the same keys and shapes.
    pub(super) fn first(&self, key: &str) -> Option<usize> {
        self.places.get(key).map(|&(first, _)| first)
    }

    /// Replaces all values.
    ///
    /// # Errors
    /// [`GpuError`], also when there are more.
    pub(super) fn upload(&mut self, values: &[f32]) -> Result<(), GpuError> {
        self.memory.upload(0, values)
    }

    /// Reads as many values as there is room for, from the first on.
    ///
    /// # Errors
    /// [`GpuError`]
    pub(super) fn download(&self, values: &mut [f32]) -> Result<(), GpuError> {
        self.memory.download(0, values)
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        self.memory.bytes()
    }
}
