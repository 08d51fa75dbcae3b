//! Times every kernel of the planned engine alone, on one thread, at the shapes that matter. Run by `make bench-kernels`; a filter follows two dashes, as in
//! `cargo bench --bench kernels -- winograd4`.
//!
//! "items" are floating point operations by the definition of what is computed, whatever the algorithm needs: the Gitem/s of a convolution are its GFLOP/s, and
//! those of Winograd algorithms may exceed what the processor can do. Elsewhere items are values written. Choosing an algorithm ([`esr::engine::plan`]) rests on
//! constants that were fitted to such times; the fastest of many runs is the figure to look at on a machine that does other work too.

use std::marker::PhantomData;

use divan::Bencher;
use divan::counter::ItemsCount;
use esr::engine::cpu::adam::{Adam, Step};
use esr::engine::cpu::direct::{self, Direct};
use esr::engine::cpu::direct_gradient::{self, WeightGradient};
use esr::engine::cpu::elementwise::{Combination, Combine};
use esr::engine::cpu::ends::{FromImage, FromPlanes, ToImage, ToPlanes};
use esr::engine::cpu::geometry::{Direction, Geometry};
use esr::engine::cpu::grouped::Grouped;
use esr::engine::cpu::loss::L1;
use esr::engine::cpu::pointwise::{self, Pointwise, Rows};
use esr::engine::cpu::pointwise_gradient::{self, PointwiseGradient};
use esr::engine::cpu::pool::{MaxPool, MaxPoolGradient, Windows};
use esr::engine::cpu::resize::{Axis, Resize, ResizeGradient};
use esr::engine::cpu::simd::{Isa, Kernel, run};
use esr::engine::cpu::view::{Epilogue, Source, Target, View};
use esr::engine::cpu::winograd::{self, F2x2, F4x4, F4x6, Pack, Tiles, Variant, Winograd};
use esr::engine::cpu::winograd_gradient::{self, WinogradGradient};
use esr::engine::cpu::{BLOCK, shuffle};
use esr::graph::Conv2d;

fn main() {
    divan::main();
}

/// Input channels, output channels, side of the image in pixels.
type Shape = (usize, usize, usize);

/// The layers of the networks here: body, narrow and wide ends, and the small images inside attention.
const SHAPES: [Shape; 18] = [
    (64, 64, 64),
    (48, 64, 64),
    (64, 48, 64),
    (48, 16, 64),
    (16, 16, 64),
    (3, 64, 64),
    (64, 64, 256),
    (48, 64, 256),
    (64, 48, 256),
    (48, 16, 256),
    (16, 16, 256),
    (3, 64, 256),
    (16, 16, 5),
    (16, 16, 8),
    (16, 16, 20),
    (64, 64, 5),
    (64, 64, 8),
    (64, 64, 20),
];
/// Those whose gradients are timed: training patches are small.
const GRADIENTS: [Shape; 5] = [(64, 64, 64), (48, 64, 64), (48, 16, 64), (64, 48, 64), (3, 64, 64)];
/// Side of the image where only one size is timed.
const SIDE: usize = 64;

/// A square image of the channels that kernels see.
struct Image {
    values: Vec<f32>,
    side: usize,
    channels: usize,
}

impl Image {
    fn new(channels: usize, side: usize) -> Self {
        // A block more than the pixels, because some kernels read whole vectors from any channel on.
        let count = side * side * channels.next_multiple_of(BLOCK) + BLOCK;
        let values = (0..count).map(|index| (index % 251) as f32 / 251.0 - 0.5).collect();
        Self { values, side, channels }
    }

    fn view(&mut self) -> View {
        let pixel = self.channels.next_multiple_of(BLOCK);
        let row = self.side * pixel;
        View { base: self.values.as_mut_ptr(), pixel, row, image: row * self.side, rows: self.side }
    }

    fn source(&mut self) -> Source {
        Source { channels: self.channels, view: self.view() }
    }

    fn target(&mut self, epilogue: Epilogue) -> Target {
        Target { channels: self.channels, view: self.view(), epilogue }
    }
}

fn rows(side: usize) -> Rows {
    Rows { image: 0, rows: (0, side) }
}

fn conv(in_channels: usize, out_channels: usize, kernel: usize) -> Conv2d {
    Conv2d { in_channels, out_channels, kernel, stride: 1, padding: kernel / 2, groups: 1, bias: true }
}

fn weights(conv: &Conv2d) -> Vec<f32> {
    let count = conv.weight_shape().iter().product();
    (0..count).map(|index: usize| (index % 127) as f32 / 1270.0 - 0.05).collect()
}

/// Operations of a convolution: a multiplication and an addition for each tap.
fn operations(conv: &Conv2d, side: usize) -> ItemsCount {
    ItemsCount::new(2 * conv.weight_shape().iter().product::<usize>() * side * side)
}

/// Runs a kernel again and again.
fn time(bencher: Bencher<'_, '_>, items: ItemsCount, mut kernel: impl Kernel) {
    let isa = Isa::detect();
    bencher.counter(items).bench_local(|| {
        // SAFETY: the instruction set was detected; whoever makes a kernel here keeps what it points at until the end of the benchmark.
        unsafe { run(isa, &mut kernel) }
    });
}

/// Rectangles of tiles as a plan cuts them: of about 24 tiles of 4×4.
fn pieces<V: Variant>(side: usize) -> Vec<Tiles> {
    let band = (24 / side.div_ceil(4)).max(1) * 4 / V::TILE.0;
    let (down, across) = (side.div_ceil(V::TILE.0), side.div_ceil(V::TILE.1));
    let most = (24 * 36 / V::POINTS / band.min(down)).max(1);
    let rows = (0..down.div_ceil(band)).map(|index| (index * band, ((index + 1) * band).min(down)));
    let columns = move |part: usize| (part * most, ((part + 1) * most).min(across));
    let parts = across.div_ceil(most);
    rows.flat_map(|rows| (0..parts).map(move |part| Tiles { image: 0, rows, columns: columns(part) }))
        .collect()
}

fn packed<V: Variant>(isa: Isa, conv: &Conv2d) -> Vec<f32> {
    let mut packed = vec![0.0; winograd::packed_len::<V>(conv.in_channels, conv.out_channels)];
    let weights = weights(conv);
    let mut kernel = pack_kernel::<V>(conv, &weights, &mut packed);
    // SAFETY: weights and packed weights are as long as the convolution says.
    unsafe { run(isa, &mut kernel) };
    packed
}

fn pack_kernel<V: Variant>(conv: &Conv2d, weights: &[f32], packed: &mut [f32]) -> Pack<V> {
    Pack {
        weights: weights.as_ptr(),
        in_channels: conv.in_channels,
        out_channels: conv.out_channels,
        flipped: false,
        blocks: (0, conv.out_channels.div_ceil(BLOCK)),
        packed: packed.as_mut_ptr(),
        variant: PhantomData,
    }
}

fn time_winograd<V: Variant>(bencher: Bencher<'_, '_>, (inputs, outputs, side): Shape, epilogue: Epilogue) {
    let (isa, conv) = (Isa::detect(), conv(inputs, outputs, 3));
    let weights = packed::<V>(isa, &conv);
    let bias = vec![0.1f32; outputs.next_multiple_of(BLOCK)];
    let (mut from, mut to) = (Image::new(inputs, side), Image::new(outputs, side));
    let (sources, targets) = ([from.source()], [to.target(epilogue)]);
    let pieces = pieces::<V>(side);
    let most = pieces.iter().map(|tiles| winograd::scratch_len::<V>(tiles, inputs, outputs)).max();
    let mut scratch = vec![0.0f32; most.unwrap_or(0)];
    bencher.counter(operations(&conv, side)).bench_local(|| {
        for &tiles in &pieces {
            let mut kernel = Winograd::<V> {
                size: (side, side),
                sources: &sources,
                targets: &targets,
                weights: weights.as_ptr(),
                bias: bias.as_ptr(),
                tiles,
                scratch: &mut scratch,
                variant: PhantomData,
            };
            // SAFETY: the views are those of live images of the convolution's shape.
            unsafe { run(isa, &mut kernel) };
        }
    });
}

#[divan::bench(args = SHAPES)]
fn winograd46(bencher: Bencher<'_, '_>, shape: Shape) {
    time_winograd::<F4x6>(bencher, shape, Epilogue { activation: Some(0.05), ..Epilogue::default() });
}

#[divan::bench(args = SHAPES)]
fn winograd4(bencher: Bencher<'_, '_>, shape: Shape) {
    time_winograd::<F4x4>(bencher, shape, Epilogue { activation: Some(0.05), ..Epilogue::default() });
}

#[divan::bench(args = SHAPES)]
fn winograd2(bencher: Bencher<'_, '_>, shape: Shape) {
    time_winograd::<F2x2>(bencher, shape, Epilogue { activation: Some(0.05), ..Epilogue::default() });
}

fn time_direct(bencher: Bencher<'_, '_>, conv: &Conv2d, side: usize, direction: Direction) {
    let mut packed = vec![0.0; direct::packed_len(conv, direction)];
    direct::pack(conv, direction, &weights(conv), 0, &mut packed);
    let (reads, writes) = match direction {
        Direction::Forward => (conv.in_channels, conv.out_channels),
        Direction::InputGradient => (conv.out_channels, conv.in_channels),
    };
    let bias = vec![0.1f32; writes.next_multiple_of(BLOCK)];
    let (mut from, mut to) = (Image::new(reads, side), Image::new(writes, side));
    let kernel = Direct {
        geometry: Geometry::of(conv, (side, side)),
        direction,
        sources: &[from.source()],
        targets: &[to.target(Epilogue { activation: Some(0.05), ..Epilogue::default() })],
        weights: packed.as_ptr(),
        bias: bias.as_ptr(),
        piece: rows(side),
    };
    time(bencher, operations(conv, side), kernel);
}

#[divan::bench(args = SHAPES, name = "direct")]
fn direct_forward(bencher: Bencher<'_, '_>, (inputs, outputs, side): Shape) {
    time_direct(bencher, &conv(inputs, outputs, 3), side, Direction::Forward);
}

/// The input gradient by the Winograd kernel is a convolution with exchanged channels, which `winograd4` times.
#[divan::bench(args = GRADIENTS)]
fn direct_input_gradient(bencher: Bencher<'_, '_>, (inputs, outputs, side): Shape) {
    time_direct(bencher, &conv(inputs, outputs, 3), side, Direction::InputGradient);
}

#[divan::bench(args = [64, 256])]
fn pointwise_64_to_64(bencher: Bencher<'_, '_>, side: usize) {
    let conv = conv(64, 64, 1);
    let mut packed = vec![0.0; pointwise::packed_len(64, 64)];
    pointwise::pack(&weights(&conv), (64, 64), false, 0, &mut packed);
    let (mut from, mut to) = (Image::new(64, side), Image::new(64, side));
    let kernel = Pointwise {
        width: side,
        sources: &[from.source()],
        targets: &[to.target(Epilogue::default())],
        weights: packed.as_ptr(),
        bias: std::ptr::null(),
        piece: rows(side),
    };
    time(bencher, operations(&conv, side), kernel);
}

#[divan::bench]
fn depthwise_64(bencher: Bencher<'_, '_>) {
    let conv = Conv2d { groups: 64, ..conv(64, 64, 3) };
    let mut packed = vec![0.0; direct::packed_len(&conv, Direction::Forward)];
    direct::pack(&conv, Direction::Forward, &weights(&conv), 0, &mut packed);
    let (mut from, mut to) = (Image::new(64, SIDE), Image::new(64, SIDE));
    let kernel = Grouped {
        geometry: Geometry::of(&conv, (SIDE, SIDE)),
        direction: Direction::Forward,
        groups: 64,
        source: from.source(),
        target: to.target(Epilogue::default()),
        weights: packed.as_ptr(),
        bias: std::ptr::null(),
        piece: rows(SIDE),
    };
    time(bencher, operations(&conv, SIDE), kernel);
}

/// What the last step of a convolution adds: nothing, or each operation of an epilogue.
#[divan::bench(args = ["plain", "activation", "before", "after", "mask", "all"])]
fn epilogue_of_winograd4(bencher: Bencher<'_, '_>, what: &str) {
    let mut other = Image::new(64, SIDE);
    let view = other.view();
    let has = |name: &str| what == name || what == "all";
    let epilogue = Epilogue {
        before: has("before").then_some(view),
        activation: has("activation").then_some(0.05),
        after: has("after").then_some(view),
        mask: has("mask").then_some((view, 0.05)),
    };
    time_winograd::<F4x4>(bencher, (64, 64, SIDE), epilogue);
}

#[divan::bench(args = [(64, 64), (48, 64), (48, 16), (3, 64)])]
fn pack_winograd4(bencher: Bencher<'_, '_>, (inputs, outputs): (usize, usize)) {
    let conv = conv(inputs, outputs, 3);
    let weights = weights(&conv);
    let mut packed = vec![0.0; winograd::packed_len::<F4x4>(inputs, outputs)];
    let items = ItemsCount::new(packed.len());
    time(bencher, items, pack_kernel::<F4x4>(&conv, &weights, &mut packed));
}

#[divan::bench(args = GRADIENTS)]
fn weight_gradient_winograd4(bencher: Bencher<'_, '_>, (inputs, outputs, side): Shape) {
    let across = side.div_ceil(F4x4::TILE.0);
    let (mut x, mut dy) = (Image::new(inputs, side), Image::new(outputs, side));
    let mut sums = vec![0.0f32; winograd_gradient::sums_len(inputs, outputs)];
    let kernel = WinogradGradient {
        size: (side, side),
        x: &[x.source()],
        dy: &[dy.source()],
        tiles: &[Tiles { image: 0, rows: (0, across), columns: (0, across) }],
        sums: sums.as_mut_ptr(),
        scratch: &mut vec![0.0; winograd_gradient::scratch_len(inputs, outputs)],
    };
    time(bencher, operations(&conv(inputs, outputs, 3), side), kernel);
}

#[divan::bench(args = GRADIENTS)]
fn weight_gradient_direct(bencher: Bencher<'_, '_>, (inputs, outputs, side): Shape) {
    let conv = conv(inputs, outputs, 3);
    let (mut x, mut dy) = (Image::new(inputs, side), Image::new(outputs, side));
    let mut sums = vec![0.0f32; direct_gradient::sums_len(&conv)];
    let kernel = WeightGradient {
        geometry: Geometry::of(&conv, (side, side)),
        sources: &[x.source()],
        gradients: &[dy.source()],
        sums: sums.as_mut_ptr(),
        piece: rows(side),
    };
    time(bencher, operations(&conv, side), kernel);
}

#[divan::bench]
fn weight_gradient_pointwise_64_to_64(bencher: Bencher<'_, '_>) {
    let (mut x, mut dy) = (Image::new(64, SIDE), Image::new(64, SIDE));
    let mut sums = vec![0.0f32; pointwise_gradient::sums_len(64, 64)];
    let kernel = PointwiseGradient {
        width: SIDE,
        x: &[x.source()],
        dy: &[dy.source()],
        rows: &[rows(SIDE)],
        sums: sums.as_mut_ptr(),
        scratch: &mut vec![0.0; pointwise_gradient::scratch_len(64, 64)],
    };
    time(bencher, operations(&conv(64, 64, 1), SIDE), kernel);
}

/// The sum of as many pieces as a plan makes, and the way back from the Winograd domain.
#[divan::bench]
fn finish_winograd_gradient_64_to_64(bencher: Bencher<'_, '_>) {
    const PIECES: usize = 8;
    let sums = vec![0.5f32; PIECES * winograd_gradient::sums_len(64, 64)];
    let (mut gradient, mut bias) = (vec![0.0f32; 64 * 64 * 9], vec![0.0f32; 64]);
    let items = ItemsCount::new(gradient.len());
    let kernel = winograd_gradient::Finish {
        sums: sums.as_ptr(),
        pieces: PIECES,
        in_channels: 64,
        out_channels: 64,
        blocks: (0, 4),
        weights: gradient.as_mut_ptr(),
        bias: bias.as_mut_ptr(),
    };
    time(bencher, items, kernel);
}

#[divan::bench(args = ["sum", "product", "sigmoid"])]
fn elementwise_64(bencher: Bencher<'_, '_>, what: &str) {
    let combination = match what {
        "sum" => Combination::Sum,
        "product" => Combination::Product,
        _ => Combination::Sigmoid,
    };
    let (mut a, mut b, mut to) = (Image::new(64, SIDE), Image::new(64, SIDE), Image::new(64, SIDE));
    let views = [a.view(), b.view()];
    let inputs = if combination == Combination::Sigmoid { &views[..1] } else { &views[..] };
    let target = to.target(Epilogue::default());
    let kernel = Combine { width: SIDE, combination, inputs, target, room: 64, piece: rows(SIDE) };
    time(bencher, ItemsCount::new(SIDE * SIDE * 64), kernel);
}

#[divan::bench]
fn max_pool_7_by_3(bencher: Bencher<'_, '_>) {
    let windows = Windows { kernel: 7, stride: 3, size: (SIDE, SIDE) };
    let side = windows.output().0;
    let (mut from, mut to) = (Image::new(16, SIDE), Image::new(16, side));
    let (input, output) = (from.view(), to.view());
    let kernel = MaxPool { windows, input, output, channels: 16, piece: rows(side) };
    time(bencher, ItemsCount::new(side * side * 16), kernel);
}

#[divan::bench]
fn max_pool_gradient_7_by_3(bencher: Bencher<'_, '_>) {
    let windows = Windows { kernel: 7, stride: 3, size: (SIDE, SIDE) };
    let (mut x, mut dy, mut dx) =
        (Image::new(16, SIDE), Image::new(16, windows.output().0), Image::new(16, SIDE));
    let (gradient, input, output) = (dy.view(), x.view(), dx.view());
    let kernel = MaxPoolGradient { windows, gradient, input, output, channels: 16, piece: rows(SIDE) };
    time(bencher, ItemsCount::new(SIDE * SIDE * 16), kernel);
}

#[divan::bench]
fn resize_20_to_64(bencher: Bencher<'_, '_>) {
    let axis = Axis::new(20, SIDE);
    let (mut from, mut to) = (Image::new(16, 20), Image::new(16, SIDE));
    let (input, output) = (from.view(), to.view());
    let kernel = Resize { rows: &axis, columns: &axis, input, output, channels: 16, piece: rows(SIDE) };
    time(bencher, ItemsCount::new(SIDE * SIDE * 16), kernel);
}

#[divan::bench]
fn resize_gradient_20_to_64(bencher: Bencher<'_, '_>) {
    let axis = Axis::new(20, SIDE);
    let (mut dy, mut dx) = (Image::new(16, SIDE), Image::new(16, 20));
    let (gradient, output) = (dy.view(), dx.view());
    let kernel =
        ResizeGradient { rows: &axis, columns: &axis, gradient, output, channels: 16, piece: rows(20) };
    time(bencher, ItemsCount::new(20usize * 20 * 16), kernel);
}

#[divan::bench]
fn pixel_shuffle_4(bencher: Bencher<'_, '_>) {
    let (mut coarse, mut fine) = (Image::new(64, SIDE), Image::new(4, 4 * SIDE));
    let kernel = shuffle::PixelShuffle {
        shuffle: shuffle::Shuffle::ToFine,
        factor: 4,
        width: SIDE,
        coarse: coarse.view(),
        fine: fine.view(),
        fine_channels: 4,
        piece: rows(SIDE),
    };
    time(bencher, ItemsCount::new(SIDE * SIDE * 64), kernel);
}

#[divan::bench(args = ["from image", "from planes", "to image", "to planes"])]
fn ends_of_4(bencher: Bencher<'_, '_>, what: &str) {
    let size = (SIDE, SIDE);
    let (mut lr, mut sr) = (Image::new(3, SIDE), Image::new(48, SIDE));
    let (output, input, piece) = (lr.view(), sr.view(), rows(SIDE));
    let mut planes = vec![0.25f32; SIDE * SIDE * 48];
    let mut bytes = vec![7u8; SIDE * SIDE * 48];
    let (few, many) = (ItemsCount::new(SIDE * SIDE * 3), ItemsCount::new(SIDE * SIDE * 48));
    match what {
        "from image" => {
            time(
                bencher,
                few,
                FromImage { width: SIDE, bytes: bytes.as_ptr(), data_range: 1.0, output, piece },
            );
        }
        "from planes" => {
            time(bencher, few, FromPlanes { size, channels: 3, planes: planes.as_ptr(), output, piece });
        }
        "to image" => {
            let bytes = bytes.as_mut_ptr();
            let kernel =
                ToImage { size, factor: 4, data_range: 1.0, input, bytes, piece, not_a_number: None };
            time(bencher, many, kernel);
        }
        _ => {
            let planes = planes.as_mut_ptr();
            time(bencher, many, ToPlanes { size, factor: 4, channels: 3, input, planes, piece });
        }
    }
}

#[divan::bench]
fn l1_loss_of_4(bencher: Bencher<'_, '_>) {
    let (mut sr, mut gradient) = (Image::new(48, SIDE), Image::new(48, SIDE));
    let hr = vec![0.25f32; SIDE * SIDE * 48];
    let kernel = L1 {
        size: (SIDE, SIDE),
        factor: 4,
        channels: 3,
        sr: sr.view(),
        hr: hr.as_ptr(),
        unit: 1e-5,
        gradient: gradient.view(),
        sums: &mut [0.0; SIDE],
        piece: rows(SIDE),
    };
    time(bencher, ItemsCount::new(SIDE * SIDE * 48), kernel);
}

#[divan::bench]
fn adam_300_000(bencher: Bencher<'_, '_>) {
    const COUNT: usize = 300_000;
    let (mut weights, gradients) = (vec![0.1f32; COUNT], vec![0.1f32; COUNT]);
    let (mut first_moment, mut second_moment) = (vec![0.0f32; COUNT], vec![0.0f32; COUNT]);
    let step =
        Step { step_size: 1e-3, root_correction: 0.5, lerp: 0.1, decay: 0.999, gain: 0.001, epsilon: 1e-8 };
    let kernel = Adam {
        step,
        weights: &mut weights,
        gradients: &gradients,
        first_moment: &mut first_moment,
        second_moment: &mut second_moment,
    };
    time(bencher, ItemsCount::new(COUNT), kernel);
}
