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
        self.base.wrapping_add(image * self.image + y * self.row + x * self.pixel)
    }

    /// The same view for row `y` and the rows that lie below it in memory, up to where memory begins anew: finding a pixel then takes no division.
    ///
    /// # Safety
    /// Row `y` must be inside the batch that the view describes; of the result, only rows as described may be used.
    pub unsafe fn unrolled(&self, y: usize) -> Self {
        // SAFETY: the caller promises that the row exists.
        let row = unsafe { self.at(0, y, 0) };
        Self { base: row.wrapping_sub(y * self.row), rows: usize::MAX, ..*self }
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

impl Source {
    /// [`View::unrolled`] of what is read.
    ///
    /// # Safety
    /// As there.
    pub unsafe fn unrolled(&self, y: usize) -> Self {
        // SAFETY: the caller's promise.
        Self { view: unsafe { self.view.unrolled(y) }, ..*self }
    }
}

impl Target {
    /// [`View::unrolled`] of what is written and of what it is combined with.
    ///
    /// # Safety
    /// As there, for each of these views.
    pub unsafe fn unrolled(&self, y: usize) -> Self {
        // SAFETY: the caller's promise.
        let unrolled = |view: View| unsafe { view.unrolled(y) };
        let Epilogue { before, activation, after, mask } = self.epilogue;
        let epilogue = Epilogue {
            before: before.map(unrolled),
            activation,
            after: after.map(unrolled),
            mask: mask.map(|(view, slope)| (unrolled(view), slope)),
        };
        Self { view: unrolled(self.view), epilogue, ..*self }
    }
}
