//! Deaths at every point, and disks without room: a child process of the test program does the fetching.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use super::server::{Act, Reply, Server, proper};
use super::*;

const SIZE: usize = 300_000;

/// A proper server that takes its time, so that there is something to checkpoint.
fn slow() -> Reply {
    std::sync::Arc::new(|asked| {
        let (head, body) = proper(asked, &body(SIZE), "\"v1\"");
        let mut acts = vec![Act::Send(head)];
        for piece in body.chunks(30_000) {
            acts.push(Act::Send(piece.to_vec()));
            acts.push(Act::Sleep(Duration::from_millis(100)));
        }
        acts
    })
}

/// Not a test by itself: what the child process does, when the environment says so.
#[test]
fn child() {
    let (Ok(url), Ok(target)) = (std::env::var("FETCH_TEST_URL"), std::env::var("FETCH_TEST_TARGET")) else {
        return;
    };
    let options = Options { read_timeout: Duration::from_secs(5), ..hasty() };
    let (urls, expected) = ([url], known(&body(SIZE)));
    let request = Request { urls: &urls, target: Path::new(&target), expected: &expected };
    if let Err(error) = Downloader::new(options).unwrap().fetch(&request, &Silent) {
        panic!("{error}");
    }
}

fn spawn(url: &str, target: &Path, set: impl Fn(&mut Command)) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // The module's path without the crate's name is how the test program calls its tests.
    let (_, module) = module_path!().split_once("::").unwrap();
    command.args([&format!("{module}::child"), "--exact", "--nocapture"]);
    command.env("FETCH_TEST_URL", url).env("FETCH_TEST_TARGET", target);
    set(&mut command);
    command.output().unwrap()
}

#[test]
fn killed_anywhere_it_leaves_the_right_file_or_none_and_the_next_run_ends_well() {
    let points = [
        "fetch-emptied",
        "fetch-before-checkpoint",
        "fetch-before-checkpoint:2",
        "fetch-before-note",
        "fetch-before-note:2",
        "fsio.before-rename",
        "fsio.before-rename:2",
        "fetch-after-checkpoint",
        "fetch-after-checkpoint:2",
        "fetch-before-write",
        "fetch-before-write:2",
        "fetch-after-write",
        "fetch-after-write:2",
        "fetch-before-sync",
        "fetch-before-rename",
        "fetch-after-rename",
        "fetch-after-note",
    ];
    std::thread::scope(|scope| {
        for point in points {
            scope.spawn(move || {
                // On a disk that is slow just now the whole file may have arrived before the second checkpoint.
                let attempt = || {
                    let folder = tempfile::tempdir().unwrap();
                    let target = folder.path().join("a.zip");
                    let server = Server::start(vec![slow()]);
                    let killed = spawn(&server.url, &target, |command| {
                        command.env("ESR_FAULT_POINT", point);
                    });
                    (killed.status.signal() == Some(libc::SIGKILL)).then_some((folder, target, server))
                };
                let killed = (0..20).find_map(|_| attempt());
                let (folder, target, server) = killed.unwrap_or_else(|| panic!("{point} is never reached"));
                assert!(!target.exists() || fs::read(&target).unwrap() == body(SIZE), "{point}");
                let next = spawn(&server.url, &target, |_| ());
                assert!(next.status.success(), "{point}: {next:?}");
                assert!(fs::read(&target).unwrap() == body(SIZE), "{point}");
                // A note that was being written when the process died may stay behind; nothing reads it.
                let stale = |name: &str| name.starts_with("a.zip.partial.json.");
                for entry in fs::read_dir(folder.path()).unwrap() {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    assert!(name == "a.zip" || stale(&name), "{point}: {name}");
                }
            });
        }
    });
}

#[test]
fn without_room_the_rest_is_counted_and_what_is_there_kept() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.zip");
    let server = Server::start(vec![slow()]);
    let full = spawn(&server.url, &target, |command| {
        let limit = libc::rlimit { rlim_cur: 150_000, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: both calls are safe between fork and exec, and the pointer is to a live value.
        unsafe {
            command.pre_exec(move || {
                // Otherwise the limit comes as a signal, which a full disk does not.
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
                Ok(())
            });
        }
    });
    let told = String::from_utf8_lossy(&full.stderr).into_owned();
    assert!(!full.status.success() && told.contains("no room for `"), "{full:?}");
    let held = fs::read(target.with_file_name("a.zip.partial")).unwrap();
    let note = fs::read(target.with_file_name("a.zip.partial.json")).unwrap();
    let note: serde_json::Value = serde_json::from_slice(&note).unwrap();
    let kept = note["held"][0][1].as_u64().unwrap();
    assert!(kept > 0 && held[..kept as usize] == body(SIZE)[..kept as usize]);
    let counts = format!("{kept} bytes are kept, {} bytes missing", SIZE as u64 - kept);
    assert!(told.contains(&counts), "{told}");
    let next = spawn(&server.url, &target, |_| ());
    assert!(next.status.success() && fs::read(&target).unwrap() == body(SIZE), "{next:?}");
    assert_eq!(server.asked()[1].header("range"), Some(format!("bytes={kept}-").as_str()));
}
