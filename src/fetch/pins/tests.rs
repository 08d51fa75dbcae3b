use super::*;
use crate::fetch::Fingerprint;
use proptest::prelude::*;
use std::fs;

const SEEN: Seen<'static> = Seen { url: "https://a.b/c.zip", at: "2026-11-23T11:10:00Z" };

fn of(bytes: &[u8]) -> Found {
    let mut fingerprint = Fingerprint::default();
    fingerprint.update(bytes);
    fingerprint.finish()
}

fn pinned() -> (tempfile::TempDir, Pins) {
    let data = tempfile::tempdir().unwrap();
    let mut pins = Pins::read(data.path()).unwrap();
    for name in ["b.zip", "a.zip"] {
        let trust = pins.judge(name, &Expected::default(), &of(name.as_bytes()), SEEN).unwrap();
        assert_eq!(trust, Trust::FirstSeen);
    }
    pins.save().unwrap();
    (data, pins)
}

#[test]
fn the_first_sight_is_kept_and_later_ones_are_held_against_it() {
    let (data, written) = pinned();
    let mut pins = Pins::read(data.path()).unwrap();
    assert_eq!(pins, written);
    let later = Seen { url: "https://mirror/a.zip", at: "2027-01-01T00:00:00Z" };
    let unknown = Expected::default();
    assert_eq!(pins.judge("a.zip", &unknown, &of(b"a.zip"), later).unwrap(), Trust::SeenBefore);
    let error = pins.judge("a.zip", &unknown, &of(b"other"), later).unwrap_err();
    assert!(matches!(error, PinError::Changed { .. }));
    let message = error.to_string();
    for part in
        ["a.zip", SEEN.url, SEEN.at, later.url, &of(b"a.zip").sha256, &of(b"other").sha256, "esr-data.lock"]
    {
        assert!(message.contains(part), "{message} has no {part}");
    }
    assert_eq!(pins, written, "a difference changes nothing");
    assert_eq!(pins.get("a.zip").unwrap().first_seen, SEEN.at);
    assert_eq!(pins.expected("a.zip", &unknown), Expected::from(&of(b"a.zip")));
    assert_eq!(pins.expected("c.zip", &unknown), unknown);
}

#[test]
fn a_published_hash_decides_and_is_never_pinned() {
    let data = tempfile::tempdir().unwrap();
    let mut pins = Pins::read(data.path()).unwrap();
    let found = of(b"abc");
    let md5 = Expected { md5: Some(found.md5.clone()), ..Expected::default() };
    assert_eq!(pins.judge("a.zip", &md5, &found, SEEN).unwrap(), Trust::Published);
    assert!(matches!(pins.judge("a.zip", &md5, &of(b"abd"), SEEN), Err(PinError::Published { .. })));
    pins.save().unwrap();
    assert!(pins.get("a.zip").is_none() && !data.path().join(FILE).exists());
    // A size alone tells no contents apart, so it is checked and the file is pinned.
    let size = Expected { bytes: Some(3), ..Expected::default() };
    assert!(matches!(pins.judge("b.zip", &size, &of(b"ab"), SEEN), Err(PinError::Published { .. })));
    assert!(pins.get("b.zip").is_none());
    assert_eq!(pins.judge("b.zip", &size, &found, SEEN).unwrap(), Trust::FirstSeen);
    // A hash that is published later decides, whatever was pinned before.
    let other = of(b"xyz");
    assert_eq!(pins.judge("b.zip", &Expected::from(&other), &other, SEEN).unwrap(), Trust::Published);
    assert_eq!(pins.expected("b.zip", &Expected::from(&other)), Expected::from(&other));
}

#[test]
fn the_same_pins_give_the_same_bytes_in_order_of_names() {
    let (data, _) = pinned();
    let text = fs::read_to_string(data.path().join(FILE)).unwrap();
    let place = |name: &str| text.find(name).unwrap();
    assert!(place("\"a.zip\"") < place("\"b.zip\""));
    assert!(text.starts_with("{\n  \"schema\": 1,"), "{text}");
    let other = tempfile::tempdir().unwrap();
    let mut pins = Pins::read(other.path()).unwrap();
    for name in ["a.zip", "b.zip"] {
        pins.judge(name, &Expected::default(), &of(name.as_bytes()), SEEN).unwrap();
    }
    pins.save().unwrap();
    assert_eq!(fs::read_to_string(other.path().join(FILE)).unwrap(), text);
    let times = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let before = times(&other.path().join(FILE));
    pins.save().unwrap();
    assert_eq!(times(&other.path().join(FILE)), before, "nothing new, nothing written");
}

#[test]
fn a_damaged_or_newer_file_is_an_error_and_stays() {
    let (data, _) = pinned();
    let path = data.path().join(FILE);
    let text = fs::read_to_string(&path).unwrap();
    let sha256 = of(b"a.zip").sha256;
    for (from, to, part) in [
        ("\"schema\": 1", "\"schema\": 2", "use a newer esr"),
        ("\"schema\": 1,", "", "missing field `schema`"),
        ("\"pins\"", "\"pens\"", "unknown field `pens`"),
        ("\"bytes\": 5", "\"bytes\": -5", "not a valid lock file of data"),
        ("\"bytes\": 5", "\"bytes\": 5, \"size\": 5", "unknown field `size`"),
        ("]", "", "not a valid lock file of data"),
        (sha256.as_str(), "abc", "has `abc` for its sha256, expected 64 lower-case hexadecimal digits"),
        (sha256.as_str(), &sha256.to_uppercase(), "64 lower-case"),
        ("b.zip", "a.zip", "a second entry"),
        (SEEN.at, "yesterday", "has `yesterday` for its first_seen"),
        (SEEN.url, "", "has `` for its url"),
    ] {
        assert!(text.contains(from), "{from}");
        let broken = text.replacen(from, to, 1);
        fs::write(&path, &broken).unwrap();
        let message = Pins::read(data.path()).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains(FILE), "{message} has no {part}");
        assert_eq!(fs::read_to_string(&path).unwrap(), broken);
    }
    fs::write(&path, b"").unwrap();
    assert!(Pins::read(data.path()).is_err(), "an empty file is no lock file");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(Pins::read(data.path()).is_err(), "a folder is no lock file");
}

#[test]
fn what_could_not_be_read_back_is_not_pinned() {
    let data = tempfile::tempdir().unwrap();
    let mut pins = Pins::read(data.path()).unwrap();
    for (name, seen) in
        [("", SEEN), ("a\u{1b}[2J", SEEN), ("a", Seen { url: "", ..SEEN }), ("a", Seen { at: "now", ..SEEN })]
    {
        let refused = pins.judge(name, &Expected::default(), &of(b"a"), seen);
        assert!(matches!(refused, Err(PinError::Entry { .. })), "{name:?} {seen:?}");
    }
    assert_eq!(pins.iter().count(), 0);
}

#[test]
fn a_folder_that_cannot_be_written_says_so_and_nothing_is_forgotten() {
    let data = tempfile::tempdir().unwrap();
    let mut pins = Pins::read(&data.path().join("file")).unwrap();
    fs::write(data.path().join("file"), b"in the way").unwrap();
    pins.judge("a.zip", &Expected::default(), &of(b"a"), SEEN).unwrap();
    assert!(matches!(pins.save(), Err(PinError::File { .. })));
    fs::remove_file(data.path().join("file")).unwrap();
    pins.save().unwrap();
    assert_eq!(Pins::read(&data.path().join("file")).unwrap().iter().count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_damage_makes_the_reader_panic_or_invent(at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..8), cut in 0usize..20) {
        let (data, pins) = pinned();
        let path = data.path().join(FILE);
        let mut text = fs::read(&path).unwrap();
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, bytes);
        fs::write(&path, &text).unwrap();
        if let Ok(read) = Pins::read(data.path()) {
            prop_assert!(read.iter().count() <= pins.iter().count());
            for pin in read.iter() {
                prop_assert!(check_entry(&path, pin).is_ok());
            }
        }
    }
}
