//! The packed set as its users see it. Damage has its own file, and so have processes that are killed.

mod damage;
#[cfg(unix)]
mod kill;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::dataset::{self, Crop, LoadedPair, Pair, Pairs};
use crate::imaging::testdata::Bytes;
use crate::imaging::{Augmentation, RgbImage, write_png};
use crate::interrupt::Signal;

/// LR width and height, and how many pixels HR is larger than it should be.
type Shape = (usize, usize, usize);

const SCALE: usize = 2;
const SHAPES: [Shape; 4] = [(7, 5, 0), (12, 30, 1), (1, 1, 0), (40, 37, 1)];

/// Images on disk, and room for a packed set beside them.
struct Set {
    folder: TempDir,
    pairs: Vec<Pair>,
}

impl Set {
    fn new(shapes: &[Shape]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: String, width: usize, height: usize, seed: usize| {
            let path = folder.path().join(name);
            let pixels = Bytes::new(seed as u64).take(width * height * 3);
            write_png(&path, &RgbImage::new(width, height, pixels).unwrap()).unwrap();
            path
        };
        let pairs = shapes.iter().enumerate().map(|(index, &(width, height, more))| Pair {
            name: format!("{:04}", index + 1),
            lr: write(format!("{:04}x2.png", index + 1), width, height, index),
            hr: write(
                format!("{:04}.png", index + 1),
                width * SCALE + more,
                height * SCALE + more,
                100 + index,
            ),
        });
        let pairs = pairs.collect();
        Self { folder, pairs }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("train.esrpack")
    }

    fn partial(&self) -> PathBuf {
        self.folder.path().join("train.esrpack.partial")
    }

    fn pack(&self) -> Result<Summary, PackError> {
        pack(&self.pairs, SCALE, &self.out(), &|_, _| {}, &|| None)
    }

    /// Packs until `pairs` pairs are written.
    fn pack_some(&self, pairs: usize) {
        let done = Mutex::new(0);
        let progress = |now: usize, _: usize| *done.lock().unwrap() = now;
        let interrupted = || (*done.lock().unwrap() >= pairs).then_some(Signal::Interrupt);
        let stopped = pack(&self.pairs, SCALE, &self.out(), &progress, &interrupted);
        assert!(matches!(stopped, Err(PackError::Interrupted(Signal::Interrupt))), "{stopped:?}");
    }

    fn loaded(&self) -> Vec<LoadedPair> {
        dataset::load_pairs(&self.pairs, SCALE).unwrap()
    }

    fn assert_holds_the_images(&self) {
        let packed = Packed::open(&self.out()).unwrap();
        packed.verify().unwrap();
        assert_eq!((packed.len(), packed.is_empty(), packed.scale()), (self.pairs.len(), false, SCALE));
        assert_eq!(packed.bytes(), fs::metadata(self.out()).unwrap().len());
        let loaded = self.loaded();
        for (index, pair) in loaded.iter().enumerate() {
            assert_eq!(packed.name(index), Some(pair.name.as_str()));
            assert_eq!(packed.lr(index).unwrap().to_image().unwrap(), pair.lr);
            assert_eq!(packed.hr(index).unwrap().to_image().unwrap(), pair.hr);
        }
        assert!(packed.pair(loaded.len()).is_none() && packed.lr(loaded.len()).is_none());
        assert_eq!(packed.images_sha256(), loaded.images_sha256());
        assert!(!self.partial().exists());
    }
}

fn touch(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Version 1, written out by its description alone: later programs must still read it.
fn version_1(scale: usize, pairs: &[(&str, RgbImage, RgbImage, [&Path; 2])]) -> Vec<u8> {
    let sha = |bytes: &[u8]| Sha256::digest(bytes).to_vec();
    let page = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().div_ceil(4096) * 4096, 0);
    let mut file = b"esrpack\0".to_vec();
    for number in [1, scale as u32, 4096, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend(sha(&file));
    page(&mut file);
    let mut index = Vec::new();
    for (name, lr, hr, paths) in pairs {
        let lr_at = file.len() + 4096;
        let hr_at = lr_at + lr.pixels().len().div_ceil(4096) * 4096;
        let mut entry = (204 + name.len() as u32).to_le_bytes().to_vec();
        for (image, at, path) in [(lr, lr_at, paths[0]), (hr, hr_at, paths[1])] {
            entry.extend((image.width() as u32).to_le_bytes());
            entry.extend((image.height() as u32).to_le_bytes());
            entry.extend((at as u64).to_le_bytes());
            let head = format!("{}x{}:RGB:", image.width(), image.height());
            entry.extend(sha(&[head.as_bytes(), image.pixels()].concat()));
            let bytes = fs::read(path).unwrap();
            let modified = fs::metadata(path).unwrap().modified().unwrap();
            let modified = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            entry.extend((bytes.len() as u64).to_le_bytes());
            entry.extend(modified.as_secs().to_le_bytes());
            entry.extend(modified.subsec_nanos().to_le_bytes());
            entry.extend(sha(&bytes));
        }
        entry.extend(name.as_bytes());
        let record = [b"esrpair\0".as_slice(), &entry].concat();
        file.extend(&record);
        file.extend(sha(&record));
        page(&mut file);
        for image in [lr, hr] {
            file.extend(image.pixels());
            page(&mut file);
        }
        index.extend(entry);
    }
    let at = file.len();
    file.extend(&index);
    let mut trailer = b"esrpend\0".to_vec();
    for number in [pairs.len(), at, index.len(), at + index.len() + 104] {
        trailer.extend((number as u64).to_le_bytes());
    }
    trailer.extend(sha(&index));
    trailer.extend(sha(&trailer));
    file.extend(trailer);
    file
}

#[test]
fn a_packed_set_holds_what_decoding_gives_byte_for_byte_as_documented() {
    let set = Set::new(&SHAPES);
    let told = Mutex::new(Vec::new());
    let progress = |done: usize, all: usize| told.lock().unwrap().push((done, all));
    let summary = pack(&set.pairs, SCALE, &set.out(), &progress, &|| None).unwrap();
    assert_eq!(told.into_inner().unwrap(), [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]);
    let bytes = fs::read(set.out()).unwrap();
    assert_eq!(summary, Summary { pairs: 4, kept: 0, bytes: bytes.len() as u64 });
    set.assert_holds_the_images();
    let images = set.loaded().into_iter().zip(&set.pairs);
    let images: Vec<_> = images
        .map(|(image, pair)| (pair.name.as_str(), image.lr, image.hr, [&*pair.lr, &*pair.hr]))
        .collect();
    assert!(bytes == version_1(SCALE, &images), "the file is not as the format's description says");
}

#[test]
fn crops_are_the_same_from_memory_and_from_the_file() {
    let set = Set::new(&SHAPES);
    set.pack().unwrap();
    let (packed, loaded) = (Packed::open(&set.out()).unwrap(), set.loaded());
    for index in 0..SHAPES.len() {
        let (packed, loaded) = (packed.pair(index).unwrap(), loaded.pair(index).unwrap());
        for (augmentation, (x, y, side)) in
            Augmentation::ALL.into_iter().zip([(0, 0, 1), (3, 2, 5)].into_iter().cycle())
        {
            let crop = Crop { x, y, side, scale: SCALE, augmentation };
            let buffers = || (vec![1; side * side * 3], vec![1; side * side * 3 * SCALE * SCALE]);
            let ((mut lr, mut hr), (mut lr_too, mut hr_too)) = (buffers(), buffers());
            let coverage = packed.crop_bytes(&crop, &mut lr, &mut hr).unwrap();
            assert_eq!(loaded.crop_bytes(&crop, &mut lr_too, &mut hr_too), Ok(coverage));
            assert_eq!((lr, hr), (lr_too, hr_too));
        }
    }
    // Advice changes nothing, however wrong the place.
    for crop in [(0, 0, 4), (usize::MAX, 3, 4), (2, usize::MAX, usize::MAX)] {
        let (x, y, side) = crop;
        packed.prefetch(1, &Crop { x, y, side, scale: SCALE, augmentation: Augmentation::new(0) });
    }
    packed.verify().unwrap();
}

#[test]
fn a_current_set_is_left_alone_and_a_stale_one_is_replaced() {
    let mut set = Set::new(&SHAPES);
    set.pack().unwrap();
    let written = |set: &Set| fs::metadata(set.out()).unwrap().modified().unwrap();
    let before = written(&set);
    assert_eq!(set.pack().unwrap().kept, 4);
    // The same bytes at another time.
    touch(&set.pairs[1].lr, 1_000_000_000);
    assert_eq!(set.pack().unwrap().kept, 4);
    assert_eq!(written(&set), before);

    let stale = |set: &Set| match Packed::open(&set.out()).unwrap().is_current(&set.pairs, SCALE).unwrap() {
        Currency::Stale(reason) => reason,
        Currency::Current => "current".into(),
    };
    assert_eq!(stale(&set), "current");
    // Another image in the second file.
    let (width, height, _) = SHAPES[1];
    let image = RgbImage::new(width, height, vec![77; width * height * 3]).unwrap();
    write_png(&set.pairs[1].lr, &image).unwrap();
    assert_eq!(stale(&set), format!("`{}` changed", set.pairs[1].lr.display()));
    assert_eq!(set.pack().unwrap().kept, 0);
    set.assert_holds_the_images();

    set.pairs.swap(0, 2);
    assert_eq!(stale(&set), "it holds image 0001 where 0003 is expected");
    set.pairs.pop();
    assert_eq!(stale(&set), "it holds 4 pairs, not 3");
    set.pack().unwrap();
    set.assert_holds_the_images();
    let other = Packed::open(&set.out()).unwrap().is_current(&set.pairs, 3).unwrap();
    assert_eq!(other, Currency::Stale("it is of scale 2, not 3".into()));
    fs::remove_file(&set.pairs[0].hr).unwrap();
    assert!(matches!(set.pack(), Err(PackError::File(_))));
}

#[test]
fn equal_sizes_with_other_bytes_are_told_apart_when_the_time_differs() {
    let set = Set::new(&[(2, 2, 0)]);
    set.pack().unwrap();
    let mut bytes = fs::read(&set.pairs[0].hr).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&set.pairs[0].hr, bytes).unwrap();
    touch(&set.pairs[0].hr, 1_000_000_000);
    let packed = Packed::open(&set.out()).unwrap();
    assert!(matches!(packed.is_current(&set.pairs, SCALE).unwrap(), Currency::Stale(_)));
}

#[test]
fn an_interrupted_packing_goes_on_where_it_stopped() {
    let set = Set::new(&SHAPES);
    set.pack_some(2);
    assert!(!set.out().exists());
    let written = fs::metadata(set.partial()).unwrap().len();
    assert_eq!(set.pack().unwrap().kept, 2);
    assert!(fs::metadata(set.out()).unwrap().len() > written);
    set.assert_holds_the_images();
}

#[test]
fn only_what_is_whole_and_unchanged_is_kept() {
    /// What happens to the files between two attempts.
    type Change = fn(&Set);
    fn change_byte(set: &Set, at: usize) {
        let mut bytes = fs::read(set.partial()).unwrap();
        bytes[at] ^= 1;
        fs::write(set.partial(), bytes).unwrap();
    }
    fn append(set: &Set, more: usize) {
        let mut bytes = fs::read(set.partial()).unwrap();
        bytes.resize(bytes.len() + more, 0x55);
        fs::write(set.partial(), bytes).unwrap();
    }
    // In pages: header 0, first pair 1 to 3, record 4, LR 5 and HR 6 to 7 of the second, third pair 8 to 10.
    let cases: [(&str, usize, Change); 9] = [
        ("nothing", 3, |_| {}),
        ("bytes of a record that was never finished", 3, |set| append(set, 5000)),
        ("cut in the third record", 2, |set| {
            let file = fs::File::options().write(true).open(set.partial()).unwrap();
            file.set_len(4096 * 10 + 12).unwrap();
        }),
        ("header", 0, |set| change_byte(set, 9)),
        ("first record", 0, |set| change_byte(set, 4096 + 100)),
        ("pixel of the second LR image", 1, |set| change_byte(set, 4096 * 5 + 3)),
        ("padding of the second HR image", 1, |set| change_byte(set, 4096 * 8 - 1)),
        ("second input", 1, |set| {
            write_png(&set.pairs[1].lr, &RgbImage::new(12, 30, vec![0; 1080]).unwrap()).unwrap();
        }),
        ("empty file", 0, |set| fs::write(set.partial(), b"").unwrap()),
    ];
    for (what, kept, change) in cases {
        let set = Set::new(&SHAPES);
        set.pack_some(3);
        change(&set);
        assert_eq!(set.pack().unwrap().kept, kept, "{what}");
        set.assert_holds_the_images();
    }
}

#[test]
fn an_unfinished_set_of_other_pairs_or_another_scale_is_begun_anew() {
    let mut set = Set::new(&SHAPES);
    set.pack_some(2);
    set.pairs.swap(1, 3);
    assert_eq!(set.pack().unwrap().kept, 1);
    set.assert_holds_the_images();

    let set = Set::new(&[(6, 6, 0)]);
    set.pack_some(1);
    let pairs = [Pair { lr: set.pairs[0].hr.clone(), ..set.pairs[0].clone() }];
    assert_eq!(pack(&pairs, 1, &set.out(), &|_, _| {}, &|| None).unwrap().kept, 0);
    assert_eq!(Packed::open(&set.out()).unwrap().scale(), 1);
}

#[test]
fn what_cannot_be_packed_is_named_and_the_rest_is_kept() {
    let set = Set::new(&SHAPES);
    let right = fs::read(&set.pairs[2].hr).unwrap();
    fs::write(&set.pairs[2].hr, &right[..right.len() - 5]).unwrap();
    let error = set.pack().unwrap_err().to_string();
    assert!(error.contains("0003.png") && error.contains("ends too early"), "{error}");
    fs::write(&set.pairs[2].hr, right).unwrap();
    assert_eq!(set.pack().unwrap().kept, 2);
    set.assert_holds_the_images();

    let set = Set::new(&[(7, 5, 2)]);
    let error = set.pack().unwrap_err().to_string();
    assert!(error.contains("16x12 pixels") && error.contains("7x5"), "{error}");

    let refused = |pairs: &[Pair], scale| pack(pairs, scale, &set.out(), &|_, _| {}, &|| None).unwrap_err();
    assert!(matches!(refused(&[], 2), PackError::NoPairs { .. }));
    assert!(matches!(refused(&set.pairs, 0), PackError::Scale { found: 0, .. }));
    assert!(matches!(refused(&set.pairs, 65), PackError::Scale { found: 65, .. }));
    let long = Pair { name: "n".repeat(1025), ..set.pairs[0].clone() };
    assert!(matches!(refused(&[long], 2), PackError::Name { found_bytes: 1025, .. }));
}

#[test]
fn foreign_and_newer_files_are_never_overwritten() {
    let set = Set::new(&[(3, 3, 0)]);
    fs::write(set.out(), b"my thesis").unwrap();
    assert!(matches!(set.pack(), Err(PackError::NotPacked { .. })));
    assert_eq!(fs::read(set.out()).unwrap(), b"my thesis");
    fs::remove_file(set.out()).unwrap();
    set.pack().unwrap();
    let mut newer = fs::read(set.out()).unwrap();
    newer[8] = 2;
    fs::write(set.out(), &newer).unwrap();
    let error = set.pack().unwrap_err();
    assert!(matches!(error, PackError::Newer { found: 2, supported: 1, .. }), "{error}");
    assert!(error.to_string().contains("is a packed set of version 2, this program reads up to 1"));
    assert_eq!(fs::read(set.out()).unwrap(), newer);
    // Cut off, it is one of ours and of no use to anybody.
    newer[8] = 1;
    fs::write(set.out(), &newer[..newer.len() - 1]).unwrap();
    assert_eq!(set.pack().unwrap().kept, 0);
    set.assert_holds_the_images();
}

#[test]
fn two_at_once_do_not_disturb_each_other() {
    let set = Set::new(&SHAPES);
    let holder = fs::File::create(set.partial()).unwrap();
    holder.lock().unwrap();
    let error = set.pack().unwrap_err().to_string();
    assert!(error.ends_with("is being written by another esr: wait for it"), "{error}");
    drop(holder);
    let results: BTreeSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| set.pack())).collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.map(|result| result.map_or_else(|error| error.to_string(), |_| String::new())).collect()
    });
    assert!(results.contains(""), "{results:?}");
    assert!(results.iter().all(|error| error.is_empty() || error.contains("by another esr")), "{results:?}");
    set.assert_holds_the_images();
}
