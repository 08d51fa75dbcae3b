//! Pixel shuffles, maxima over windows, bilinear resizes. Values are copied, compared, or added one by one in f32: f32 has the bits of the CPU's kernels.

use crate::engine::cuda::params::{Operand, Spatial};
use crate::engine::cuda::{HostMemory, Math, Outside};

/// One value of a batch of images.
#[derive(Clone, Copy)]
struct Place {
    image: i32,
    y: i32,
    x: i32,
    channel: i32,
}

impl Place {
    /// Its number in a buffer with pixels `pixel` apart, in images of a height and width.
    fn index(self, pixel: i32, height: i32, width: i32) -> u64 {
        let row = self.image as u64 * height as u64 + self.y as u64;
        (row * width as u64 + self.x as u64) * pixel as u64 + self.channel as u64
    }
}

/// All values of images, row by row.
fn places(images: i32, height: i32, width: i32, channels: i32) -> impl Iterator<Item = Place> {
    let pixels = (0..images).flat_map(move |image| {
        (0..height).flat_map(move |y| (0..width).map(move |x| Place { image, y, x, channel: 0 }))
    });
    pixels.flat_map(move |place| (0..channels).map(move |channel| Place { channel, ..place }))
}

/// A value of what is read: `from` is laid out like `p.input`.
fn read(memory: &HostMemory, math: Math, p: &Spatial, from: &Operand, at: Place) -> Result<f32, Outside> {
    memory.value(math.format(), from.address, at.index(from.pixel, p.input_height, p.input_width))
}

/// Writes one value for each place, and zeros up to the next multiple of 8 channels.
fn write(
    memory: &mut HostMemory,
    math: Math,
    p: &Spatial,
    value: impl Fn(&HostMemory, Place) -> Result<f32, Outside>,
) -> Result<(), Outside> {
    for at in places(p.images, p.height, p.width, (p.channels + 7) / 8 * 8) {
        let value = if at.channel < p.channels { value(memory, at)? } else { 0.0 };
        memory.set_value(
            math.format(),
            p.target,
            at.index(p.target_pixel, p.height, p.width),
            value.into(),
        )?;
    }
    Ok(())
}

/// `pixel_shuffle`: `fine[c][f*y+i][f*x+j] = coarse[c*f*f + f*i + j][y][x]`
///
/// # Errors
/// [`Outside`]
pub fn pixel_shuffle(memory: &mut HostMemory, math: Math, p: &Spatial) -> Result<(), Outside> {
    let factor = p.factor;
    write(memory, math, p, |memory, Place { image, y, x, channel }| {
        let channel = channel * factor * factor + factor * (y % factor) + x % factor;
        read(memory, math, p, &p.input, Place { image, y: y / factor, x: x / factor, channel })
    })
}

/// `pixel_unshuffle`: the inverse.
///
/// # Errors
/// [`Outside`]
pub fn pixel_unshuffle(memory: &mut HostMemory, math: Math, p: &Spatial) -> Result<(), Outside> {
    let factor = p.factor;
    write(memory, math, p, |memory, Place { image, y, x, channel }| {
        let (y, x) = (y * factor + channel / factor % factor, x * factor + channel % factor);
        read(memory, math, p, &p.input, Place { image, y, x, channel: channel / (factor * factor) })
    })
}

/// `max_pool`: the maximum of each window.
///
/// # Errors
/// [`Outside`]
pub fn max_pool(memory: &mut HostMemory, math: Math, p: &Spatial) -> Result<(), Outside> {
    write(memory, math, p, |memory, window| {
        let at = maximum(p, window, |at| read(memory, math, p, &p.input, at))?;
        read(memory, math, p, &p.input, at)
    })
}

/// The place of a window's maximum: the first in row order where several are equal.
fn maximum(
    p: &Spatial,
    window: Place,
    value: impl Fn(Place) -> Result<f32, Outside>,
) -> Result<Place, Outside> {
    let mut best = Place { y: window.y * p.stride, x: window.x * p.stride, ..window };
    let corner = best;
    for row in 0..p.kernel {
        for column in 0..p.kernel {
            let at = Place { y: corner.y + row, x: corner.x + column, ..corner };
            if value(at)? > value(best)? {
                best = at;
            }
        }
    }
    Ok(best)
}

/// `max_pool_gradient`: each window's gradient is added to that of its maximum. `input` is dy, `other` the pool's input.
///
/// # Errors
/// [`Outside`]
pub fn max_pool_gradient(memory: &mut HostMemory, math: Math, p: &Spatial) -> Result<(), Outside> {
    scatter(memory, math, p, |memory, window, add| {
        let x = |at: Place| {
            memory.value(math.format(), p.other.address, at.index(p.other.pixel, p.height, p.width))
        };
        add(maximum(p, window, x)?, read(memory, math, p, &p.input, window)?);
        Ok(())
    })
}

/// Calls a function for each value of what is read; what it adds to values of what is written is summed in that order, in f32.
fn scatter(
    memory: &mut HostMemory,
    math: Math,
    p: &Spatial,
    of: impl Fn(&HostMemory, Place, &mut dyn FnMut(Place, f32)) -> Result<(), Outside>,
) -> Result<(), Outside> {
    let mut sums = vec![0.0f32; (p.images * p.height * p.width * p.channels) as usize];
    for at in places(p.images, p.input_height, p.input_width, p.channels) {
        of(memory, at, &mut |to, term| {
            if let Some(sum) = sums.get_mut(to.index(p.channels, p.height, p.width) as usize) {
                *sum += term;
            }
        })?;
    }
    write(memory, math, p, |_, at| {
        Ok(sums.get(at.index(p.channels, p.height, p.width) as usize).copied().unwrap_or_default())
    })
}

/// Two neighbours of an output position along one axis that is resized from `from` to `to` positions, and their weights.
fn neighbours(out: i32, from: i32, to: i32) -> [(i32, f64); 2] {
    let scale = f64::from(from) / f64::from(to);
    // Pixel centres map to pixel centres; positions before the first centre are clamped to it.
    let position = ((f64::from(out) + 0.5) * scale - 0.5).max(0.0);
    let near = (position as i32).min(from - 1);
    let far_weight = position - f64::from(near);
    [(near, 1.0 - far_weight), ((near + 1).min(from - 1), far_weight)]
}

/// The four values that a value of a resized image is made of, with their weights. Heights and widths are those before and after the resize.
fn terms(at: Place, before: (i32, i32), after: (i32, i32)) -> Vec<(Place, f32)> {
    let mut terms = Vec::new();
    for (y, vertical) in neighbours(at.y, before.0, after.0) {
        for (x, horizontal) in neighbours(at.x, before.1, after.1) {
            terms.push((Place { y, x, ..at }, (vertical * horizontal) as f32));
        }
    }
    terms
}

/// `resize_bilinear`, as PyTorch's `interpolate(mode="bilinear", align_corners=False)`.
///
/// # Errors
/// [`Outside`]
pub fn resize_bilinear(memory: &mut HostMemory, math: Math, p: &Spatial) -> Result<(), Outside> {
    write(memory, math, p, |memory, at| {
        let mut sum = 0.0;
        for (from, weight) in terms(at, (p.input_height, p.input_width), (p.height, p.width)) {
            sum += weight * read(memory, math, p, &p.input, from)?;
        }
        Ok(sum)
    })
}

/// `resize_bilinear_gradient`: `input` is dy.
///
/// # Errors
/// [`Outside`]
pub fn resize_bilinear_gradient(memory: &mut HostMemory, math: Math, p: &Spatial) -> Result<(), Outside> {
    scatter(memory, math, p, |memory, at, add| {
        let dy = read(memory, math, p, &p.input, at)?;
        for (to, weight) in terms(at, (p.height, p.width), (p.input_height, p.input_width)) {
            add(to, weight * dy);
        }
        Ok(())
    })
}
