use super::*;
use crate::manifest::datasets::Datasets;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The members of a dataset of the list built in.
fn members(name: &str) -> Members {
    Datasets::built_in().unwrap().dataset(name).unwrap().members.clone()
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn report(folder: &Path, members: &Members, facts: &[FileFacts], decode: Decode<'_>) -> Report {
    inspect(folder, Wanted { members, facts, decode }, &go_on).unwrap()
}

/// "Images" of tests are texts like `2x1:abcdef`; whatever has no colon is damaged.
fn decoder(path: &Path) -> Result<Pixels, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let (size, pixels) = text.split_once(':').ok_or("no colon")?;
    let (width, height) = size.split_once('x').ok_or("no size")?;
    let side = |text: &str| text.parse().map_err(|_| "no number".to_owned());
    let sha256 = fsio::sha256_hex(format!("{size}:RGB:{pixels}").as_bytes());
    Ok(Pixels { width: side(width)?, height: side(height)?, sha256 })
}

fn set5() -> Vec<(&'static str, &'static str)> {
    vec![
        ("head.png", "four"),
        ("baby.png", "one"),
        ("butterfly.png", "three"),
        ("bird.png", "two"),
        ("woman.png", ""),
    ]
}

#[test]
fn the_whole_folder_has_the_published_recipe() {
    // Made by:
    //   from hashlib import md5, sha256
    //   files = dict(zip("baby bird butterfly head woman".split(), [b"one", b"two", b"three", b"four", b""]))
    //   print(*(h("".join(h(files[name]).hexdigest() for name in sorted(files)).encode()).hexdigest() for h in (md5, sha256)))
    let folder = folder(&set5());
    let report = report(folder.path(), &members("set5-hr"), &[], Decode::Nothing);
    assert!(report.is_sound() && report.surplus.is_empty());
    let whole = report.whole().unwrap();
    assert_eq!(whole.bytes, 15);
    assert_eq!(whole.md5, "1007e633b060a53fa9e575f0004c018f");
    assert_eq!(whole.sha256, "b2052c46febcd0181beedaba4d00df9609ffeb799051d1272709824039748fce");
    let names: Vec<&str> = report.files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["baby.png", "bird.png", "butterfly.png", "head.png", "woman.png"]);
}

#[test]
fn what_does_not_belong_there_is_listed_and_changes_nothing() {
    let plain = folder(&set5());
    let littered = folder(&set5());
    for name in ["Thumbs.db", ".esr-complete.json", "a.PNG"] {
        fs::write(littered.path().join(name), "x").unwrap();
    }
    fs::create_dir(littered.path().join("folder.png")).unwrap();
    let members = members("set5-hr");
    let littered = report(littered.path(), &members, &[], Decode::Nothing);
    assert_eq!(littered.surplus, [".esr-complete.json", "Thumbs.db", "a.PNG", "folder.png"]);
    assert!(littered.is_sound());
    assert_eq!(littered.whole(), report(plain.path(), &members, &[], Decode::Nothing).whole());
}

#[test]
fn too_few_and_too_many_files_of_unknown_names() {
    let members = members("set5-hr");
    for change in [-1, 1] {
        let folder = folder(&set5());
        if change < 0 {
            fs::remove_file(folder.path().join("baby.png")).unwrap();
        } else {
            fs::write(folder.path().join("sixth.png"), "x").unwrap();
        }
        let report = report(folder.path(), &members, &[], Decode::Nothing);
        assert_eq!((report.count.found as i32, report.count.expected), (5 + change, 5));
        assert!(!report.is_sound() && report.whole().is_none());
    }
}

#[test]
fn missing_different_and_undecodable_files_are_told_apart() {
    let facts = |name: &str, text: &str| FileFacts {
        name: name.into(),
        bytes: Some(text.len() as u64),
        sha256: Some(fsio::sha256_hex(text.as_bytes())),
        width_height: Some((2, 1)),
        pixels_sha256: Some(fsio::sha256_hex(format!("2x1:RGB:{}", &text[4..]).as_bytes())),
        ..FileFacts::default()
    };
    let pixels_only = |name: &str, text: &str| FileFacts { bytes: None, sha256: None, ..facts(name, text) };
    let known = [
        facts("0801.png", "2x1:abcdef"),
        facts("0802.png", "2x1:abcdef"),
        facts("0803.png", "2x1:abcdef"),
        pixels_only("0804.png", "2x1:abcdef"),
        pixels_only("0805.png", "2x1:abcdef"),
        pixels_only("0806.png", "2x1:abcdef"),
        facts("0807.png", "2x1:abcdef"),
    ];
    let folder = folder(&[
        ("0801.png", "2x1:abcdef"),
        ("0802.png", "2x1:abc"),
        ("0803.png", "2x1:abcdeg"),
        ("0804.png", "2x1:abcdeg"),
        ("0805.png", "1x2:abcdef"),
        ("0806.png", "damaged"),
        ("0808.png", "damaged"),
        ("0901.png", "of another set"),
    ]);
    let members = members("div2k-valid-hr");
    let differences = |report: &Report| -> Vec<(String, String)> {
        let line = |different: &Different| {
            let words = different.how.to_string();
            (different.name.clone(), words.split(" is ").next().unwrap_or_default().to_owned())
        };
        report.different.iter().map(line).collect()
    };
    let pair = |name: &str, words: &str| (name.to_owned(), words.to_owned());
    let bytes = [pair("0802.png", "its size in bytes"), pair("0803.png", "its SHA-256")];
    let of_known = [
        &bytes[..],
        &[
            pair("0804.png", "its SHA-256 of pixels"),
            pair("0805.png", "its size in pixels"),
            pair("0806.png", "it cannot be decoded: no colon"),
        ],
    ]
    .concat();
    let nothing = report(folder.path(), &members, &known, Decode::Nothing);
    assert_eq!(differences(&nothing), bytes);
    assert_eq!(nothing.decoded, 0);
    let some = report(folder.path(), &members, &known, Decode::Known(&decoder));
    assert_eq!(differences(&some), of_known);
    assert_eq!(some.decoded, 4, "those with wrong bytes are not decoded");
    let all = report(folder.path(), &members, &known, Decode::All(&decoder));
    assert_eq!(
        differences(&all),
        [&of_known[..], &[pair("0808.png", "it cannot be decoded: no colon")]].concat()
    );
    assert_eq!(all.surplus, ["0901.png"]);
    assert_eq!((all.missing.len(), all.missing[0].as_str()), (93, "0807.png"));
    assert_eq!(all.to_repair()[..2], ["0802.png", "0803.png"]);
    assert_eq!(all.to_repair().len(), 93 + 6);
    assert!(!all.is_sound() && all.whole().is_none());
}

#[test]
fn images_are_decoded_by_the_recipe_that_others_publish() {
    // Made by: hashlib.sha256(b"2x1:RGB:" + bytes(range(6))).hexdigest()
    let pixels_sha256 = "433ab8f2eec43fb96fbe2afebf9165fc59bbed408252d2248a982f43f38b4238";
    let folder = tempfile::tempdir().unwrap();
    let image = imaging::RgbImage::new(2, 1, (0..6).collect()).unwrap();
    imaging::write_png(&folder.path().join("0801.png"), &image).unwrap();
    fs::write(folder.path().join("0802.png"), "no image").unwrap();
    let known = [FileFacts {
        name: "0801.png".into(),
        width_height: Some((2, 1)),
        pixels_sha256: Some(pixels_sha256.into()),
        ..FileFacts::default()
    }];
    let report = report(folder.path(), &members("div2k-valid-hr"), &known, Decode::All(&decode));
    assert_eq!((report.decoded, report.different.len()), (2, 1));
    assert_eq!(report.different[0].name, "0802.png");
    assert!(matches!(report.different[0].how, Difference::Undecodable(_)));
}

#[cfg(unix)]
#[test]
fn links_count_as_files_and_pipes_do_not() {
    let (target, folder) = (folder(&set5()), tempfile::tempdir().unwrap());
    for (name, _) in set5() {
        std::os::unix::fs::symlink(target.path().join(name), folder.path().join(name)).unwrap();
    }
    let members = members("set5-hr");
    let linked = report(folder.path(), &members, &[], Decode::Nothing);
    assert_eq!(linked.whole(), report(target.path(), &members, &[], Decode::Nothing).whole());
    fs::remove_file(target.path().join("bird.png")).unwrap();
    let dangling = report(folder.path(), &members, &[], Decode::Nothing);
    assert!(
        matches!(dangling.different.as_slice(), [Different { name, how: Difference::Unreadable(_) }] if name == "bird.png")
    );
    assert_eq!(dangling.to_repair(), ["bird.png"]);
    assert!(dangling.whole().is_none());
    fs::remove_file(folder.path().join("bird.png")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("bird.png")).unwrap();
    assert_eq!(report(folder.path(), &members, &[], Decode::Nothing).surplus, ["bird.png"]);
}

#[test]
fn the_caller_sees_every_byte_and_can_stop() {
    let folder = folder(&set5());
    let members = members("set5-hr");
    let wanted = Wanted { members: &members, facts: &[], decode: Decode::Nothing };
    let bytes = AtomicU64::new(0);
    let count = |read: u64| {
        bytes.fetch_add(read, Ordering::Relaxed);
        ControlFlow::Continue(())
    };
    inspect(folder.path(), wanted, &count).unwrap();
    assert_eq!(bytes.into_inner(), 15);
    let stopped = inspect(folder.path(), wanted, &|_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(Error::Stopped { .. })));
    let missing = inspect(&folder.path().join("none"), wanted, &go_on).unwrap_err().to_string();
    assert!(missing.starts_with("cannot list `"), "{missing}");
}

#[test]
fn what_is_expected_of_listed_files_and_archives() {
    let list = Datasets::built_in().unwrap();
    let archive = Expected::from(&**list.archives().iter().find(|one| one.file == "benchmark.tar").unwrap());
    assert_eq!(archive.bytes, Some(250_112_000));
    assert!(archive.sha256.is_some() && archive.md5.is_some());
    let weights = list.dataset("weights").unwrap();
    assert!(weights.known.iter().all(|facts| !Expected::from(facts).has_no_hash()));
}
