//! Archives as they come and as they should not come.

pub(in crate::fetch) mod archives;
mod gzips;
pub(in crate::fetch) mod mutation;
mod place;
mod process;
mod tars;
mod zips;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use self::archives::{honest, honest_tar, honest_zip, images};
use self::place::Place;
use super::*;
use crate::fetch::store::{self, State};

#[test]
fn honest_archives_are_unpacked() {
    for (format, bytes) in honest(&images()) {
        let place = Place::new();
        let unpacked = place.unpack(format, &bytes).unwrap();
        place.assert_holds(&images());
        assert_eq!((unpacked.files, unpacked.bytes), (3, 480));
        assert_eq!(unpacked.ignored, Ignored { folders: 1, litter: 1, unwanted: 0 });
        let State::Complete(marker) = store::state(&place.target()).unwrap() else { panic!("no marker") };
        assert_eq!((marker.schema, marker.files, marker.bytes), (1, 3, 480));
        assert_eq!(marker.archive.sha256, fsio::sha256_hex(&bytes));
        // A second time it is in the way, and stays.
        let error = place::unpack_at(place.root(), format, &place.members, &place.limits).unwrap_err();
        assert!(matches!(error, UnpackError::Occupied { what: "is complete already", .. }), "{error}");
        place.assert_holds(&images());
        store::discard_marker(&place.target()).unwrap();
        fs::write(place.target().join("0002.png"), b"rot").unwrap();
        place::unpack_at(place.root(), format, &place.members, &place.limits).unwrap();
        place.assert_holds(&images());
    }
}

#[test]
fn of_several_at_once_the_first_is_done_and_the_others_are_told() {
    for _ in 0..20 {
        let place = Place::new();
        let neighbours = place.neighbours();
        fs::write(place.archive(), honest_zip(&images())).unwrap();
        let start = Barrier::new(4);
        let done = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    match place::unpack_at(place.root(), Format::Zip, &place.members, &place.limits) {
                        Ok(_) => {
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(UnpackError::Occupied { what: "is complete already", .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 1);
        place.assert_holds(&images());
        assert_eq!(place.neighbours(), neighbours);
    }
}

#[test]
fn progress_adds_up_to_the_bytes_written() {
    let place = Place::new();
    fs::write(place.archive(), honest_zip(&images())).unwrap();
    let found = Found {
        bytes: fs::metadata(place.archive()).unwrap().len(),
        sha256: "ab".repeat(32),
        md5: "cd".repeat(16),
    };
    let told = AtomicU64::new(0);
    let job = Job {
        archive: &place.archive(),
        format: Format::Zip,
        found: &found,
        members: &place.members,
        target: &place.target(),
        limits: &place.limits,
    };
    unpack(&job, &|bytes| {
        told.fetch_add(bytes, Ordering::Relaxed);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(told.into_inner(), 480);
    let longer = Found { bytes: found.bytes + 1, ..found.clone() };
    let elsewhere = place.root().join("data/elsewhere");
    let error = unpack(&Job { found: &longer, target: &elsewhere, ..job }, &|_| ControlFlow::Continue(()))
        .unwrap_err();
    assert!(matches!(error, UnpackError::Archive { fault: Fault::Changed { .. }, .. }), "{error}");
    // Whoever stops it finds nothing half done.
    let entries = || fs::read_dir(place.root().join("data")).unwrap().count();
    let before = entries();
    for pieces in 0..3 {
        let left = AtomicU64::new(pieces);
        let stop =
            |_| match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
                Ok(_) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
        let error = unpack(&Job { target: &elsewhere, ..job }, &stop).unwrap_err();
        assert!(matches!(error, UnpackError::Stopped { .. }), "{error}");
        assert_eq!(entries(), before);
    }
}

#[test]
fn wrong_counts_and_other_contents_are_named() {
    for (format, bytes) in honest(&images()) {
        let mut place = Place::new();
        place.members = Members::below("SET", &[".png"], Some(4));
        assert_eq!(place.fault(format, &bytes), Fault::Count { folder: "SET".into(), expected: 4, found: 3 });
        place.members = Members::below("OTHER", &[".png"], None);
        assert!(matches!(place.fault(format, &bytes), Fault::NothingWanted { members: 5, .. }));
        place.limits.members = 4;
        assert!(matches!(place.fault(format, &bytes), Fault::Limit { limit: 4, .. }));
    }
}

#[test]
fn others_property_is_not_touched() {
    let place = Place::new();
    fs::create_dir(place.target()).unwrap();
    fs::write(place.target().join("0001.png"), b"mine").unwrap();
    fs::write(place.archive(), honest_zip(&images())).unwrap();
    let error = place::unpack_at(place.root(), Format::Zip, &place.members, &place.limits).unwrap_err();
    assert!(matches!(error, UnpackError::Occupied { .. }), "{error}");
    assert_eq!(fs::read(place.target().join("0001.png")).unwrap(), b"mine");
}

#[test]
fn what_is_no_archive_is_said_to_look_like_something() {
    let place = Place::new();
    for (bytes, hint) in [
        (&b""[..], "it is empty"),
        (b"  <!DOCTYPE html><html>", "web page"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ] {
        for format in [Format::Zip, Format::Tar] {
            let text = place.unpack(format, bytes).unwrap_err().to_string();
            assert!(text.contains(hint) || text.contains("cut short"), "{format}: {text}");
        }
    }
    let text = place.unpack(Format::Zip, &honest_tar(&images())).unwrap_err().to_string();
    assert!(text.contains("it looks like a tar archive"), "{text}");
    let text = place.unpack(Format::Tar, &honest_zip(&images())).unwrap_err().to_string();
    assert!(text.contains("it looks like a zip archive"), "{text}");
    let missing = place.root().join("data/set");
    assert!(!missing.exists());
}

#[test]
fn formats_are_known_by_name() {
    assert_eq!(Format::of_name("DIV2K_valid_HR.zip"), Some(Format::Zip));
    assert_eq!(Format::of_name("Flickr2K.TAR"), Some(Format::Tar));
    assert_eq!(Format::of_name("Set14_HR.tar.gz"), Some(Format::TarGz));
    assert_eq!(Format::of_name("Set14_HR.TGZ"), Some(Format::TarGz));
    assert_eq!(Format::of_name("Set14_HR.gz"), None);
}

#[test]
fn an_archive_in_the_current_folder_has_a_parent() {
    // Names without a folder: nothing may be assumed about `Path::parent`.
    assert!(Staging::check_target(Path::new("not-there")).is_ok());
}
