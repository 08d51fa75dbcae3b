//! The twins against the CPU's code, whose bits they promise.

mod training;

use crate::engine::cpu::elementwise::{Combination, Combine};
use crate::engine::cpu::loss::L1;
use crate::engine::cpu::pointwise::Rows;
use crate::engine::cpu::pool::{MaxPool, MaxPoolGradient, Windows};
use crate::engine::cpu::resize::{Axis, Resize, ResizeGradient};
use crate::engine::cpu::shuffle::{PixelShuffle, Shuffle};
use crate::engine::cpu::simd::{Isa, Kernel, run};
use crate::engine::cpu::view::{Epilogue, Target, View};
use crate::engine::cuda::cases::{self, Prepared};
use crate::engine::cuda::told::AnyParams;
use crate::engine::cuda::{Format, HostMemory, Math, params};
use crate::metrics::quantise;

/// Channels of a pixel are padded to a multiple of this on the CPU.
const BLOCK: usize = crate::engine::cpu::BLOCK;

fn value(memory: &HostMemory, address: u64, index: usize) -> f32 {
    memory.value(Format::F32, address, index as u64).unwrap()
}

fn values(memory: &HostMemory, address: u64, count: usize) -> Vec<f32> {
    (0..count).map(|index| value(memory, address, index)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A batch of images as the CPU's kernels want it.
struct Images {
    data: Vec<f32>,
    images: usize,
    size: (usize, usize),
    channels: usize,
    pixel: usize,
}

impl Images {
    fn new(images: i32, (height, width): (i32, i32), channels: i32) -> Self {
        let [images, height, width, channels] =
            [images, height, width, channels].map(|number| number as usize);
        let pixel = channels.next_multiple_of(BLOCK);
        Self {
            data: vec![0.0; images * height * width * pixel],
            images,
            size: (height, width),
            channels,
            pixel,
        }
    }

    fn read(mut self, memory: &HostMemory, from: params::Operand) -> Self {
        for pixel in 0..self.images * self.size.0 * self.size.1 {
            for channel in 0..self.channels {
                self.data[pixel * self.pixel + channel] =
                    value(memory, from.address, pixel * from.pixel as usize + channel);
            }
        }
        self
    }

    fn view(&mut self) -> View {
        let (rows, width) = self.size;
        View {
            base: self.data.as_mut_ptr(),
            pixel: self.pixel,
            row: width * self.pixel,
            image: rows * width * self.pixel,
            rows,
        }
    }

    fn assert_equal(&self, memory: &HostMemory, (address, distance): (u64, i32), name: &str) {
        for pixel in 0..self.images * self.size.0 * self.size.1 {
            for channel in 0..self.channels {
                let found = value(memory, address, pixel * distance as usize + channel);
                let expected = self.data[pixel * self.pixel + channel];
                let same = found == expected || (found.is_nan() && expected.is_nan());
                assert!(same, "{name}: {found} instead of {expected} at pixel {pixel}, channel {channel}");
            }
        }
    }
}

fn on_the_cpu(mut kernel: impl Kernel) {
    // SAFETY: the tests' views are those of live buffers.
    unsafe { run(Isa::Portable, &mut kernel) }
}

fn f32_cases() -> Vec<Prepared> {
    let elementwise = cases::elementwise::prepared().unwrap();
    let spatial = cases::spatial::prepared().unwrap();
    let ends = cases::ends::prepared().unwrap();
    let training = cases::training::prepared().unwrap();
    let all = elementwise.into_iter().chain(spatial).chain(ends).chain(training);
    all.filter(|case| case.math == Math::F32).collect()
}

#[test]
fn every_case_has_twins_and_f32_has_the_bits_of_the_cpu() {
    let cases = f32_cases();
    let mut compared = 0;
    for case in &cases {
        let after = case.expected().unwrap();
        let (name, before, step) = (case.name.as_str(), &case.memory, &case.steps[0]);
        compared += match step.params {
            AnyParams::Spatial(p) => spatial(step.launch.kernel, &p, before, &after, name),
            // Elsewhere the twin is more precise than the CPU.
            AnyParams::Elementwise(_) if case.compared.iter().any(|range| range.tolerance > 0.0) => 0,
            AnyParams::Elementwise(p) => elementwise(step.launch.kernel, &p, before, &after, name),
            AnyParams::Ends(p) => ends(step.launch.kernel, &p, before, &after, name),
            AnyParams::Loss(p) => loss(&p, before, &after, name),
            AnyParams::Adam(p) => training::adam(&p, before, &after, name),
            AnyParams::Fold(p) => training::fold(case, p, &after),
            AnyParams::Crop(p) => training::crop(&p, before, &after, name),
            _ => 0,
        };
    }
    assert!(compared * 5 > cases.len() * 4 && compared < cases.len(), "{compared} of {}", cases.len());
}

fn spatial(kernel: &str, p: &params::Spatial, before: &HostMemory, after: &HostMemory, name: &str) -> usize {
    let read_channels = match kernel {
        "pixel_shuffle" => p.channels * p.factor * p.factor,
        "pixel_unshuffle" => p.channels / p.factor / p.factor,
        _ => p.channels,
    };
    let mut input =
        Images::new(p.images, (p.input_height, p.input_width), read_channels).read(before, p.input);
    let mut output = Images::new(p.images, (p.height, p.width), p.channels);
    let channels = p.channels as usize;
    let axes = |from: (i32, i32), to: (i32, i32)| {
        (Axis::new(from.0 as usize, to.0 as usize), Axis::new(from.1 as usize, to.1 as usize))
    };
    let (read, written) = ((p.input_height, p.input_width), (p.height, p.width));
    for image in 0..p.images as usize {
        let piece = Rows { image, rows: (0, p.height as usize) };
        let windows = |size| Windows { kernel: p.kernel as usize, stride: p.stride as usize, size };
        let (from, to) = (input.view(), output.view());
        match kernel {
            "pixel_shuffle" => on_the_cpu(PixelShuffle {
                shuffle: Shuffle::ToFine,
                factor: p.factor as usize,
                width: p.input_width as usize,
                coarse: from,
                fine: to,
                fine_channels: channels,
                piece: Rows { image, rows: (0, p.input_height as usize) },
            }),
            "pixel_unshuffle" => on_the_cpu(PixelShuffle {
                shuffle: Shuffle::ToCoarse,
                factor: p.factor as usize,
                width: p.width as usize,
                coarse: to,
                fine: from,
                fine_channels: read_channels as usize,
                piece,
            }),
            "max_pool" => {
                on_the_cpu(MaxPool { windows: windows(input.size), input: from, output: to, channels, piece })
            }
            "max_pool_gradient" => {
                let mut x = Images::new(p.images, written, p.channels).read(before, p.other);
                let (windows, x) = (windows(x.size), x.view());
                on_the_cpu(MaxPoolGradient {
                    windows,
                    input: x,
                    gradient: from,
                    output: to,
                    channels,
                    piece,
                });
            }
            "resize_bilinear" => {
                let (rows, columns) = &axes(read, written);
                on_the_cpu(Resize { rows, columns, input: from, output: to, channels, piece });
            }
            _ => {
                let (rows, columns) = &axes(written, read);
                on_the_cpu(ResizeGradient { rows, columns, gradient: from, output: to, channels, piece });
            }
        }
    }
    output.assert_equal(after, (p.target, p.target_pixel), name);
    1
}

fn elementwise(
    kernel: &str,
    p: &params::Elementwise,
    before: &HostMemory,
    after: &HostMemory,
    name: &str,
) -> usize {
    let combination = match kernel {
        "product" => Combination::Product,
        _ => Combination::Sum,
    };
    let (pixels, channels) = (p.pixels as i32, p.part.channels);
    let inputs = p.inputs.iter().take(p.input_count as usize);
    let mut inputs: Vec<Images> =
        inputs.map(|&input| Images::new(1, (1, pixels), channels).read(before, input)).collect();
    let [mut first, mut second, mut mask] = [p.part.before, p.part.after, p.part.mask].map(|operand| {
        (operand.address != 0).then(|| Images::new(1, (1, pixels), channels).read(before, operand))
    });
    let mut output = Images::new(1, (1, pixels), channels);
    let epilogue = Epilogue {
        before: first.as_mut().map(Images::view),
        activation: (p.part.activation != 0).then_some(p.part.slope),
        after: second.as_mut().map(Images::view),
        mask: mask.as_mut().map(|mask| (mask.view(), p.part.mask_slope)),
    };
    let inputs: Vec<View> = inputs.iter_mut().map(Images::view).collect();
    on_the_cpu(Combine {
        width: pixels as usize,
        combination,
        inputs: &inputs,
        target: Target { view: output.view(), channels: channels as usize, epilogue },
        room: output.pixel,
        piece: Rows { image: 0, rows: (0, 1) },
    });
    output.assert_equal(after, (p.target, p.target_pixel), name);
    1
}

fn ends(kernel: &str, p: &params::Ends, before: &HostMemory, after: &HostMemory, name: &str) -> usize {
    let factor = if kernel == "load" { 1 } else { p.factor };
    let fine = (p.height * factor, p.width * factor);
    let coarse_channels = p.channels * factor * factor;
    let (count, plane) = ((p.channels * fine.0 * fine.1) as usize, (fine.0 * fine.1) as usize);
    for image in 0..p.images {
        // The definition: fine[c][f*y+i][f*x+j] = coarse[c*f*f + f*i + j][y][x].
        let memory = if kernel == "load" { after } else { before };
        let shuffled: Vec<f32> = (0..count as i32)
            .map(|index| {
                let (x, y, c) = (index % fine.1, index / fine.1 % fine.0, index / fine.1 / fine.0);
                let channel = (c * factor + y % factor) * factor + x % factor;
                let pixel = (image * p.height + y / factor) * p.width + x / factor;
                assert!(channel < coarse_channels);
                value(memory, p.values, (pixel * p.pixel + channel) as usize)
            })
            .collect();
        let first = image as usize * count;
        if kernel == "store_image" {
            let numbers = shuffled.iter().all(|value| !value.is_nan());
            assert_eq!(u32::from_le_bytes(after.read(p.finite).unwrap()), u32::from(numbers), "{name}");
            let clean: Vec<f32> = shuffled.iter().map(|v| if v.is_nan() { 0.0 } else { *v }).collect();
            let expected = quantise(&clean, fine.1 as usize, fine.0 as usize, p.data_range).unwrap();
            for (at, &byte) in expected.pixels().iter().enumerate() {
                assert_eq!(after.read(p.planes + (first + at) as u64).unwrap(), [byte], "{name}: byte {at}");
            }
        } else {
            let planes = values(after, p.planes, first + count);
            assert_eq!(bits(&planes[first..]), bits(&shuffled), "{name}: planes of {plane} values");
        }
    }
    1
}

fn loss(p: &params::Loss, before: &HostMemory, after: &HostMemory, name: &str) -> usize {
    let (size, factor) = ((p.height, p.width), p.factor as usize);
    let all = p.channels * p.factor * p.factor;
    let from = params::Operand { address: p.sr, pixel: p.sr_pixel, unused: 0 };
    let mut sr = Images::new(p.images, size, all).read(before, from);
    let mut gradient = Images::new(p.images, size, all);
    let hr = values(before, p.hr, (p.images * p.height * p.width * all) as usize);
    let mut sums = vec![0.0; (p.images * p.height) as usize];
    for (image, sums) in sums.chunks_mut(p.height as usize).enumerate() {
        on_the_cpu(L1 {
            size: (p.height as usize, p.width as usize),
            factor,
            channels: p.channels as usize,
            sr: sr.view(),
            hr: hr.as_ptr(),
            unit: p.unit,
            gradient: gradient.view(),
            sums,
            piece: Rows { image, rows: (0, p.height as usize) },
        });
    }
    gradient.assert_equal(after, (p.gradient, p.gradient_pixel), name);
    let total = f64::from_le_bytes(after.read(p.total).unwrap());
    let expected = sums.iter().sum::<f64>() / hr.len() as f64;
    // Both add in f64, each in its own order.
    assert!((total - expected).abs() <= 1e-13 * expected || (total.is_nan() && expected.is_nan()), "{name}");
    1
}
