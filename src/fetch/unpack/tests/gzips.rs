//! Tar under gzip: what gzip adds to what can be wrong.

use std::io::Write;

use ::tar::EntryType;
use flate2::{Compression, GzBuilder};

use super::super::{Danger, Fault, Format, Members};
use super::archives::{gzip, honest_tar, honest_tar_gz, honest_zip, images, noise, tar_member};
use super::place::Place;

#[track_caller]
fn fault(bytes: &[u8]) -> Fault {
    Place::new().fault(Format::TarGz, bytes)
}

#[test]
fn several_members_are_one_file_and_headers_may_say_more() {
    let tar = honest_tar(&images());
    let place = Place::new();
    let pieces: Vec<u8> = tar.chunks(700).flat_map(gzip).collect();
    place.unpack(Format::TarGz, &pieces).unwrap();
    place.assert_holds(&images());
    let described = GzBuilder::new().filename("set.tar").comment("made for a test").extra(vec![7; 300]);
    let mut encoder = described.write(Vec::new(), Compression::best());
    encoder.write_all(&tar).unwrap();
    let place = Place::new();
    place.unpack(Format::TarGz, &encoder.finish().unwrap()).unwrap();
    place.assert_holds(&images());
}

#[test]
fn every_shorter_archive_is_refused() {
    let honest = honest_tar_gz(&images());
    let place = Place::new();
    for bytes in 0..honest.len() {
        let fault = place.fault(Format::TarGz, &honest[..bytes]);
        let named = if bytes < 2 {
            matches!(fault, Fault::NotAnArchive { .. })
        } else {
            matches!(fault, Fault::Truncated { .. })
        };
        assert!(named, "{bytes}: {fault}");
    }
}

#[test]
fn check_sum_and_size_are_looked_at() {
    let honest = honest_tar_gz(&images());
    // CRC-32 and size, four bytes each, are the last.
    for place in 1..=8 {
        let mut bytes = honest.clone();
        let at = bytes.len() - place;
        bytes[at] ^= 1;
        let fault = fault(&bytes);
        assert!(fault.to_string().contains("CRC-32 and size that gzip recorded"), "{place}: {fault}");
    }
}

#[test]
fn what_stands_behind_is_refused() {
    let honest = honest_tar_gz(&images());
    for garbage in [&b"\n"[..], &[0; 512], b"PK\x03\x04", &honest_zip(&images())] {
        let fault = fault(&[honest.as_slice(), garbage].concat());
        let told = format!("{} bytes that belong to nobody stand behind", garbage.len());
        assert!(matches!(&fault, Fault::Misplaced { detail } if detail.starts_with(&told)), "{fault}");
    }
    // Behind the end mark of the tar, but under gzip: as part of the same member, or as another one.
    let tar = honest_tar(&images());
    let other = honest_tar(&vec![("SET/0009.png".to_owned(), noise(20, 1))]);
    let mut padded = tar.clone();
    padded.resize(tar.len().next_multiple_of(10_240), 0);
    let place = Place::new();
    place.unpack(Format::TarGz, &gzip(&padded)).unwrap();
    place.assert_holds(&images());
    for bytes in [gzip(&[tar.as_slice(), &other].concat()), [gzip(&tar), gzip(&other)].concat()] {
        let fault = fault(&bytes);
        assert!(matches!(&fault, Fault::Misplaced { detail } if detail.contains("end mark")), "{fault}");
    }
    // Half a member behind it.
    let zeros = gzip(&[0; 1024]);
    let fault = fault(&[honest.as_slice(), &zeros[..zeros.len() - 9]].concat());
    assert!(matches!(fault, Fault::Truncated { .. }), "{fault}");
}

#[test]
fn other_files_are_named() {
    for (bytes, hint) in [
        (honest_tar(&images()), "looks like a tar archive"),
        (honest_zip(&images()), "looks like a zip archive"),
        (b"<html>please log in</html>".to_vec(), "looks like a web page"),
        (Vec::new(), "it is empty"),
        (gzip(b"no tar at all"), "gzip data of something else"),
        (gzip(&noise(5000, 3)), "gzip data of something else"),
    ] {
        let fault = fault(&bytes);
        assert!(matches!(fault, Fault::NotAnArchive { format: Format::TarGz, .. }), "{fault}");
        assert!(
            fault.to_string().starts_with("it is no tar.gz archive") && fault.to_string().contains(hint),
            "{fault}"
        );
    }
    let fault = Place::new().fault(Format::Tar, &honest_tar_gz(&images()));
    assert!(fault.to_string().contains("looks like gzip data"), "{fault}");
}

#[test]
fn dangerous_members_are_refused_as_in_a_plain_tar() {
    for (name, kind, danger) in [
        (&b"../outside.txt"[..], EntryType::Regular, Danger::Parent),
        (b"/etc/cron.d/x", EntryType::Regular, Danger::Absolute),
        (b"SET/link.png", EntryType::Symlink, Danger::Link),
        (b"SET/null.png", EntryType::Char, Danger::Special),
    ] {
        let mut tar = ::tar::Builder::new(Vec::new());
        tar_member(&mut tar, b"SET/0001.png", EntryType::Regular, b"1");
        tar_member(&mut tar, name, kind, b"");
        let fault = fault(&gzip(&tar.into_inner().unwrap()));
        assert!(matches!(fault, Fault::Hostile { danger: found, .. } if found == danger), "{fault}");
    }
}

/// A tar with one wanted member of zeros that claims its true size.
fn bomb(name: &[u8], bytes: usize) -> Vec<u8> {
    let mut tar = ::tar::Builder::new(Vec::new());
    tar_member(&mut tar, name, EntryType::Regular, &vec![0; bytes]);
    gzip(&tar.into_inner().unwrap())
}

#[test]
fn bombs_are_cut_off_while_they_unpack() {
    let mut place = Place::new();
    place.members = Members::below("SET", &[], None);
    place.limits.member_bytes = u64::MAX;
    place.limits.total_bytes = 64 << 20;
    // 20 MiB of zeros are some 20 kB; the free mebibyte is passed with the first buffers.
    for name in [&b"SET/0001.png"[..], b"OTHER/left-out.bin"] {
        let fault = place.fault(Format::TarGz, &bomb(name, 20 << 20));
        let Fault::Limit { what, limit: 100, found } = &fault else { panic!("{fault}") };
        assert!(what.contains("compression ratio") && *found > 100, "{fault}");
    }
    // What is left out has to be decompressed all the same, so it counts.
    place.limits.ratio = u64::MAX;
    place.limits.total_bytes = 2 << 20;
    let fault = place.fault(Format::TarGz, &bomb(b"OTHER/left-out.bin", 20 << 20));
    let Fault::Limit { what, limit: 0x20_0000, found } = &fault else { panic!("{fault}") };
    assert!(what.contains("unpacks to") && *found < 3 << 20, "cut off at once: {fault}");
    // Zeros behind the end mark, in one member and in many.
    let mut tar = honest_tar(&images());
    tar.resize(4 << 20, 0);
    let fault = place.fault(Format::TarGz, &gzip(&tar));
    assert!(matches!(fault, Fault::Limit { limit: 0x20_0000, .. }), "{fault}");
    let many: Vec<u8> = tar.chunks(1 << 16).flat_map(gzip).collect();
    let fault = place.fault(Format::TarGz, &many);
    assert!(matches!(fault, Fault::Limit { limit: 0x20_0000, .. }), "{fault}");
    // A little that shrinks well is no bomb.
    let place = Place::new();
    let mut files = images();
    files[1].1 = vec![0; 60_000];
    place.unpack(Format::TarGz, &honest_tar_gz(&files)).unwrap();
    place.assert_holds(&files);
}

#[test]
fn claims_of_members_are_limited_before_anything_is_written() {
    let place = Place::new();
    let fault = place.fault(Format::TarGz, &bomb(b"SET/0001.png", 1 << 17));
    assert!(
        matches!(&fault, Fault::Limit { limit: 65_536, what, .. } if what.contains("SET/0001.png")),
        "{fault}"
    );
}

#[test]
fn a_lie_about_the_size_is_no_full_disk() {
    // The size at the end claims 4 GiB: the room that is looked for stays within the ratio, and the lie is found.
    let mut bytes = honest_tar_gz(&images());
    let end = bytes.len();
    bytes[end - 4..].fill(0xff);
    assert!(matches!(fault(&bytes), Fault::Damaged { .. }));
}
