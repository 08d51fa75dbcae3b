//! Where a batch of images lies in memory.

/// A batch of images with channels innermost (NHWC), or a range of its channels.
///
/// A view is an address, not a borrow: the plan that makes views guarantees that what they point at is allocated and that no two running kernels
/// write where another one reads. Distances are in floats.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The first channel of the range, at row 0, column 0 of the first image.
    pub base: *mut f32,
    /// From one pixel to the next in its row: a multiple of [`super::BLOCK`].
    pub pixel: usize,
    /// From one row to the next.
    pub row: usize,
    /// From one image to the next.
    pub image: usize,
    /// Rows that the memory holds: row `y` lies at `y % rows`, so that a band of rows can roll through a small buffer.
    pub rows: usize,
}

// SAFETY: a view is only an address; who dereferences it answers for races (see the type's documentation).
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    /// The address of a pixel.
    ///
    /// # Safety
    /// The pixel must be inside the batch that the view describes.
    #[inline(always)]
    pub unsafe fn at(&self, image: usize, y: usize, x: usize) -> *mut f32 {
        let y = if y < self.rows { y } else { y % self.rows };
        // SAFETY: the caller promises that the pixel exists.
        unsafe { self.base.add(image * self.image + y * self.row + x * self.pixel) }
    }
}

/// What a convolution reads: channel ranges one after another, as a concatenation would put them.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Where.
    pub view: View,
    /// How many channels.
    pub channels: usize,
}

/// What happens to a value between the sum and the memory, in this order: bias, `before`, activation, `after`, mask.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue {
    /// Added before the activation.
    pub before: Option<View>,
    /// LeakyReLU with this slope.
    pub activation: Option<f32>,
    /// Added after the activation.
    pub after: Option<View>,
    /// LeakyReLU's derivative: multiplied by the slope where this view's value is not positive.
    pub mask: Option<(View, f32)>,
}

/// Where a range of a convolution's output channels goes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where.
    pub view: View,
    /// How many channels: a multiple of [`super::BLOCK`] except in the last target.
    pub channels: usize,
    /// What is done before storing.
    pub epilogue: Epilogue,
}
