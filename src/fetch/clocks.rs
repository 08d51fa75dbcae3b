//! Tests with clocks that are wrong: nothing that is kept in a data folder is believed or doubted because of its time.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::lock::{DataLock, Holder, LOCK_FILE};
use super::pins::{Pins, Seen, Trust};
use super::store::{self, Marker, State};
use super::unpack::{Format, Job, Limits, Members, unpack};
use super::{Expected, Fingerprint, Found};
use crate::fsio::{self, Artefact};

fn times() -> [SystemTime; 3] {
    let years = |count: u64| Duration::from_secs(count * 365 * 86_400);
    let epoch = SystemTime::UNIX_EPOCH;
    [epoch - years(60), epoch, epoch + years(400)]
}

/// Not every file system has room for such times; the nearest it has will do.
fn stamp(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_modified(time).unwrap();
}

fn found(bytes: &[u8]) -> Found {
    let mut fingerprint = Fingerprint::default();
    fingerprint.update(bytes);
    fingerprint.finish()
}

#[test]
fn a_lock_file_of_any_age_blocks_only_while_its_process_lives() {
    for time in times() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK_FILE);
        // The one that left it began in what is the future for us, or at no time at all.
        for since in ["9999-12-31T23:59:59Z", "0000-00-00T00:00:00Z", "tomorrow"] {
            let dead = Holder { pid: u32::MAX, ..Holder::this_process("esr fetch a", since) };
            fs::write(&path, serde_json::to_vec(&dead).unwrap()).unwrap();
            stamp(&path, time);
            let ours = Holder::this_process("esr fetch b", "1970-01-01T00:00:00Z");
            let lock = DataLock::take(folder.path(), &ours).unwrap();
            assert!(lock.note().is_some_and(|note| note.contains(since)), "{:?}", lock.note());
            stamp(&path, time);
            let other = Holder::this_process("esr fetch c", "2022-03-01T00:00:00Z");
            let refused = DataLock::take(folder.path(), &other).unwrap_err().to_string();
            assert!(refused.contains("esr fetch b"), "{refused}");
        }
    }
}

#[test]
fn markers_and_leftovers_of_any_age_mean_the_same() {
    for time in times() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("set");
        fs::create_dir(&folder).unwrap();
        store::mark_unfinished(&folder).unwrap();
        stamp(&folder.join(store::UNFINISHED_FILE), time);
        stamp(&folder, time);
        assert!(matches!(store::state(&folder).unwrap(), State::Incomplete { .. }), "{time:?}");
        let marker = Marker { schema: Marker::SCHEMA, archive: found(b"a"), files: 1, bytes: 1 };
        store::mark_complete(&folder, &marker).unwrap();
        stamp(&folder.join(store::MARKER_FILE), time);
        assert_eq!(store::state(&folder).unwrap(), State::Complete(marker), "{time:?}");
    }
}

#[test]
fn an_archive_with_times_of_any_age_is_unpacked() {
    // Times within the archive and of the archive; none of them is taken over.
    for (seconds, time) in
        [0, 1, u64::from(u32::MAX), (1 << 33) - 1].into_iter().zip(times().into_iter().cycle())
    {
        let root = tempfile::tempdir().unwrap();
        let mut tar = ::tar::Builder::new(Vec::new());
        let mut header = ::tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.set_mtime(seconds);
        tar.append_data(&mut header, "SET/a.png", &b"a"[..]).unwrap();
        let bytes = tar.into_inner().unwrap();
        let archive = root.path().join("a.tar");
        fs::write(&archive, &bytes).unwrap();
        stamp(&archive, time);
        // What a dead process left beside the target, from another time.
        let left = root.path().join(".set.elsewhere+1+0.unpacking");
        fs::create_dir(&left).unwrap();
        stamp(&left, time);
        let target = root.path().join("set");
        let job = Job {
            archive: &archive,
            format: Format::Tar,
            found: &found(&bytes),
            members: &Members::below("SET", &[], Some(1)),
            target: &target,
            limits: &Limits::default(),
        };
        unpack(&job, &|_| ControlFlow::Continue(())).unwrap();
        assert_eq!(fsio::read_limited(&target.join("a.png"), 9).unwrap(), b"a");
        let age = fs::metadata(target.join("a.png")).unwrap().modified().unwrap().elapsed();
        assert!(!left.exists() && age.is_ok_and(|age| age < Duration::from_secs(600)), "{seconds}");
    }
}

#[test]
fn pins_hold_when_the_clock_goes_back() {
    let data = tempfile::tempdir().unwrap();
    let (unknown, file) = (Expected::default(), found(b"file"));
    let judge = |name: &str, file: &Found, at: &str| {
        let mut pins = Pins::read(data.path()).unwrap();
        let trust = pins.judge(name, &unknown, file, Seen { url: "https://a.b/c", at });
        pins.save().unwrap();
        trust
    };
    assert_eq!(judge("a", &file, "2026-11-23T11:10:00Z").unwrap(), Trust::FirstSeen);
    for earlier in ["2026-11-23T11:09:59Z", "1970-01-01T00:00:00Z", "0000-01-01T00:00:00Z"] {
        assert_eq!(judge("a", &file, earlier).unwrap(), Trust::SeenBefore);
        let told = judge("a", &found(b"other"), earlier).unwrap_err().to_string();
        assert!(told.contains("first seen on 2026-11-23T11:10:00Z"), "{told}");
    }
    assert_eq!(judge("b", &file, "1970-01-01T00:00:00Z").unwrap(), Trust::FirstSeen);
    let pins = Pins::read(data.path()).unwrap();
    assert_eq!(pins.get("a").unwrap().first_seen, "2026-11-23T11:10:00Z");
}
