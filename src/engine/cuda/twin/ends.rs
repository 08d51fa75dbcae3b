//! Both ends of a network, and the loss.

use std::cmp::Ordering;

use crate::engine::cuda::launch::ends::LOSS_THREADS;
use crate::engine::cuda::params::{Ends, Loss};
use crate::engine::cuda::{Format, HostMemory, Math, Outside};

/// Where values of planes (NCHW) lie among the pixels of NHWC before a pixel shuffle by `factor`.
#[derive(Clone, Copy)]
struct Layout {
    images: i32,
    channels: i32,
    height: i32,
    width: i32,
    factor: i32,
    pixel: i32,
}

/// One value.
#[derive(Clone, Copy)]
struct Spot {
    image: i32,
    channel: i32,
    /// In fine pixels.
    y: i32,
    x: i32,
}

impl Layout {
    /// All values of the planes, in order.
    fn spots(self) -> impl Iterator<Item = Spot> {
        let (height, width) = (self.height * self.factor, self.width * self.factor);
        let planes =
            (0..self.images).flat_map(move |image| (0..self.channels).map(move |channel| (image, channel)));
        planes.flat_map(move |(image, channel)| {
            (0..height).flat_map(move |y| (0..width).map(move |x| Spot { image, channel, y, x }))
        })
    }

    /// The value's number in the planes.
    fn plane_index(self, Spot { image, channel, y, x }: Spot) -> u64 {
        let (height, width) = ((self.height * self.factor) as u64, (self.width * self.factor) as u64);
        ((image as u64 * self.channels as u64 + channel as u64) * height + y as u64) * width + x as u64
    }

    /// Its number among the values in NHWC: `fine[c][f*y+i][f*x+j] = coarse[c*f*f + f*i + j][y][x]`.
    fn value_index(self, Spot { image, channel, y, x }: Spot) -> u64 {
        let factor = self.factor;
        let channel = (channel * factor + y % factor) * factor + x % factor;
        self.coarse_index(image, y / factor, x / factor, channel)
    }

    fn coarse_index(self, image: i32, y: i32, x: i32, channel: i32) -> u64 {
        let row = image as u64 * self.height as u64 + y as u64;
        (row * self.width as u64 + x as u64) * self.pixel as u64 + channel as u64
    }

    /// Writes the zeros behind the last channel of each pixel, up to the next multiple of 8.
    fn pad(self, memory: &mut HostMemory, format: Format, address: u64) -> Result<(), Outside> {
        let channels = self.channels * self.factor * self.factor;
        for image in 0..self.images {
            for y in 0..self.height {
                for x in 0..self.width {
                    for channel in channels..(channels + 7) / 8 * 8 {
                        memory.set_value(format, address, self.coarse_index(image, y, x, channel), 0.0)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl From<&Ends> for Layout {
    fn from(p: &Ends) -> Self {
        let Ends { images, channels, height, width, factor, pixel, .. } = *p;
        Self { images, channels, height, width, factor, pixel }
    }
}

/// `load`: planes to NHWC, with zeros behind the last channel.
///
/// # Errors
/// [`Outside`]
pub fn load(memory: &mut HostMemory, math: Math, p: &Ends) -> Result<(), Outside> {
    let layout = Layout { factor: 1, ..Layout::from(p) };
    for spot in layout.spots() {
        let value = memory.value(Format::F32, p.planes, layout.plane_index(spot))?;
        memory.set_value(math.format(), p.values, layout.value_index(spot), value.into())?;
    }
    layout.pad(memory, math.format(), p.values)
}

/// `store`: NHWC in f32 to planes, through a pixel shuffle.
///
/// # Errors
/// [`Outside`]
pub fn store(memory: &mut HostMemory, p: &Ends) -> Result<(), Outside> {
    let layout = Layout::from(p);
    for spot in layout.spots() {
        let value = memory.value(Format::F32, p.values, layout.value_index(spot))?;
        memory.set_value(Format::F32, p.planes, layout.plane_index(spot), value.into())?;
    }
    Ok(())
}

/// `store_image`: NHWC in f32 to interleaved 8-bit RGB, through a pixel shuffle, as [`crate::metrics::quantise`]; what is not a number becomes 0 and clears the flag.
///
/// # Errors
/// [`Outside`]
pub fn store_image(memory: &mut HostMemory, p: &Ends) -> Result<(), Outside> {
    let layout = Layout { channels: 3, ..Layout::from(p) };
    let (height, width) = ((p.height * p.factor) as u64, (p.width * p.factor) as u64);
    for spot in layout.spots() {
        let value = memory.value(Format::F32, p.values, layout.value_index(spot))?;
        if value.is_nan() {
            memory.write(p.finite, 0u32.to_le_bytes())?;
        }
        let byte = (value.clamp(0.0, p.data_range) * 255.0 / p.data_range).round_ties_even() as u8;
        let pixel = (spot.image as u64 * height + spot.y as u64) * width + spot.x as u64;
        memory.write(p.planes + pixel * 3 + spot.channel as u64, [byte])?;
    }
    Ok(())
}

/// `loss`: the absolute differences of each row of LR pixels, summed in f64, and the gradient. The gradient may lie in SR's place.
///
/// The order of a sum is the kernel's, so that bits can be compared: runs of 8 channels are dealt to [`LOSS_THREADS`] sums in turn, which are then added by `halved`.
///
/// # Errors
/// [`Outside`]
pub fn loss(memory: &mut HostMemory, math: Math, p: &Loss) -> Result<(), Outside> {
    let Loss { images, channels, height, width, factor, .. } = *p;
    let sr = Layout { images, channels, height, width, factor, pixel: p.sr_pixel };
    let gradient = Layout { pixel: p.gradient_pixel, ..sr };
    let all = channels * factor * factor;
    let mut slopes = Vec::new();
    for (row, (image, y)) in (0..images).flat_map(|image| (0..height).map(move |y| (image, y))).enumerate() {
        let mut sums = [0.0f64; LOSS_THREADS as usize];
        let runs = (0..width).flat_map(|x| (0..all).step_by(8).map(move |first| (x, first)));
        for (run, (x, first)) in runs.enumerate() {
            for channel in first..(first + 8).min(all) {
                let (line, column) = (channel / factor, channel % factor);
                let (fine_y, fine_x) = (y * factor + line % factor, x * factor + column);
                let spot = Spot { image, channel: line / factor, y: fine_y, x: fine_x };
                let hr = memory.value(Format::F32, p.hr, sr.plane_index(spot))?;
                let found = memory.value(Format::F32, p.sr, sr.value_index(spot))?;
                if let Some(sum) = sums.get_mut(run % LOSS_THREADS as usize) {
                    *sum += (f64::from(found) - f64::from(hr)).abs();
                }
                slopes.push((spot, slope(found, hr, p.unit)));
            }
        }
        memory.write(p.row_sums + row as u64 * 8, halved(sums).to_le_bytes())?;
    }
    for (spot, slope) in slopes {
        memory.set_value(math.format(), p.gradient, gradient.value_index(spot), slope.into())?;
    }
    gradient.pad(memory, math.format(), p.gradient)
}

/// The gradient of one absolute difference: 0 where the values are equal or not numbers.
fn slope(sr: f32, hr: f32, unit: f32) -> f32 {
    match sr.partial_cmp(&hr) {
        Some(Ordering::Greater) => unit,
        Some(Ordering::Less) => -unit,
        _ => 0.0,
    }
}

/// `loss_total`: the mean of all absolute differences. Rows are dealt to [`LOSS_THREADS`] sums in turn, which are then added by `halved`.
///
/// # Errors
/// [`Outside`]
pub fn loss_total(memory: &mut HostMemory, p: &Loss) -> Result<(), Outside> {
    let rows = p.images as u64 * p.height as u64;
    let mut sums = [0.0f64; LOSS_THREADS as usize];
    for row in 0..rows {
        let value = f64::from_le_bytes(memory.read(p.row_sums + row * 8)?);
        if let Some(sum) = sums.get_mut(row as usize % LOSS_THREADS as usize) {
            *sum += value;
        }
    }
    let values = rows * p.width as u64 * p.channels as u64 * (p.factor as u64).pow(2);
    memory.write(p.total, (halved(sums) / values as f64).to_le_bytes())
}

/// The sum of as many values as a block has threads: the second half is added to the first until one is left.
fn halved(mut sums: [f64; LOSS_THREADS as usize]) -> f64 {
    let mut rest = sums.as_mut_slice();
    while rest.len() > 1 {
        let (first, second) = rest.split_at_mut(rest.len() / 2);
        first.iter_mut().zip(second.iter()).for_each(|(first, second)| *first += second);
        rest = first;
    }
    rest.first().copied().unwrap_or_default()
}
