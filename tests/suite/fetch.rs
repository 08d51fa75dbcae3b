//! `esr fetch` from end to end: an archive of three images, in a folder or behind a server on this machine.

use std::io::{Cursor, Read, Write};
use std::net::TcpListener;

use esr::fetch::{Fingerprint, Found};

use crate::place::Place;

const LIST: &str = r#"schema = 1

[evidence]
test = "this test"

[terms.free]
summary = "made by a test"
source = "the test"

[[archive]]
file = "three.zip"
format = "zip"
urls = ["URL"]
bytes = BYTES
sha256 = "SHA256"
md5 = "MD5"
evidence = { urls = ["test"], bytes = ["test"], sha256 = ["test"], md5 = ["test"] }

[[dataset]]
name = "three"
title = "three images"
split = "valid"
role = { kind = "hr" }
folder = "Three/HR"
files = { kind = "numbered", pattern = "{:04}.png", first = 1, last = 3 }
terms = "free"

[[dataset.source]]
kind = "archive"
archive = "three.zip"
prefix = "three"
likeness = "bytes"
evidence = { layout = ["test"] }
"#;

pub(crate) const FETCHED: &str = "three  fetched: 3 files, verified (published hash of what was fetched)\n";

fn png(seed: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 2);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&[seed; 12]).unwrap();
    bytes
}

pub(crate) fn archive() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for number in 1..=3 {
        zip.start_file(format!("three/{number:04}.png"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&png(number)).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn found(bytes: &[u8]) -> Found {
    let mut fingerprint = Fingerprint::default();
    fingerprint.update(bytes);
    fingerprint.finish()
}

/// Writes `list.toml`, whose archive is at `url` and has the hashes of `bytes`.
pub(crate) fn list(place: &Place, url: &str, bytes: &[u8]) {
    let Found { bytes, sha256, md5 } = found(bytes);
    let list = LIST.replace("URL", url).replace("SHA256", &sha256).replace("MD5", &md5);
    place.write("list.toml", list.replace("BYTES", &bytes.to_string()).as_bytes());
}

/// Serves `body` to every request, for as long as the test runs.
fn serve(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/three.zip", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4096];
            // Only the head matters, and it is short.
            let _ = stream.read(&mut request);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    url
}

#[test]
fn an_archive_in_a_folder_is_checked_unpacked_and_left_alone() {
    let (place, archive) = (Place::new(), archive());
    list(&place, "https://example.org/three.zip", &archive);
    place.write("given/three.zip", &archive);
    let fetch = "fetch three --manifest list.toml --offline --from given";
    assert_eq!(place.esr(fetch).ok(), FETCHED);
    assert_eq!(place.bytes("data/Three/HR/0002.png"), png(2));
    assert_eq!(place.bytes("given/three.zip"), archive);
    assert_eq!(place.esr(fetch).ok(), "three  here\n");
    assert!(place.esr("fetch --manifest list.toml --list").ok().contains("three  here"));
    let verify = "fetch --manifest list.toml --verify";
    assert!(place.esr(verify).ok().contains("3 files"));
    place.damage("data/Three/HR/0002.png");
    let ran = place.esr(verify);
    assert_eq!((ran.code, ran.stdout.as_str()), (4, "three  NOT SOUND\n"), "{ran:?}");
    assert!(ran.stderr.contains("0002.png"), "{ran:?}");
}

#[test]
fn what_comes_from_a_server_is_right_or_absent() {
    let (place, archive) = (Place::new(), archive());
    let url = serve(archive.clone());
    list(&place, &url, b"something else");
    let fetch = "fetch three --manifest list.toml";
    let ran = place.esr(fetch);
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{ran:?}");
    assert!(!place.path("data/Three").exists() && !place.path("data/archives/three.zip").exists());
    list(&place, &url, &archive);
    assert_eq!(place.esr(fetch).ok(), FETCHED);
    assert_eq!(place.bytes("data/Three/HR/0003.png"), png(3));
    assert!(!place.path("data/archives/three.zip").exists(), "an unpacked archive is only in the way");
}

#[test]
fn a_death_while_unpacking_leaves_nothing_half_done() {
    let (place, archive) = (Place::new(), archive());
    list(&place, "https://example.org/three.zip", &archive);
    place.write("given/three.zip", &archive);
    let fetch = "fetch three --manifest list.toml --offline --from given";
    for point in ["unpack-member", "unpack-before-rename", "unpack-before-marker"] {
        place.killed_at(point, fetch);
        assert_ne!(place.esr("fetch --manifest list.toml --verify three").ok(), FETCHED);
        assert!(!place.path("data/Three/HR/.esr-complete.json").exists(), "{point}");
    }
    assert_eq!(place.esr(fetch).ok(), FETCHED);
}

#[test]
fn without_network_the_way_out_is_named() {
    let (place, archive) = (Place::new(), archive());
    list(&place, "https://example.org/three.zip", &archive);
    let ran = place.esr("fetch three --manifest list.toml --offline");
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        ran.stderr.contains("--from DIR") && ran.stderr.contains("https://example.org/three.zip"),
        "{ran:?}"
    );
}

/// Three images as somebody else has them.
fn unpacked(place: &Place, folder: &str) {
    for number in 1..=3 {
        place.write(&format!("{folder}/{number:04}.png"), &png(number));
    }
}

#[test]
fn an_unpacked_folder_is_linked_to_remembered_and_never_changed() {
    let (place, archive) = (Place::new(), archive());
    list(&place, "https://example.org/three.zip", &archive);
    unpacked(&place, "theirs/old/three");
    let fetch = "fetch three --manifest list.toml --offline --from theirs";
    let found = "three  found as it is: 3 files, not verified as a whole (pinned: nobody published a hash)\n";
    assert_eq!(place.esr(fetch).ok(), found);
    let link = std::fs::read_link(place.path("data/Three/HR")).unwrap();
    assert_eq!(link, std::fs::canonicalize(place.path("theirs/old/three")).unwrap());
    assert_eq!(place.bytes("data/Three/HR/0002.png"), png(2));
    assert_eq!(place.esr(fetch).ok(), "three  here\n");
    let verify = "fetch --manifest list.toml --verify three";
    assert!(place.esr(verify).ok().contains("pinned: nobody published a hash, unchanged since 20"));
    // Of the right size, and a sound image: only the record tells.
    place.write("theirs/old/three/0002.png", &png(9));
    let ran = place.esr(verify);
    assert_eq!((ran.code, ran.stdout.as_str()), (4, "three  NOT SOUND\n"), "{ran:?}");
    let repair = place.esr("fetch three --manifest list.toml --offline --repair");
    assert_eq!((repair.code, repair.stdout.as_str()), (4, ""), "{repair:?}");
    assert!(repair.stderr.contains("not put there by esr"), "{repair:?}");
    assert_eq!(place.bytes("theirs/old/three/0002.png"), png(9));
    assert_eq!(std::fs::read_dir(place.path("theirs/old/three")).unwrap().count(), 3);
    std::fs::rename(place.path("theirs"), place.path("gone")).unwrap();
    let ran = place.esr(fetch);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains("where nothing is any more"), "{ran:?}");
}

#[test]
fn a_folder_that_only_looks_right_is_not_taken() {
    let (place, archive) = (Place::new(), archive());
    list(&place, "https://example.org/three.zip", &archive);
    unpacked(&place, "theirs/three");
    let known = "[[dataset.known]]\nname = \"0002.png\"\nwidth = 5\nheight = 5\nevidence = [\"test\"]\n";
    let text = String::from_utf8(place.bytes("list.toml")).unwrap() + known;
    place.write("list.toml", text.as_bytes());
    let ran = place.esr("fetch three --manifest list.toml --offline --from theirs");
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains("is not taken") && ran.stderr.contains("0002.png"), "{ran:?}");
    assert!(!place.path("data/Three").exists());
}

#[test]
fn only_what_is_wrong_is_fetched_again() {
    let (place, archive) = (Place::new(), archive());
    list(&place, "https://example.org/three.zip", &archive);
    place.write("given/three.zip", &archive);
    let given = "--manifest list.toml --offline --from given";
    let fetch = format!("fetch three {given}");
    assert_eq!(place.esr(&fetch).ok(), FETCHED);
    let repair = format!("fetch --repair {given}");
    let sound =
        "three  needs no repair: 3 files, verified (published hash of what was fetched, unchanged since 20";
    assert!(place.esr(&repair).ok().starts_with(sound));
    place.write("data/Three/HR/0002.png", &png(9));
    std::fs::remove_file(place.path("data/Three/HR/0003.png")).unwrap();
    let untouched = std::fs::metadata(place.path("data/Three/HR/0001.png")).unwrap().modified().unwrap();
    // Without the archive nothing can be done, and nothing is lost.
    let ran = place.esr("fetch --repair --manifest list.toml --offline");
    assert_eq!((ran.code, ran.stdout.as_str()), (5, ""), "{ran:?}");
    assert_eq!(
        (place.bytes("data/Three/HR/0001.png"), place.bytes("data/Three/HR/0002.png")),
        (png(1), png(9))
    );
    assert!(place.esr(&repair).ok().starts_with("three  repaired, 2 files fetched again: 3 files, verified"));
    assert_eq!(
        (place.bytes("data/Three/HR/0002.png"), place.bytes("data/Three/HR/0003.png")),
        (png(2), png(3))
    );
    let after = std::fs::metadata(place.path("data/Three/HR/0001.png")).unwrap().modified().unwrap();
    assert_eq!(after, untouched);
    assert!(place.esr("fetch --verify --manifest list.toml").ok().contains("3 files, verified"));
}

const PAIRS: &str = r#"schema = 1

[evidence]
test = "this test"

[terms.free]
summary = "made by a test"
source = "the test"

[[dataset]]
name = "hr"
title = "two images"
split = "valid"
role = { kind = "hr" }
folder = "Two/HR"
files = { kind = "numbered", pattern = "{:04}.png", first = 1, last = 2 }
terms = "free"

[[dataset.source]]
kind = "loose"
urls = ["https://example.org/{:04}.png"]
likeness = "unstated"
evidence = { layout = ["test"] }

[[dataset]]
name = "lr"
title = "the same, shrunk"
split = "valid"
role = { kind = "lr", scale = 4, hr = "hr" }
folder = "Two/LR/X4"
files = { kind = "numbered", pattern = "{:04}x4.png", first = 1, last = 2 }
terms = "free"

[[dataset.source]]
kind = "loose"
urls = ["https://example.org/{:04}x4.png"]
likeness = "unstated"
evidence = { layout = ["test"] }
"#;

#[test]
fn lr_images_are_compared_with_what_they_are_made_of() {
    let place = Place::new();
    place.write("list.toml", PAIRS.as_bytes());
    for number in 1..=2 {
        place.pair("theirs", &format!("{number:04}"), 48, 36 + 4 * number);
    }
    std::fs::create_dir_all(place.path("theirs/Two/LR")).unwrap();
    std::fs::rename(place.path("theirs/HR"), place.path("theirs/Two/HR")).unwrap();
    std::fs::rename(place.path("theirs/LR"), place.path("theirs/Two/LR/X4")).unwrap();
    let pinned = "found as it is: 2 files, not verified as a whole (pinned: nobody published a hash)";
    let fetch = "fetch hr lr --manifest list.toml --offline --from theirs";
    assert_eq!(place.esr(fetch).ok(), format!("hr  {pinned}\nlr  {pinned}\n"));
    let verify = "fetch --verify --manifest list.toml";
    let told = place.esr(verify).ok();
    let compared = "    with hr: 2 pairs of matching sizes; 2 of 2 sampled LR images equal our bicubic shrink bit for bit with mirrored borders\n";
    assert!(told.contains(compared), "{told}");
    let record = String::from_utf8(place.bytes("data/records/lr.json")).unwrap();
    assert!(record.contains("\"border\": \"mirror\""), "{record}");
    // The same again says the same, and changes nothing.
    assert_eq!(place.esr(verify).ok(), told);
    assert_eq!(place.bytes("data/records/lr.json"), record.as_bytes());
    // Images of another set, recorded anew: each is sound, and together they are none.
    std::fs::copy(place.path("theirs/Two/LR/X4/0001x4.png"), place.path("theirs/Two/LR/X4/0002x4.png"))
        .unwrap();
    std::fs::remove_file(place.path("data/records/lr.json")).unwrap();
    place.esr(fetch).ok();
    let ran = place.esr(verify);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stdout.contains("with hr: NOT SOUND") && ran.stderr.contains("0002x4.png"), "{ran:?}");
}

#[test]
fn loose_files_may_come_from_a_folder_too_and_offline_the_best_source_is_named_once() {
    let place = Place::new();
    let second = "[[dataset.source]]\nkind = \"loose\"\nurls = [\"https://example.com/{:04}.png\"]\nlikeness = \"unstated\"\nevidence = { layout = [\"test\"] }\n";
    let list =
        PAIRS.replacen("[[dataset]]\nname = \"lr\"", &format!("{second}\n[[dataset]]\nname = \"lr\""), 1);
    place.write("list.toml", list.as_bytes());
    let ran = place.esr("fetch hr --manifest list.toml --offline");
    let told = ran.fails(5);
    assert_eq!(told.matches("is not here").count(), 1, "{told}");
    assert!(
        told.contains("https://example.org/0001.png") && told.ends_with("esr fetch hr --from DIR\n"),
        "{told}"
    );
    for number in 1..=2 {
        place.write(&format!("given/{number:04}.png"), &png(number));
    }
    let told = place.esr("fetch hr --manifest list.toml --offline --from given").ok();
    assert_eq!(told, "hr  fetched: 2 files, not verified as a whole (pinned: nobody published a hash)\n");
    assert_eq!(place.bytes("data/Two/HR/0002.png"), png(2));
    assert_eq!(
        place.esr("fetch --verify --manifest list.toml --data other").ok(),
        "nothing is here: `other` holds none of the listed datasets\n"
    );
}
