//! Files that are not as they were written, by accident and on purpose.

use std::fs;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::dataset::packed::format::{Entry, decode_end, encode_end, encode_header};

/// A sound file and the images it holds.
fn sound() -> &'static (Vec<u8>, Vec<LoadedPair>) {
    static SOUND: OnceLock<(Vec<u8>, Vec<LoadedPair>)> = OnceLock::new();
    SOUND.get_or_init(|| {
        let set = Set::new(&[(7, 5, 0), (40, 3, 1)]);
        set.pack().unwrap();
        (fs::read(set.out()).unwrap(), set.loaded())
    })
}

/// Touches every pixel there is, and some that are not.
fn use_everything(packed: &Packed) {
    for index in 0..=packed.len() {
        let (Some(pair), Some(lr), Some(hr)) = (packed.pair(index), packed.lr(index), packed.hr(index))
        else {
            assert_eq!(index, packed.len());
            continue;
        };
        for view in [pair.lr, pair.hr, lr, hr] {
            let sum: u64 = view.rows().flatten().map(|&byte| u64::from(byte)).sum();
            std::hint::black_box(sum);
        }
        for (x, y, side) in [(0, 0, 3), (pair.lr.width() - 1, pair.lr.height() - 1, 4)] {
            let scale = packed.scale();
            let crop = Crop { x, y, side, scale, augmentation: Augmentation::new(index as u8) };
            let (mut lr, mut hr) = (vec![0; side * side * 3], vec![0; (side * scale).pow(2) * 3]);
            pair.crop_bytes(&crop, &mut lr, &mut hr).unwrap();
            packed.prefetch(index, &crop);
        }
    }
}

/// A file of these bytes gives an error, or a reader that stays inside; and if its checksums are right, so are its pixels.
fn check(bytes: &[u8], may_hold_other_images: bool) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set");
    fs::write(&path, bytes).unwrap();
    let Ok(packed) = Packed::open(&path) else { return Ok(()) };
    use_everything(&packed);
    if packed.verify().is_ok() && !may_hold_other_images {
        prop_assert!(bytes == sound().0, "damage passed all checks");
        for (index, pair) in sound().1.iter().enumerate() {
            prop_assert_eq!(&packed.lr(index).unwrap().to_image().unwrap(), &pair.lr);
            prop_assert_eq!(&packed.hr(index).unwrap().to_image().unwrap(), &pair.hr);
        }
    }
    Ok(())
}

#[test]
fn every_truncation_is_an_error() {
    let whole = &sound().0;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set");
    let near_the_end = whole.len() - 700..whole.len();
    for length in (0..whole.len()).step_by(509).chain(0..100).chain(near_the_end) {
        fs::write(&path, &whole[..length]).unwrap();
        let error = Packed::open(&path).unwrap_err();
        let expected = if length < 8 {
            matches!(error, PackError::NotPacked { .. })
        } else {
            matches!(error, PackError::Damaged { .. })
        };
        assert!(expected, "cut to {length}: {error}");
    }
    fs::write(&path, [whole.as_slice(), b"\n"].concat()).unwrap();
    assert!(matches!(Packed::open(&path), Err(PackError::Damaged { .. })));
    fs::create_dir(folder.path().join("folder")).unwrap();
    assert!(Packed::open(&folder.path().join("folder")).is_err());
    assert!(matches!(Packed::open(&folder.path().join("none")), Err(PackError::File(_))));
}

#[test]
fn damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set");
    let message = |at: &[usize]| {
        let mut bytes = sound().0.clone();
        at.iter().for_each(|&at| bytes[at] ^= 0x40);
        fs::write(&path, bytes).unwrap();
        let error = Packed::open(&path).and_then(|packed| packed.verify()).unwrap_err().to_string();
        error.replace(&path.display().to_string(), "PATH")
    };
    let (page, end) = (4096, sound().0.len());
    assert_eq!(
        message(&[2 * page + 1, 4 * page + 99]),
        "the packed set `PATH` is damaged in 2 place(s): LR of 0001, record of 0002; delete it to pack again"
    );
    // The byte after the last pixel of an image.
    assert!(message(&[6 * page + 40 * 3 * 3 * 4]).contains("in 1 place(s): HR of 0002"));
    let opening = |at: usize| message(&[at]);
    assert!(opening(13).contains("the checksum of its header does not match"));
    assert!(opening(page - 1).contains("the checksum of its header does not match"));
    assert!(opening(0).contains("is not a packed set"));
    assert!(opening(end - 150).contains("the checksum of its index does not match"));
    assert!(opening(end - 90).contains("the checksum of its trailer does not match"));
    assert!(opening(end - 104).contains("does not end with a trailer"));
}

/// Gives an entry other contents, one field at a time.
fn falsify(entry: &mut Entry, field: usize, value: u64) {
    match field {
        0 => entry.lr.width = value as u32,
        1 => entry.lr.height = value as u32,
        2 => entry.hr.width = value as u32,
        3 => entry.hr.height = value as u32,
        4 => entry.lr.offset = value,
        5 => entry.hr.offset = value,
        6 => entry.lr.pixels[value as usize % 32] ^= 1,
        7 => entry.hr.stamp.bytes = value,
        8 => (entry.lr.width, entry.hr.width) = (value as u32, (value as u32).wrapping_mul(2)),
        _ => entry.name = "n".repeat(value as usize % 3000),
    }
}

/// Numbers that are likely to be trouble.
fn hostile() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0u64..100,
        (0u64..12).prop_map(|page| page * 4096),
        (0u32..64).prop_map(|bit| 1 << bit),
        (0u32..64, 0u64..5).prop_map(|(bit, less)| (1u64 << bit).wrapping_sub(less)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_changed_file_is_refused_or_found_out(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        near in 0usize..4,
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        more in prop::option::weighted(0.2, prop::collection::vec(any::<u8>(), 1..200)),
    ) {
        let mut bytes = sound().0.clone();
        let length = bytes.len();
        for (at, value) in changes {
            // Most bytes are pixels; the others are more interesting.
            let at = match near {
                0 => at.index(length),
                1 => at.index(64),
                2 => length - 1 - at.index(600),
                _ => at.index(length / 4096) * 4096 + at.index(300),
            };
            bytes[at.min(length - 1)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(length));
        }
        bytes.extend(more.unwrap_or_default());
        check(&bytes, false)?;
    }

    /// Checksums keep out accidents, not malice: with all of them right, places must still be.
    #[test]
    fn false_entries_under_right_checksums_stay_inside(
        lies in prop::collection::vec((0usize..2, 0usize..10, hostile()), 1..3),
        scale in prop_oneof![3 => Just(2u32), 1 => any::<u32>()],
        index_offset in prop::option::weighted(0.2, hostile()),
        cut in prop::option::weighted(0.3, 0usize..12),
    ) {
        let whole = &sound().0;
        let (trailer, mut entries) = decode_end(whole, 2).unwrap();
        for (entry, field, value) in lies {
            falsify(&mut entries[entry], field, value);
        }
        let mut bytes = whole[..trailer.index_offset as usize].to_vec();
        bytes.truncate(cut.map_or(bytes.len(), |pages| pages * 4096));
        let header = encode_header(scale);
        bytes.resize(bytes.len().max(header.len()), 0);
        bytes[..header.len()].copy_from_slice(&header);
        let offset = index_offset.unwrap_or(bytes.len() as u64).min(u64::MAX / 2);
        bytes.extend(encode_end(&entries, offset));
        check(&bytes, true)?;
    }

    #[test]
    fn garbage_is_refused(start in 0usize..60, bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        check(&[&sound().0[..start], &bytes].concat(), false)?;
    }
}
