//! Times cropping from a packed set as training does it, and packing. Run by `cargo bench --bench packed`; a filter follows two dashes.
//!
//! "items" are augmented pairs of patches (LR 64×64 and HR 256×256, u8), a batch of 64 at a time, made on two threads; of packing, they are pairs of images, and
//! of in-place reading, bytes.
//!
//! - `warm`: the set is in the page cache and its pages are in the table of this process, as in all but the first epoch.
//! - `first_touch`: the set is in the page cache, but newly mapped: every page costs a fault.
//! - `cold`: before each batch the set is unmapped and dropped from the page cache (`posix_fadvise` with `POSIX_FADV_DONTNEED` after syncing, which works for pages
//!   that nobody maps), then mapped anew. `cold_prefetched` tells the operating system all places of the batch before it reads the first. What lies below the
//!   page cache, such as the memory of a virtual machine's host, is not emptied.
//!
//! `ESR_BENCH_PAIRS` is the number of pairs (default 100, of 2040×1356 pixels like DIV2K's, 8.9 MB each), `ESR_BENCH_FOLDER` where they are kept between runs
//! (default: a folder below the system's for temporary files). Sixteen different images are made; the pairs are these under other names.

#![expect(clippy::expect_used, reason = "a benchmark that cannot make its files has nothing to measure")]

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use esr::dataset::packed::{Packed, pack};
use esr::dataset::{Crop, Pair, Pairs};
use esr::imaging::{Augmentation, RgbImage, ValueTable, write_png};
use esr::random::Random;
use rayon::prelude::*;

const SCALE: usize = 4;
/// LR patch.
const SIDE: usize = 64;
const BATCH: usize = 64;
const LR_BYTES: usize = SIDE * SIDE * 3;
const HR_BYTES: usize = LR_BYTES * SCALE * SCALE;
/// The LR size of most images of DIV2K.
const LR_SIZE: (usize, usize) = (510, 339);
const DIFFERENT: usize = 16;
const THREADS: usize = 2;

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global().expect("the first use of rayon");
    divan::main();
}

fn number_of_pairs() -> usize {
    env::var("ESR_BENCH_PAIRS").ok().and_then(|pairs| pairs.parse().ok()).unwrap_or(100)
}

fn folder() -> PathBuf {
    env::var_os("ESR_BENCH_FOLDER").map_or_else(|| env::temp_dir().join("esr-bench-packed"), PathBuf::from)
}

/// Gradients with noise in the lowest bits: PNG files of about the size that photographs have.
fn picture((width, height): (usize, usize), seed: u64) -> RgbImage {
    let mut random = Random::new(&[seed]);
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let noise = random.bits();
            let smooth = (x * 255 / width + y * 200 / height) as u64 + seed;
            pixels
                .extend([0, 1, 2].map(|channel| ((smooth << channel) + (noise >> (8 * channel) & 15)) as u8));
        }
    }
    RgbImage::new(width, height, pixels).expect("an image of its size")
}

fn pairs() -> Vec<Pair> {
    let (width, height) = LR_SIZE;
    let file = |number: usize| {
        let names = ["x4.png", ".png"].map(|end| folder().join(format!("{number:04}{end}")));
        for (path, scale) in names.iter().zip([1, SCALE]) {
            if !path.exists() {
                write_png(path, &picture((width * scale, height * scale), number as u64)).expect("writable");
            }
        }
        names
    };
    let files: Vec<_> = (0..DIFFERENT).into_par_iter().map(file).collect();
    let pair = |number: usize| {
        let [lr, hr] = files[number % DIFFERENT].clone();
        Pair { name: format!("{number:04}"), lr, hr }
    };
    (0..number_of_pairs()).map(pair).collect()
}

/// The packed set, made if it is not there.
fn set() -> &'static Path {
    static SET: OnceLock<PathBuf> = OnceLock::new();
    SET.get_or_init(|| {
        let out = folder().join(format!("{}.esrpack", number_of_pairs()));
        pack(&pairs(), SCALE, &out, &|_, _| {}, &|| None).expect("packed");
        out
    })
}

/// The places of a batch, as random as training's.
fn places(packed: &Packed, batch: u64) -> Vec<(usize, Crop)> {
    let mut random = Random::new(&[batch]);
    let mut place = || {
        let index = random.below(packed.len());
        let x = random.below(LR_SIZE.0 - SIDE + 1);
        let y = random.below(LR_SIZE.1 - SIDE + 1);
        let augmentation = Augmentation::new(random.below(8) as u8);
        (index, Crop { x, y, side: SIDE, scale: SCALE, augmentation })
    };
    (0..BATCH).map(|_| place()).collect()
}

/// Room for a batch.
struct Buffers<T> {
    lr: Vec<T>,
    hr: Vec<T>,
}

impl<T: Copy + Default + Send> Buffers<T> {
    fn new() -> Self {
        Self { lr: vec![T::default(); BATCH * LR_BYTES], hr: vec![T::default(); BATCH * HR_BYTES] }
    }

    fn fill(&mut self, places: &[(usize, Crop)], crop: impl Fn(usize, &Crop, &mut [T], &mut [T]) + Sync) {
        let patches = self.lr.par_chunks_mut(LR_BYTES).zip(self.hr.par_chunks_mut(HR_BYTES));
        patches.zip(places).for_each(|((lr, hr), (index, place))| crop(*index, place, lr, hr));
    }
}

fn fill_bytes(packed: &Packed, places: &[(usize, Crop)], buffers: &mut Buffers<u8>) {
    buffers.fill(places, |index, crop, lr, hr| {
        let pair = packed.pair(index).expect("a pair");
        pair.crop_bytes(crop, lr, hr).expect("buffers of the right size");
    });
}

/// Touches every page, so that all are in the cache and in the table of this process.
fn warm_up(packed: &Packed) {
    let sum = |index: usize| -> u64 {
        let pair = packed.pair(index).expect("a pair");
        let views = [pair.lr, pair.hr];
        views
            .iter()
            .flat_map(|view| view.rows())
            .map(|row| u64::from(row[0]) + u64::from(row[row.len() / 2]))
            .sum()
    };
    divan::black_box((0..packed.len()).into_par_iter().map(sum).sum::<u64>());
}

fn time_warm<T: Copy + Default + Send>(
    bencher: Bencher<'_, '_>,
    crop: impl Fn(&Packed, usize, &Crop, &mut [T], &mut [T]) + Sync,
) {
    let packed = Packed::open(set()).expect("a packed set");
    warm_up(&packed);
    let (mut buffers, mut batch) = (Buffers::new(), 0);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        batch += 1;
        let places = places(&packed, batch);
        buffers.fill(&places, |index, place, lr, hr| crop(&packed, index, place, lr, hr));
    });
}

#[divan::bench(min_time = 3)]
fn warm_u8(bencher: Bencher<'_, '_>) {
    time_warm(bencher, |packed, index, crop, lr, hr| {
        let pair = packed.pair(index).expect("a pair");
        pair.crop_bytes(crop, lr, hr).expect("buffers of the right size");
    });
}

/// Each augmentation alone, by its number.
#[divan::bench(args = 0..8u8, min_time = 1)]
fn warm_u8_mode(bencher: Bencher<'_, '_>, mode: u8) {
    time_warm(bencher, |packed, index, crop, lr, hr| {
        let pair = packed.pair(index).expect("a pair");
        let crop = Crop { augmentation: Augmentation::new(mode), ..*crop };
        pair.crop_bytes(&crop, lr, hr).expect("buffers of the right size");
    });
}

#[divan::bench(min_time = 3)]
fn warm_f32(bencher: Bencher<'_, '_>) {
    let table = ValueTable::new(1.0);
    time_warm(bencher, |packed, index, crop, lr, hr| {
        let pair = packed.pair(index).expect("a pair");
        pair.crop_values(crop, &table, lr, hr).expect("buffers of the right size");
    });
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn first_touch(bencher: Bencher<'_, '_>) {
    warm_up(&Packed::open(set()).expect("a packed set"));
    let mut buffers = Buffers::new();
    let mut batch = 0;
    let open = || {
        batch += 1;
        let packed = Packed::open(set()).expect("a packed set");
        (places(&packed, batch), packed)
    };
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(open).bench_local_values(|(places, packed)| {
        fill_bytes(&packed, &places, &mut buffers);
        packed
    });
}

/// Drops the set from the page cache. Nobody may have it mapped.
fn evict() {
    let file = File::open(set()).expect("a packed set");
    file.sync_all().expect("synced");
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: advice on an open file; no memory is involved.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
}

fn time_cold(bencher: Bencher<'_, '_>, prefetch: bool) {
    let (mut buffers, mut batch) = (Buffers::new(), 1000);
    let evicted = || {
        batch += 1;
        evict();
        let packed = Packed::open(set()).expect("a packed set");
        (places(&packed, batch), packed)
    };
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(evicted).bench_local_values(|(places, packed)| {
        if prefetch {
            places.iter().for_each(|(index, crop)| packed.prefetch(*index, crop));
        }
        fill_bytes(&packed, &places, &mut buffers);
        // Here, so that nobody maps the set when it is evicted next.
        drop(packed);
    });
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn cold(bencher: Bencher<'_, '_>) {
    time_cold(bencher, false);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn cold_prefetched(bencher: Bencher<'_, '_>) {
    time_cold(bencher, true);
}

/// Thirty-two pairs from PNG files in the page cache to a synced file.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn packing(bencher: Bencher<'_, '_>) {
    let pairs: Vec<Pair> = pairs().into_iter().cycle().take(32).collect();
    let out = folder().join("packing.esrpack");
    let remove = || {
        let _ = fs::remove_file(&out);
    };
    bencher
        .counter(ItemsCount::new(pairs.len()))
        .with_inputs(remove)
        .bench_local_values(|()| pack(&pairs, SCALE, &out, &|_, _| {}, &|| None).expect("packed"));
    remove();
}

/// All checksums of the set.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn verifying(bencher: Bencher<'_, '_>) {
    let packed = Packed::open(set()).expect("a packed set");
    bencher.counter(BytesCount::new(packed.bytes())).bench_local(|| {
        packed.verify().expect("sound");
    });
}
