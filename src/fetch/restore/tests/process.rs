//! A process that is killed while it restores. The other process is this test binary, started again.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use super::*;

const URL: &str = "ESR_TEST_RESTORE_URL";
const FOLDER: &str = "ESR_TEST_RESTORE_FOLDER";
const BAD: [&str; 2] = ["0002.png", "0003.png"];

/// Not a test of its own: the other process.
#[test]
fn child_process() {
    let (Ok(url), Ok(folder)) = (std::env::var(URL), std::env::var(FOLDER)) else {
        return;
    };
    let files = images(4);
    let expected: Vec<Expected> = files[1..3].iter().map(|(_, bytes)| known(bytes)).collect();
    let lost = [0, 1].map(|index| Lost { name: BAD[index], expected: &expected[index] });
    let archive =
        Archive { urls: std::slice::from_ref(&url), bytes: None, format: Format::Zip, prefix: "SET" };
    restore(&archive, &lost, Path::new(&folder), &Downloader::new(hasty()).unwrap(), &Silent).unwrap();
}

fn run_child(url: &str, folder: &Path, point: Option<&str>) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let (_, module) = module_path!().split_once("::").unwrap();
    command.args(["--exact", &format!("{module}::child_process")]).env(URL, url).env(FOLDER, folder);
    if let Some(point) = point {
        command.env("ESR_FAULT_POINT", point);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
}

// Fault points are in debug builds only.
#[cfg(debug_assertions)]
#[test]
fn killed_anywhere_every_file_is_old_or_right_and_the_next_run_ends_well() {
    for (point, still_bad) in [
        ("restore-before-write", &BAD[..]),
        ("fsio.before-rename", &BAD[..]),
        ("restore-after-rename", &BAD[1..]),
        ("restore-before-write:2", &BAD[1..]),
        ("fsio.before-rename:2", &BAD[1..]),
        ("restore-after-rename:2", &[]),
    ] {
        let set = Damaged::new(4, &BAD);
        let server = Server::start(vec![set.good()]);
        let killed = run_child(&server.url, set.path(), Some(point));
        assert_eq!(killed.signal(), Some(libc::SIGKILL), "{point}: {killed}");
        for (name, bytes) in &set.files {
            let name = name.trim_start_matches("SET/");
            let expected = if still_bad.contains(&name) { b"rot" } else { bytes.as_slice() };
            assert!(fs::read(set.path().join(name)).unwrap() == expected, "{point}: {name}");
        }
        // What was being written may lie there; the next run for that file removes it.
        assert!(run_child(&server.url, set.path(), None).success(), "{point}");
        set.assert_right_but_for(&[]);
    }
}
