//! Tar files that lie.

use ::tar::{Builder, EntryType, Header};

use super::super::{Danger, Fault, Format, Ignored, Members};
use super::archives::{honest_tar, images, tar_member};
use super::place::Place;

/// The honest members and one more.
fn with(name: &[u8], kind: EntryType, bytes: &[u8]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, bytes) in images() {
        tar_member(&mut tar, name.as_bytes(), EntryType::Regular, &bytes);
    }
    tar_member(&mut tar, name, kind, bytes);
    tar.into_inner().unwrap()
}

#[test]
fn hostile_names_and_kinds_are_refused_wherever_they_are() {
    for (name, danger) in [
        (&b"/etc/cron.d/x"[..], Danger::Absolute),
        (b"../outside.txt", Danger::Parent),
        (b"SET/../../outside.txt", Danger::Parent),
        (b"..\\outside.txt", Danger::Backslash),
        (b"C:x", Danger::Colon),
        (b"SET/\xff.png", Danger::NotUtf8),
        (b"SET/.esr-complete.json", Danger::Reserved),
    ] {
        let fault = Place::new().fault(Format::Tar, &with(name, EntryType::Regular, b"x"));
        assert!(matches!(fault, Fault::Hostile { danger: found, .. } if found == danger), "{fault}");
    }
    for (kind, danger) in [
        (EntryType::Symlink, Danger::Link),
        (EntryType::Link, Danger::Link),
        (EntryType::Fifo, Danger::Special),
        (EntryType::Char, Danger::Special),
        (EntryType::Block, Danger::Special),
        (EntryType::new(b'V'), Danger::Special),
    ] {
        let fault = Place::new().fault(Format::Tar, &with(b"SET/0004.png", kind, b""));
        assert!(matches!(fault, Fault::Hostile { danger: found, .. } if found == danger), "{fault}");
    }
}

#[test]
fn collisions_are_refused_while_streaming() {
    let mut place = Place::new();
    place.members = Members::below("SET", &[], None);
    let fault = place.fault(Format::Tar, &with(b"SET/0002.PNG", EntryType::Regular, b"x"));
    assert_eq!(fault, Fault::Collision { member: "SET/0002.PNG".into(), other: "SET/0002.png".into() });
}

#[test]
fn long_names_and_records_are_understood() {
    let mut place = Place::new();
    let long = format!("SET/{}/{}.png", "d".repeat(120), "n".repeat(120));
    let mut tar = Builder::new(Vec::new());
    tar.append_pax_extensions([("comment", b"made for a test".as_slice())]).unwrap();
    tar_member(&mut tar, b"pax", EntryType::XGlobalHeader, b"16 comment=test\n");
    let mut header = Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    tar.append_data(&mut header, &long, &b"abc"[..]).unwrap();
    tar.append_pax_extensions([("path", b"./SET/by-pax.png".as_slice())]).unwrap();
    tar_member(&mut tar, b"short", EntryType::Regular, b"pax");
    place.members.rules[0].count = Some(2);
    let unpacked = place.unpack(Format::Tar, &tar.into_inner().unwrap()).unwrap();
    assert_eq!(unpacked.ignored, Ignored { unwanted: 1, ..Ignored::default() });
    place.assert_holds(&vec![(long, b"abc".to_vec()), ("SET/by-pax.png".into(), b"pax".to_vec())]);
}

#[test]
fn a_hostile_long_name_is_refused() {
    let mut tar = Builder::new(Vec::new());
    tar_member(&mut tar, b"././@LongLink", EntryType::GNULongName, b"SET/../../outside.txt");
    tar_member(&mut tar, b"SET/0001.png", EntryType::Regular, b"x");
    let fault = Place::new().fault(Format::Tar, &tar.into_inner().unwrap());
    assert!(matches!(fault, Fault::Hostile { danger: Danger::Parent, .. }), "{fault}");
}

#[test]
fn headers_without_end_are_not_read_into_memory() {
    let mut tar = Builder::new(Vec::new());
    tar_member(&mut tar, b"././@LongLink", EntryType::GNULongName, &vec![b'a'; 3 << 20]);
    tar_member(&mut tar, b"SET/0001.png", EntryType::Regular, b"x");
    let fault = Place::new().fault(Format::Tar, &tar.into_inner().unwrap());
    assert!(matches!(fault, Fault::Limit { limit: 0x10_0000, .. }), "{fault}");
}

#[test]
fn members_that_are_left_out_may_be_large() {
    let mut place = Place::new();
    place.limits.member_bytes = 1000;
    let bytes = with(b"OTHER/large.bin", EntryType::Regular, &vec![7; 3 << 20]);
    let unpacked = place.unpack(Format::Tar, &bytes).unwrap();
    assert_eq!(unpacked.ignored.unwanted, 1);
    place.assert_holds(&images());
}

#[test]
fn sparse_members_and_huge_claims_are_refused() {
    let place = Place::new();
    let mut header = Header::new_gnu();
    header.set_path("SET/0004.png").unwrap();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(0);
    header.as_gnu_mut().unwrap().set_real_size(0);
    header.set_cksum();
    let mut tar = Builder::new(Vec::new());
    tar.append(&header, &b""[..]).unwrap();
    assert!(matches!(place.fault(Format::Tar, &tar.into_inner().unwrap()), Fault::Method { .. }));

    for claim in [1 << 17, 1 << 40, u64::MAX / 2, u64::MAX] {
        let mut header = Header::new_gnu();
        header.set_path("SET/0001.png").unwrap();
        header.set_size(claim);
        header.set_cksum();
        let fault = place.fault(Format::Tar, &[header.as_bytes().as_slice(), &[0; 1024]].concat());
        assert!(
            matches!(fault, Fault::Limit { limit: 65_536, .. } | Fault::NotAnArchive { .. }),
            "{claim}: {fault}"
        );
    }
}

#[test]
fn every_archive_without_its_end_mark_is_refused() {
    let (place, honest) = (Place::new(), honest_tar(&images()));
    // Two blocks of zeros are the end mark; one of them will do.
    let marked = honest.len() - 512;
    for bytes in (0..marked).step_by(37).chain([marked - 512, marked - 1]) {
        place.fault(Format::Tar, &honest[..bytes]);
    }
    let fault = place.fault(Format::Tar, &honest[..marked - 512]);
    assert!(matches!(fault, Fault::Truncated { .. }), "{fault}");
    place.unpack(Format::Tar, &honest[..marked]).unwrap();
}
