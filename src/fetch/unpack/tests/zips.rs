//! Zip files that lie.

use super::super::{Danger, Fault, Format, Ignored, Members};
use super::archives::{Entry, honest_zip, images, noise, zip_of};
use super::place::Place;

fn three() -> Vec<Entry> {
    images().iter().map(|(name, bytes)| Entry::stored(name, bytes)).collect()
}

/// The fault of an archive whose second member was changed.
#[track_caller]
fn fault_of(change: impl FnOnce(&mut Entry)) -> Fault {
    let mut entries = three();
    change(&mut entries[1]);
    Place::new().fault(Format::Zip, &zip_of(&entries))
}

#[test]
fn the_writer_of_these_tests_is_honest_if_wanted() {
    let place = Place::new();
    let mut entries = three();
    entries[1] = Entry::deflated("SET/0002.png", &images()[1].1);
    // Sizes and CRC behind the data.
    entries[2].flags = 8;
    place.unpack(Format::Zip, &zip_of(&entries)).unwrap();
    place.assert_holds(&images());
}

#[test]
fn hostile_names_and_kinds_are_refused_wherever_they_are() {
    for (name, danger) in [
        ("/etc/cron.d/x", Danger::Absolute),
        ("../outside.txt", Danger::Parent),
        ("SET/../../outside.txt", Danger::Parent),
        ("SET\\..\\outside.txt", Danger::Backslash),
        ("C:outside.txt", Danger::Colon),
        ("SET/a\0.png", Danger::Control),
        ("SET//0004.png", Danger::EmptyPart),
        ("", Danger::EmptyPart),
        ("SET/.esr-complete.json", Danger::Reserved),
    ] {
        let mut entries = three();
        entries.push(Entry::stored(name, b"x"));
        let fault = Place::new().fault(Format::Zip, &zip_of(&entries));
        assert!(
            matches!(fault, Fault::Hostile { danger: found, .. } if found == danger),
            "{name:?}: {fault}"
        );
    }
    for (mode, danger) in [
        (0o120_777, Danger::Link),
        (0o010_644, Danger::Special),
        (0o020_644, Danger::Special),
        (0o060_644, Danger::Special),
        (0o140_644, Danger::Special),
    ] {
        let fault = fault_of(|entry| entry.mode = mode);
        assert_eq!(fault, Fault::Hostile { member: "SET/0002.png".into(), danger });
    }
}

#[test]
fn collisions_are_refused() {
    for name in ["SET/0001.png", "SET/0001.PNG", "SET/0001.png/0001.png"] {
        let mut place = Place::new();
        place.members = Members::below("SET", &[], None);
        let mut entries = three();
        entries.push(Entry::stored(name, b"other"));
        let fault = place.fault(Format::Zip, &zip_of(&entries));
        assert_eq!(fault, Fault::Collision { member: name.into(), other: "SET/0001.png".into() });
    }
}

#[test]
fn contradictions_are_refused() {
    let crc = Fault::Crc { member: "SET/0002.png".into() };
    assert_eq!(fault_of(|entry| entry.crc32 ^= 1), crc);
    assert_eq!(fault_of(|entry| entry.data[7] ^= 1), crc);
    let data = images()[1].1.clone();
    assert_eq!(fault_of(|entry| *entry = Entry { crc32: 7, ..Entry::deflated("SET/0002.png", &data) }), crc);
    let what = |fault| match fault {
        Fault::Disagree { what, .. } => what,
        other => panic!("{other}"),
    };
    assert_eq!(what(fault_of(|entry| entry.local_crc32 = Some(7))), "CRC-32");
    assert_eq!(what(fault_of(|entry| entry.local_size = Some(7))), "size");
    assert_eq!(what(fault_of(|entry| entry.local_name = Some(b"SET/0009.png".to_vec()))), "name");
    assert_eq!(what(fault_of(|entry| entry.local_method = Some(8))), "method");
    for (name, size) in [("longer", 239), ("shorter", 241)] {
        let fault = fault_of(|entry| entry.size = size);
        assert!(matches!(fault, Fault::Size { .. }), "stored, {name}: {fault}");
    }
    let fault = fault_of(|entry| *entry = Entry { size: 239, ..Entry::deflated("SET/0002.png", &data) });
    assert!(matches!(fault, Fault::Size { expected_bytes: 239, .. }), "{fault}");
    let fault = fault_of(|entry| *entry = Entry { size: 241, ..Entry::deflated("SET/0002.png", &data) });
    assert!(matches!(fault, Fault::Size { expected_bytes: 241, .. }), "{fault}");
    let fault = fault_of(|entry| {
        *entry = Entry::deflated("SET/0002.png", &data);
        entry.data[0] = 7;
    });
    assert!(matches!(fault, Fault::Damaged { .. }), "{fault}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let member = || "SET/0002.png".to_owned();
    for flags in [1, 1 | 1 << 6, 1 << 13] {
        assert_eq!(fault_of(|entry| entry.flags = flags), Fault::Encrypted { member: member() });
    }
    for (method, name) in [(9, "Deflate64 (method 9)"), (93, "Zstandard (method 93)"), (77, "method 77")] {
        assert_eq!(
            fault_of(|entry| entry.method = method),
            Fault::Method { member: member(), method: name.into() }
        );
    }
}

#[test]
fn members_that_share_bytes_are_refused() {
    let mut entries = three();
    // The directory names one local header twice; the names differ, so that is found first.
    entries.push(Entry { shares: Some(2), ..Entry::stored("SET/0004.png", &images()[2].1) });
    let fault = Place::new().fault(Format::Zip, &zip_of(&entries));
    assert!(matches!(fault, Fault::Disagree { what: "name", .. }), "{fault}");
    // A whole member within the data of another one.
    let inner = zip_of(&[Entry::stored("SET/0002.png", b"inner")]);
    let header = &inner[..30 + 12 + 5];
    let mut entries = vec![Entry::stored("SET/0001.png", header), Entry::stored("SET/0002.png", b"inner")];
    entries[1].shares = Some(0);
    let mut zip = zip_of(&entries);
    let at = zip.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
    zip[at + 42] = 30 + 12;
    let mut place = Place::new();
    place.members.rules[0].count = None;
    let fault = place.fault(Format::Zip, &zip);
    assert_eq!(fault, Fault::Overlap { member: "SET/0002.png".into(), other: "SET/0001.png".into() });
}

#[test]
fn bytes_that_belong_to_nobody_are_refused() {
    let (place, honest) = (Place::new(), honest_zip(&images()));
    let other = zip_of(&[Entry::stored("SET/0001.png", b"other")]);
    let mut commented = honest.clone();
    let end = commented.len();
    commented.splice(end - 2.., (other.len() as u16).to_le_bytes());
    for (what, bytes) in [
        ("bytes before it", [b"MZ program", honest.as_slice()].concat()),
        ("bytes behind it", [honest.as_slice(), b"\n"].concat()),
        ("another archive before it", [other.as_slice(), &honest].concat()),
        ("another archive as comment", [commented.as_slice(), &other].concat()),
    ] {
        let fault = place.fault(Format::Zip, &bytes);
        assert!(matches!(fault, Fault::Misplaced { .. }), "{what}: {fault}");
    }
    // An honest comment is none of these.
    let mut zip = honest.clone();
    zip.splice(end - 2.., *b"\x05\0hello");
    place.unpack(Format::Zip, &zip).unwrap();
    place.assert_holds(&images());
}

#[test]
fn every_shorter_archive_is_refused() {
    let (place, honest) = (Place::new(), honest_zip(&images()));
    for bytes in 0..honest.len() {
        place.fault(Format::Zip, &honest[..bytes]);
    }
    let fault = place.fault(Format::Zip, &honest[..honest.len() / 2]);
    assert!(matches!(fault, Fault::Truncated { .. }), "{fault}");
}

#[test]
fn claims_are_limited_before_anything_is_written() {
    let mut place = Place::new();
    let huge = |size: u32, data: &[u8]| {
        let mut entries = three();
        entries[1] = Entry { size, ..Entry::deflated("SET/0002.png", data) };
        zip_of(&entries)
    };
    let fault = place.fault(Format::Zip, &huge(u32::MAX - 1, b"x"));
    assert!(matches!(fault, Fault::Limit { limit: 65_536, found: 0xffff_fffe, .. }), "{fault}");
    place.limits.member_bytes = u64::MAX;
    let fault = place.fault(Format::Zip, &huge(u32::MAX - 1, b"x"));
    assert!(matches!(fault, Fault::Limit { limit: 0x10_0000, .. }), "{fault}");
    place.limits.total_bytes = u64::MAX;
    let fault = place.fault(Format::Zip, &huge(u32::MAX - 1, b"x"));
    assert!(matches!(&fault, Fault::Limit { limit: 100, what, .. } if what.contains("ratio")), "{fault}");
    place.limits.ratio = u64::MAX;
    let fault = place.fault(Format::Zip, &huge(3 << 20, b"x"));
    assert!(matches!(fault, Fault::Crc { .. } | Fault::Size { .. }), "{fault}");
    place.limits.name_bytes = 11;
    let fault = place.fault(Format::Zip, &zip_of(&three()));
    assert!(matches!(fault, Fault::Limit { limit: 11, found: 12, .. }), "{fault}");
    // A directory that claims more members than the archive has room for.
    let mut zip = zip_of(&three());
    let end = zip.len();
    zip[end - 14..end - 10].fill(0xfe);
    place.limits.name_bytes = 100;
    place.limits.members = 1000;
    assert!(matches!(place.fault(Format::Zip, &zip), Fault::Limit { limit: 1000, found: 65_278, .. }));
}

#[test]
fn many_members_need_the_64_bit_records() {
    let mut entries: Vec<Entry> = (0..66_000).map(|n| Entry::stored(format!("OTHER/{n}"), b"")).collect();
    entries.extend(three());
    let files = entries.len() as u64;
    // The honest library writes these records; the byte-wise writer of these tests does not.
    let mut zip = ::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for entry in &entries {
        let name = String::from_utf8(entry.name.clone()).unwrap();
        zip.start_file(name, ::zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, &entry.data).unwrap();
    }
    let bytes = zip.finish().unwrap().into_inner();
    let mut place = Place::new();
    let unpacked = place.unpack(Format::Zip, &bytes).unwrap();
    assert_eq!(unpacked.ignored, Ignored { unwanted: 66_000, ..Ignored::default() });
    place.assert_holds(&images());
    place = Place::new();
    place.limits.members = files - 1;
    assert!(matches!(place.fault(Format::Zip, &bytes), Fault::Limit { found, .. } if found == files));
}

#[test]
fn larger_members_go_through_all_buffers() {
    let files: Vec<_> =
        (1..=3u64).map(|n| (format!("SET/{n}.png"), noise(700_000 + n as usize, n))).collect();
    let mut place = Place::new();
    place.limits.total_bytes = 4 << 20;
    place.limits.member_bytes = 1 << 20;
    let unpacked = place.unpack(Format::Zip, &honest_zip(&files)).unwrap();
    assert_eq!((unpacked.files, unpacked.bytes), (3, 2_100_006));
    place.assert_holds(&files);
}
