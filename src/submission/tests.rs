//! Whole archives: good ones, and one for each fault.

use std::io::{Cursor, Write};
use std::path::Path;

use png::{BitDepth, ColorType};
use proptest::prelude::*;

use super::archive::Archive;
use super::audit::audit;
use super::rawzip::{Entry, archive, crc32};
use super::*;
use crate::fsio;

fn encode(width: u32, height: u32, color: ColorType, depth: BitDepth) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ColorType::Indexed {
        encoder.set_palette(vec![0; 3]);
    }
    let mut writer = encoder.write_header().unwrap();
    let row = (width as usize * color.samples() * depth as usize).div_ceil(8);
    let level = |i: usize| if color == ColorType::Indexed { 0 } else { i as u8 };
    writer.write_image_data(&(0..row * height as usize).map(level).collect::<Vec<u8>>()).unwrap();
    writer.finish().unwrap();
    bytes
}

fn image(width: u32, height: u32) -> Vec<u8> {
    encode(width, height, ColorType::Rgb, BitDepth::Eight)
}

fn readme() -> Readme {
    let description = "IMDN, Rust, one GPU, DIV2K".to_string();
    Readme { runtime_per_image_s: 0.0482, cpu: false, extra_data: false, description }
}

/// Two images and the readme, as entries that tests then spoil.
fn good() -> Vec<Entry> {
    vec![
        Entry::stored("0801.png", &image(8, 12)),
        Entry::stored("0802.png", &image(16, 4)),
        Entry::stored("readme.txt", readme().render().as_bytes()),
    ]
}

/// What the archive of [`good`] should hold, from a folder of LR images.
fn expected() -> expectation::Expected {
    let folder = tempfile::tempdir().unwrap();
    fsio::write(&folder.path().join("0801x4.png"), &image(2, 3)).unwrap();
    fsio::write(&folder.path().join("0802.png"), &image(4, 1)).unwrap();
    Expectation::Lr(folder.path().to_path_buf()).resolve().unwrap()
}

fn report(bytes: &[u8]) -> Report {
    audit(&mut Archive::open(Cursor::new(bytes)).unwrap(), &expected())
}

fn listed(report: &Report) -> String {
    report.findings.iter().map(|f| format!("{} {}: {}\n", f.severity, f.location, f.what)).collect()
}

/// Asserts that spoiled entries are refused with an error that contains `part`.
#[track_caller]
fn refused(bytes: &[u8], part: &str) {
    let report = report(bytes);
    assert!(!report.accepted, "accepted, expected `{part}`");
    let errors = report.findings.iter().filter(|f| f.severity == Severity::Error);
    assert!(
        errors.map(|f| format!("{}: {}", f.location, f.what)).any(|text| text.contains(part)),
        "expected `{part}` in\n{}",
        listed(&report)
    );
}

#[track_caller]
fn spoiled(spoil: impl FnOnce(&mut Vec<Entry>), part: &str) {
    let mut entries = good();
    spoil(&mut entries);
    refused(&archive(&entries), part);
}

#[test]
fn a_good_archive_is_accepted_without_a_word() {
    let report = report(&archive(&good()));
    assert_eq!((report.accepted, listed(&report).as_str()), (true, ""));
    let counts = Counts { members: 3, images_expected: Some(2), images_found: 2, images_sound: 2 };
    assert_eq!((report.counts, report.schema), (counts, 1));
}

#[test]
fn data_descriptors_are_fine() {
    let mut entries = good();
    entries.iter_mut().for_each(|entry| entry.descriptor = true);
    assert_eq!(listed(&report(&archive(&entries))), "");
}

/// Made by Python: `f = zipfile.ZipFile(unseekable, "w"); with f.open("a.png", "w", force_zip64=True) as m: m.write(b"x")`.
const PYTHON_STREAM: &[u8] = b"PK\x03\x04-\x00\x08\x00\x00\x00\x00\x00!\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x05\x00\x14\x00a.png\x01\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00xPK\x07\x08\x83\x16\xdc\x8c\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00PK\x01\x02-\x03-\x00\x08\x00\x00\x00\x00\x00!\x00\x83\x16\xdc\x8c\x01\x00\x00\x00\x01\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x01\x00\x00\x00\x00a.pngPK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x003\x00\x00\x00P\x00\x00\x00\x00\x00";

#[test]
fn zip64_headers_of_streaming_programs_are_read() {
    let mut archive = Archive::open(Cursor::new(PYTHON_STREAM)).unwrap();
    let member = archive.members[0].clone();
    let (problems, extent) = archive.locate(&member).unwrap();
    let extent = extent.unwrap();
    assert!(
        problems.iter().all(|problem| !problem.is_error() && problem.what.contains("zip64")),
        "{problems:?}"
    );
    assert_eq!(archive.layout(&[("a.png".into(), extent)]), (Vec::new(), false));
    assert_eq!(super::contents::unpack(&mut archive, &member, extent).unwrap(), b"x");
}

#[test]
fn deflated_archives_of_common_programs_are_fine() {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for entry in good() {
        zip.start_file(entry.name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&entry.data).unwrap();
    }
    assert_eq!(listed(&report(&zip.finish().unwrap().into_inner())), "");
}

#[test]
fn what_is_packaged_is_accepted_and_the_same_every_time() {
    let images = [("0802".to_string(), image(16, 4)), ("0801".to_string(), image(8, 12))];
    let bytes = package::build(&images, &readme()).unwrap();
    assert_eq!(listed(&report(&bytes)), "");
    let reversed: Vec<_> = images.iter().rev().cloned().collect();
    assert_eq!(package::build(&reversed, &readme()).unwrap(), bytes);
    // Nothing but the inputs decides the bytes, so their hash never changes.
    let constant = package::build(&[("a".to_string(), b"png".to_vec())], &readme()).unwrap();
    assert_eq!(
        fsio::sha256_hex(&constant),
        "98171dd9b0ad6cb600e5ea12e88a3a7b44c8c474e34cfec2ce7adfc9f4c2116e"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("submission.zip");
    let stems = ["0801".to_string(), "0802".to_string()];
    let find = |stem: &str| Ok(images.iter().find(|(name, _)| name == stem).unwrap().1.clone());
    package::write(&path, &stems, &readme(), find).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let sums = format!("{}  submission.zip\n", fsio::sha256_hex(&bytes));
    assert_eq!(package::sha256sums(&path).unwrap(), sums);
    // The order, the date 1980-01-01 and the method are in the first local header.
    assert_eq!(&bytes[8..14], [0, 0, 0, 0, 0x21, 0]);
    assert_eq!(&bytes[30..38], b"0801.png");
    let failing = package::write(&path, &stems, &readme(), |_| Err(std::io::Error::other("no such image")));
    assert!(failing.unwrap_err().to_string().contains("no such image"));
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "a failed write leaves the old archive");
}

#[test]
fn what_would_not_be_accepted_is_not_packaged() {
    let build = |stems: &[&str], readme: &Readme| {
        let images: Vec<_> = stems.iter().map(|stem| (stem.to_string(), image(8, 12))).collect();
        package::build(&images, readme).map(drop).map_err(|error| error.to_string())
    };
    for bad in ["a/b", "..", "", "a\\b", "ü"] {
        assert!(build(&[bad], &readme()).unwrap_err().contains("ASCII"), "{bad}");
    }
    assert!(build(&["a", "A"], &readme()).unwrap_err().contains("two images"));
    assert!(build(&[], &readme()).unwrap_err().contains("no images"));
    assert!(
        build(&["a"], &Readme { runtime_per_image_s: 0.0, ..readme() }).unwrap_err().contains("positive")
    );
    assert!(build(&["a"], &Readme { description: " ".into(), ..readme() }).unwrap_err().contains("empty"));
}

#[test]
fn the_set_of_files_is_exact() {
    spoiled(|e| drop(e.remove(0)), "0801.png: it is missing");
    spoiled(|e| drop(e.remove(2)), "readme.txt: it is missing");
    spoiled(|e| e[2].name = "README.txt".into(), "readme.txt: it is missing");
    spoiled(|e| e[0].name = "0801x4.png".into(), "0801x4.png: it should not be there");
    spoiled(|e| e.push(Entry::stored("notes.md", b"")), "notes.md: it should not be there");
    spoiled(|e| e.push(Entry::stored(".DS_Store", b"")), ".DS_Store: it is litter of macOS");
    spoiled(|e| e.push(Entry::stored("__MACOSX/._0801.png", b"")), "litter of macOS");
    spoiled(Vec::clear, "archive: the archive is empty");
}

#[test]
fn names_stay_in_the_root() {
    for (name, part) in [
        ("results/0801.png", "it is in a folder"),
        ("results/", "it is a folder"),
        ("/0801.png", "absolute"),
        ("C:/0801.png", "absolute"),
        ("../0801.png", "leads out"),
        ("a\\0801.png", "backslash"),
        ("0801\0.png", "differently"),
    ] {
        spoiled(|e| e.push(Entry::stored(name, b"")), part);
    }
    spoiled(|e| e.push(e[0].clone()), "0801.png: it is there 2 times");
    spoiled(|e| e.push(Entry::stored("README.TXT", b"")), "upper and lower case");
}

#[test]
fn only_plain_members_pass() {
    spoiled(|e| e[0].mode = 0o120_777, "symbolic link");
    spoiled(|e| e[0].mode = 0o010_644, "not a plain file");
    spoiled(|e| e[0].flags = 1, "encrypted");
    spoiled(|e| e[0].method = 14, "compression method 14");
}

#[test]
fn both_headers_must_agree() {
    spoiled(|e| e[0].local_name = Some("0899.png".into()), "the local name is `0899.png`");
    spoiled(|e| e[0].local_method = Some(8), "compression method 8 against 0");
    spoiled(|e| e[0].local_flags = Some(1), "flags");
    let mut bytes = archive(&good());
    // The CRC in the first local header alone.
    bytes[14] ^= 1;
    refused(&bytes, "CRC");
    let mut entries = good();
    entries[0].descriptor = true;
    let mut bytes = archive(&entries);
    let at = bytes.windows(4).position(|w| w == b"PK\x07\x08").unwrap();
    bytes[at + 4] ^= 1;
    refused(&bytes, "behind its data");
}

#[test]
fn damaged_data_are_noticed() {
    spoiled(|e| e[0].crc32 ^= 1, "0801.png: it cannot be unpacked");
    spoiled(|e| e[0].size += 1, "0801.png: it cannot be unpacked");
    spoiled(|e| e[0].size -= 1, "0801.png: it cannot be unpacked");
    spoiled(|e| e[0].method = 8, "0801.png: it cannot be unpacked");
}

#[test]
fn nothing_stands_around_the_archive() {
    let good = archive(&good());
    refused(&[b"#!/bin/sh\n".as_slice(), &good].concat(), "stand before the archive");
    refused(&[&good, b"junk".as_slice()].concat(), "4 bytes follow the end record");
    // A whole archive as the comment of another: readers from the front and from the back see different files.
    let mut outer = good.clone();
    let at = outer.len() - 2;
    outer[at..].copy_from_slice(&(good.len() as u16).to_le_bytes());
    refused(&[outer, good.clone()].concat(), "several end records");
    let mut commented = good.clone();
    commented[at] = 2;
    commented.extend(b"hi");
    let report = report(&commented);
    assert!(report.accepted && listed(&report).contains("note archive: the archive has a comment"));
}

#[test]
fn the_end_record_must_count_right() {
    let mut bytes = archive(&good());
    let at = bytes.len() - 22;
    bytes[at + 8] = 2;
    bytes[at + 10] = 2;
    refused(&bytes, "announces 2 members, the directory lists 3");
}

#[test]
fn bombs_are_not_unpacked() {
    spoiled(
        |e| {
            e[0].size = 3 << 30;
            e[0].method = 8;
        },
        "the limit is",
    );
    spoiled(
        |e| {
            e[0].size = 60 << 20;
            e[0].method = 8;
        },
        "times as much",
    );
    let mut entries = good();
    let shared = Entry { shares: Some(0), name: "0803.png".into(), ..entries[0].clone() };
    entries.push(shared);
    refused(&archive(&entries), "share bytes");
    assert!(listed(&report(&archive(&entries))).contains("not unpacked"));
    let many: Vec<Entry> = (0..5000).map(|i| Entry::stored(&format!("{i}"), b"")).collect();
    assert!(Archive::open(Cursor::new(archive(&many))).unwrap_err().contains("4096"));
}

#[test]
fn hidden_bytes_are_noticed() {
    let mut entries = good();
    entries.insert(1, Entry::stored("hidden.exe", b"MZ"));
    let mut bytes = archive(&entries);
    // Take the second record out of the directory, so that its member belongs to nobody.
    let record = b"PK\x01\x02".to_vec();
    let at: Vec<usize> = (0..bytes.len() - 4).filter(|&i| bytes[i..i + 4] == record[..]).collect();
    let removed = at[2] - at[1];
    bytes.drain(at[1]..at[2]);
    let end = bytes.len() - 22;
    bytes[end + 8] = 3;
    bytes[end + 10] = 3;
    let directory_bytes = u32::from_le_bytes(bytes[end + 12..end + 16].try_into().unwrap()) - removed as u32;
    bytes[end + 12..end + 16].copy_from_slice(&directory_bytes.to_le_bytes());
    let report = report(&bytes);
    assert!(report.accepted);
    assert!(listed(&report).contains("warning archive: 42 bytes between members"), "{}", listed(&report));
}

#[test]
fn images_are_checked_to_the_last_row() {
    let with = |bytes: Vec<u8>, part: &str| spoiled(|e| e[0] = Entry::stored("0801.png", &bytes), part);
    with(image(8, 8), "8x8 pixels, expected 8x12");
    with(encode(8, 12, ColorType::Rgba, BitDepth::Eight), "8-bit RGB with alpha");
    with(encode(8, 12, ColorType::Grayscale, BitDepth::Eight), "8-bit grey");
    with(encode(8, 12, ColorType::Rgb, BitDepth::Sixteen), "16-bit RGB");
    with(encode(8, 12, ColorType::Indexed, BitDepth::Eight), "8-bit palette");
    with(b"GIF89a".to_vec(), "not a PNG image");
    with(Vec::new(), "not a PNG image");
    let whole = image(8, 12);
    with(whole[..whole.len() - 14].to_vec(), "does not decode");
    with(whole[..whole.len() - 12].to_vec(), "does not decode");
    // A header that promises 10 gigapixels.
    let mut huge = whole.clone();
    huge[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
    let crc = crc32(&huge[12..29]).to_be_bytes();
    huge[29..33].copy_from_slice(&crc);
    with(huge, "it was not decoded");
    let mut longer = whole;
    longer.push(0);
    let mut entries = good();
    entries[0] = Entry::stored("0801.png", &longer);
    let report = report(&archive(&entries));
    assert!(
        report.accepted && listed(&report).contains("warning 0801.png: bytes follow the end"),
        "{}",
        listed(&report)
    );
}

#[test]
fn the_readme_is_checked() {
    let with = |text: &[u8], part: &str| spoiled(|e| e[2] = Entry::stored("readme.txt", text), part);
    with(b"\xff\xfe", "not UTF-8");
    with(b"hello", "readme.txt: the line `runtime per image [s] : …` is missing");
    with(&vec![b' '; 70_000], "the limit is 65536");
}

#[test]
fn phases_have_their_official_names() {
    let names: Vec<String> = Phase::Validation.stems().collect();
    assert_eq!((names.len(), names[0].as_str(), names[99].as_str()), (100, "0801", "0900"));
    let names: Vec<String> = Phase::Test.stems().collect();
    assert_eq!((names.len(), names[0].as_str(), names[99].as_str()), (100, "0901", "1000"));
    let expected = Expectation::Phase(Phase::Validation).resolve().unwrap();
    let report = audit(&mut Archive::open(Cursor::new(archive(&good()))).unwrap(), &expected);
    assert_eq!(report.findings.iter().filter(|f| f.what == "it is missing").count(), 98);
    assert!(listed(&report).contains("note archive: sizes were only checked"));
}

#[test]
fn without_an_expectation_the_report_says_so() {
    let check = |entries: &[Entry]| {
        let expected = Expectation::Unknown.resolve().unwrap();
        audit(&mut Archive::open(Cursor::new(archive(entries))).unwrap(), &expected)
    };
    let report = check(&good());
    assert!(report.accepted && listed(&report).contains("was not checked"));
    assert_eq!(report.counts.images_expected, None);
    let mut entries = good();
    entries[0] = Entry::stored("0801.png", &image(7, 8));
    assert!(listed(&check(&entries)).contains("not multiples of 4"));
    assert!(listed(&check(&entries[2..])).contains("no images"));
}

#[test]
fn the_lr_folder_must_be_clear() {
    let folder = tempfile::tempdir().unwrap();
    let resolve =
        || Expectation::Lr(folder.path().to_path_buf()).resolve().map_err(|error| error.to_string());
    assert!(resolve().unwrap_err().contains("holds no PNG or BMP image"));
    fsio::write(&folder.path().join("0801x4.png"), &image(2, 3)).unwrap();
    fsio::write(&folder.path().join("list.txt"), b"").unwrap();
    assert_eq!(resolve().unwrap().problems.len(), 1);
    fsio::write(&folder.path().join("0801.png"), &image(2, 3)).unwrap();
    assert!(resolve().unwrap_err().contains("same result name"));
    let absent = Expectation::Lr(folder.path().join("absent"));
    assert!(matches!(absent.resolve(), Err(Error::Lr(_))));
}

/// The set is the one that `esr upscale` works on, so both formats and any case of the extension count.
#[test]
fn bmp_images_are_expected_too() {
    let folder = tempfile::tempdir().unwrap();
    fsio::write(&folder.path().join("0801x4.png"), &image(2, 3)).unwrap();
    // The smallest BMP: both headers, then 2 bottom-up rows of 1 pixel, padded to 4 bytes.
    let mut bmp = b"BM".to_vec();
    for field in [62u32, 0, 54, 40, 1, 2, 24 << 16 | 1, 0, 8, 0, 0, 0, 0] {
        bmp.extend(field.to_le_bytes());
    }
    bmp.extend([0; 8]);
    fsio::write(&folder.path().join("babyx4.BMP"), &bmp).unwrap();
    let expected = Expectation::Lr(folder.path().to_path_buf()).resolve().unwrap();
    let images: Vec<_> = expected.images.unwrap().into_iter().collect();
    assert_eq!(images, [("0801.png".to_owned(), Some((8, 12))), ("baby.png".to_owned(), Some((4, 8)))]);
    assert!(expected.problems.is_empty());
    fsio::write(&folder.path().join("broken.bmp"), b"BM").unwrap();
    let message = Expectation::Lr(folder.path().to_path_buf()).resolve().unwrap_err().to_string();
    assert!(message.contains("broken.bmp"), "{message}");
}

#[test]
fn what_is_no_archive_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let open = |content: &[u8]| {
        let path = folder.path().join("s.zip");
        fsio::write(&path, content).unwrap();
        validate(&path, &Expectation::Unknown).unwrap_err().to_string()
    };
    assert!(open(b"").contains("no end record"));
    assert!(open(b"hello").contains("no end record"));
    let whole = archive(&good());
    assert!(open(&whole[..whole.len() - 1]).contains("no end record"));
    assert!(open(&whole[100..]).contains("truncated or damaged"));
    assert!(validate(folder.path(), &Expectation::Unknown).unwrap_err().to_string().contains("a folder"));
    assert!(matches!(validate(Path::new("/nowhere/s.zip"), &Expectation::Unknown), Err(Error::File(_))));
}

#[test]
fn the_json_form_is_the_promised_one() {
    let mut entries = good();
    entries.remove(0);
    let json = serde_json::to_value(report(&archive(&entries))).unwrap();
    assert_eq!((&json["schema"], &json["accepted"]), (&1.into(), &false.into()));
    let finding = serde_json::json!({
        "severity": "error", "where": "0801.png", "what": "it is missing", "fix": "add the result for this image"
    });
    assert_eq!(json["findings"], serde_json::json!([finding]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    /// No damage panics or hangs the audit, and an accepted archive still has its two sound images.
    #[test]
    fn mutated_archives_are_audited_or_refused(
        descriptor: bool,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut entries = good();
        entries[0].descriptor = descriptor;
        entries[1].method = if descriptor { 0 } else { 8 };
        let mut bytes = archive(&entries);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let images = ["0801.png", "0802.png"].map(|name| (name.to_string(), None));
        let expected = expectation::Expected { images: Some(images.into()), problems: Vec::new() };
        if let Ok(mut archive) = Archive::open(Cursor::new(bytes.as_slice())) {
            let report = audit(&mut archive, &expected);
            prop_assert!(!report.accepted || report.counts.images_sound == 2);
        }
    }
}
