//! Archives that were changed at random: no panic, nothing outside the target, and no complete target that is wrong where
//! there are check sums.

use proptest::prelude::*;

use super::super::Format;
use super::archives::{Entry, gzip, honest_tar, honest_tar_gz, honest_zip, images, zip_of};
use super::place::Place;

/// One change of a file. Places are parts of its length, so that they fit every file.
#[derive(Clone, Debug)]
pub(in crate::fetch) enum Change {
    Flip(f64, u8),
    /// Four bytes as a claim of size, offset or check sum.
    Claim(f64, u32),
    Cut(f64),
    Remove(f64, usize),
    Insert(f64, Vec<u8>),
    /// Bytes from elsewhere in the file.
    Copy(f64, f64, usize),
}

pub(in crate::fetch) fn change() -> impl Strategy<Value = Change> {
    let place = 0.0..1.0f64;
    let claims = prop_oneof![Just(u32::MAX), Just(u32::MAX - 1), Just(0), Just(1 << 31), any::<u32>()];
    prop_oneof![
        6 => (place.clone(), 1..=255u8).prop_map(|(at, bits)| Change::Flip(at, bits)),
        4 => (place.clone(), claims).prop_map(|(at, claim)| Change::Claim(at, claim)),
        1 => place.clone().prop_map(Change::Cut),
        1 => (place.clone(), 1..40usize).prop_map(|(at, count)| Change::Remove(at, count)),
        1 => (place.clone(), proptest::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, new)| Change::Insert(at, new)),
        2 => (place.clone(), place, 1..64usize).prop_map(|(from, to, count)| Change::Copy(from, to, count)),
    ]
}

pub(in crate::fetch) fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let at = |place: f64, bytes: &[u8]| (place * bytes.len() as f64) as usize;
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Flip(place, bits) => {
            let at = at(*place, bytes);
            bytes[at] ^= bits;
        }
        Change::Claim(place, claim) => {
            let at = at(*place, bytes);
            let end = bytes.len().min(at + 4);
            bytes[at..end].copy_from_slice(&claim.to_le_bytes()[..end - at]);
        }
        Change::Cut(place) => bytes.truncate(at(*place, bytes)),
        Change::Remove(place, count) => {
            let at = at(*place, bytes);
            bytes.drain(at..bytes.len().min(at + count));
        }
        Change::Insert(place, new) => {
            let at = at(*place, bytes);
            bytes.splice(at..at, new.iter().copied());
        }
        Change::Copy(from, to, count) => {
            let (from, to) = (at(*from, bytes), at(*to, bytes));
            let count = (*count).min(bytes.len() - from.max(to));
            bytes.copy_within(from..from + count, to);
        }
    }
}

/// Names that should never become paths, and two that are odd but harmless.
fn hostile_name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "../../../a.x",
        "/tmp/esr/a.x",
        "SET/../../ax",
        "..\\..\\a.png",
        "C:\\a\\b\\.png",
        "SET/../a.png",
        "SET/..//.png",
        "SET/\0\0\0\0.png",
        "SET/0001.PNG",
        "SET/000/.png",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_zip_is_right_or_refused(deflated in any::<bool>(), changes in proptest::collection::vec(change(), 1..5)) {
        let mut bytes = if deflated {
            honest_zip(&images())
        } else {
            zip_of(&images().iter().map(|(name, bytes)| Entry::stored(name, bytes)).collect::<Vec<_>>())
        };
        changes.iter().for_each(|change| apply(&mut bytes, change));
        let place = Place::new();
        if place.unpack(Format::Zip, &bytes).is_ok() {
            place.assert_holds(&images());
        }
    }

    #[test]
    fn a_changed_tar_stays_in_its_place(changes in proptest::collection::vec(change(), 1..5)) {
        let mut bytes = honest_tar(&images());
        changes.iter().for_each(|change| apply(&mut bytes, change));
        let place = Place::new();
        if let Ok(unpacked) = place.unpack(Format::Tar, &bytes) {
            prop_assert_eq!(unpacked.files, 3);
            prop_assert!(unpacked.bytes <= place.limits.total_bytes);
        }
    }

    /// Unlike a plain tar, one under gzip has a check sum: what is unpacked is right.
    #[test]
    fn a_changed_tar_gz_is_right_or_refused(changes in proptest::collection::vec(change(), 1..5)) {
        let mut bytes = honest_tar_gz(&images());
        changes.iter().for_each(|change| apply(&mut bytes, change));
        let place = Place::new();
        if place.unpack(Format::TarGz, &bytes).is_ok() {
            place.assert_holds(&images());
        }
    }

    #[test]
    fn a_changed_tar_under_honest_gzip_stays_in_its_place(changes in proptest::collection::vec(change(), 1..5)) {
        let mut bytes = honest_tar(&images());
        changes.iter().for_each(|change| apply(&mut bytes, change));
        let place = Place::new();
        if let Ok(unpacked) = place.unpack(Format::TarGz, &gzip(&bytes)) {
            prop_assert_eq!(unpacked.files, 3);
            prop_assert!(unpacked.bytes <= place.limits.total_bytes);
        }
    }

    #[test]
    fn hostile_names_in_both_headers_lead_nowhere(name in hostile_name(), which in 0..3usize, format in 0..3usize) {
        let mut files = images();
        files[which].0 = name.to_owned();
        let place = Place::new();
        let outcome = if format == 0 {
            let entries: Vec<_> = files.iter().map(|(name, bytes)| Entry::stored(name, bytes)).collect();
            place.unpack(Format::Zip, &zip_of(&entries))
        } else {
            let mut tar = ::tar::Builder::new(Vec::new());
            for (name, bytes) in &files {
                super::archives::tar_member(&mut tar, name.as_bytes(), ::tar::EntryType::Regular, bytes);
            }
            let tar = tar.into_inner().unwrap();
            if format == 1 { place.unpack(Format::Tar, &tar) } else { place.unpack(Format::TarGz, &gzip(&tar)) }
        };
        // `.PNG` is no wanted ending, so there is one image too few.
        prop_assert_eq!(outcome.is_ok(), name == "SET/000/.png", "{:?}", name);
    }
}
