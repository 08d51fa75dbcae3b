//! Processes that are killed or run out of room while they unpack. The other process is this test binary, started again.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use super::super::{Format, Limits, Members, UnpackError};
use super::archives::{honest, images, noise};
use super::place::{Place, unpack_at};
use crate::fetch::small_disk::run_twice;
use crate::fetch::store::{self, State};
use crate::fsio;

const ROOT: &str = "ESR_TEST_UNPACK_ROOT";
const FORMAT: &str = "ESR_TEST_UNPACK_FORMAT";
const SMALL: &str = "ESR_TEST_UNPACK_SMALL";
const FILE_LIMIT: &str = "ESR_TEST_UNPACK_FILE_LIMIT";

/// Not a test of its own: the other process.
#[test]
fn child_process() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let format = std::env::var(FORMAT).unwrap();
    let format = Format::of_name(&format!("archive.{format}")).unwrap();
    let members = Members::below("SET", &[".png"], Some(3));
    let limit: Option<u64> = std::env::var(FILE_LIMIT).ok().map(|limit| limit.parse().unwrap());
    if let Some(limit) = limit {
        let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        // SAFETY: plain calls; nothing else in this process depends on the limit or the signal.
        unsafe {
            // Otherwise the signal ends the process before the error can be seen.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
        }
    }
    let outcome = unpack_at(Path::new(&root), format, &members, &Limits::default());
    if limit.is_some() {
        let error = outcome.unwrap_err();
        assert!(matches!(error, UnpackError::NoSpace { .. }), "{error}");
        assert!(error.to_string().contains("make room and try again"), "{error}");
    } else {
        outcome.unwrap();
    }
}

/// What begins the line that says how it ended.
const ENDED: &str = "unpacking ended: ";

/// Not a test of its own: the other process on a small disk.
#[test]
fn child_process_on_a_small_disk() {
    let Some(root) = std::env::var_os(SMALL) else {
        return;
    };
    let format = Format::of_name(&format!("archive.{}", std::env::var(FORMAT).unwrap())).unwrap();
    let members = Members::below("SET", &[".png"], Some(3));
    let told = match unpack_at(Path::new(&root), format, &members, &Limits::default()) {
        Ok(unpacked) => format!("{} files", unpacked.files),
        Err(error) => error.to_string(),
    };
    println!("\n{ENDED}{told}");
}

#[test]
fn after_a_full_disk_the_same_archive_is_unpacked_when_there_is_room() {
    let mut files = images();
    // Compressed to little, so that only what is unpacked is too much; and noise, so that it is known beforehand.
    for (content, foreseen) in [([7, 9].repeat(60_000), false), (noise(120_000, 5), true)] {
        files[1].1 = content;
        for (format, bytes) in honest(&files) {
            let place = Place::new();
            fs::write(place.archive(), &bytes).unwrap();
            let program = std::env::current_exe().unwrap();
            let data = place.root().join("data");
            let Some(output) = run_twice(&data, (64 << 10, 1 << 20), &program, |command| {
                let test = "fetch::unpack::tests::process::child_process_on_a_small_disk";
                command.args(["--exact", test, "--nocapture"]);
                command.env(SMALL, place.root()).env(FORMAT, format.to_string());
            }) else {
                return;
            };
            let told = String::from_utf8_lossy(&output.stdout);
            let ended: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix(ENDED)).collect();
            let [first, second] = ended[..] else { panic!("{output:?}") };
            // Zip says what is needed before anything is written; tar and gzip as far as it can be known.
            if format == Format::Tar || format == Format::Zip || foreseen {
                assert!(first.contains("needs 1") && first.contains("kB free"), "{format}: {first}");
            }
            assert!(first.contains("make room"), "{format}: {first}");
            assert_eq!(second, "3 files", "{format}");
            let listed = told.lines().filter(|line| line.contains("  /")).count();
            assert_eq!(listed, 4, "{format}: three files and the marker: {told}");
            for (_, bytes) in &files {
                assert!(told.contains(&fsio::sha256_hex(bytes)), "{format}: {told}");
            }
        }
    }
}

fn run_child(root: &Path, format: Format, variable: (&str, &str)) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fetch::unpack::tests::process::child_process"])
        .env(ROOT, root)
        .env(FORMAT, format.to_string())
        .env(variable.0, variable.1)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

// Fault points are in debug builds only.
#[cfg(debug_assertions)]
#[test]
fn killed_at_any_point_it_is_never_half_complete_and_the_next_attempt_succeeds() {
    for (format, bytes) in honest(&images()) {
        for point in [
            // The note that the folder is not complete, and the marker that it is.
            "fsio.before-rename:1",
            "fsio.before-rename:2",
            "unpack-member:1",
            "unpack-member:3",
            "unpack-before-sync",
            "unpack-after-sync",
            "unpack-before-rename",
            "unpack-before-marker",
            "unpack-after-marker",
        ] {
            let place = Place::new();
            fs::write(place.archive(), &bytes).unwrap();
            let before = place.neighbours();
            let status = run_child(place.root(), format, ("ESR_FAULT_POINT", point));
            assert_eq!(status.signal(), Some(libc::SIGKILL), "{point}: {status}");
            match store::state(&place.target()).unwrap() {
                State::Complete(_) => {
                    assert_eq!(point, "unpack-after-marker");
                    place.assert_holds(&images());
                    continue;
                }
                State::Absent => assert!(!place.target().exists(), "{point}"),
                State::Incomplete { .. } => assert!(place.target().exists(), "{point}"),
                State::Foreign => panic!("{point}: our own work is taken for somebody else's"),
            }
            unpack_at(place.root(), format, &place.members, &place.limits).unwrap();
            place.assert_holds(&images());
            assert_eq!(place.neighbours(), before, "{point}: leftovers");
        }
    }
}

#[test]
fn a_full_disk_leaves_nothing_but_the_archive() {
    let mut files = images();
    files[1].1 = noise(50_000, 9);
    for (format, bytes) in honest(&files) {
        let place = Place::new();
        fs::write(place.archive(), &bytes).unwrap();
        let before = place.neighbours();
        let status = run_child(place.root(), format, (FILE_LIMIT, "20000"));
        assert!(status.success(), "{format}: {status}");
        assert_eq!(place.neighbours(), before, "{format}");
        assert!(!place.target().exists(), "{format}");
        assert_eq!(fs::read(place.archive()).unwrap(), bytes);
        let mut roomy = Place::new();
        roomy.limits.member_bytes = 1 << 20;
        roomy.unpack(format, &bytes).unwrap();
        roomy.assert_holds(&files);
    }
}
