//! `esr fetch` where the machine is at fault: another process at work, a data folder that cannot be written, a disk without room.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

use crate::fetch::{FETCHED, archive, list};
use crate::place::{Place, Ran, wait_until};

const FETCH: &str = "fetch three --manifest list.toml";
const BY_HAND: &str = "fetch three --manifest list.toml --offline --from given";

/// Where the first one asking gets half of `body` and then nothing more, and all others get the whole.
fn serve_half_once(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/three.zip", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        // Kept open for as long as the test runs.
        let mut waiting = Vec::new();
        for mut stream in listener.incoming().flatten() {
            // Only the head matters, and it is short.
            let _ = stream.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let bytes = if waiting.is_empty() { &body[..body.len() / 2] } else { &body[..] };
            let _ = stream.write_all(&[head.as_bytes(), bytes].concat());
            if waiting.is_empty() {
                waiting.push(stream);
            }
        }
    });
    url
}

/// A process that holds the lock of the data folder, and the half of the archive that it gets, until it is killed.
fn holder(place: &Place) -> Child {
    let mut command = place.command(FETCH.split(' '));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let named = format!("\"pid\":{},", child.id());
    let lock = place.path("data/.esr-fetch.lock");
    wait_until("the first process to take the lock", || {
        std::fs::read_to_string(&lock).is_ok_and(|text| text.contains(&named))
    });
    // Only then is it the first one that asked.
    let partial = place.path("data/archives/three.zip.partial");
    wait_until("the first process to be served", || {
        std::fs::metadata(&partial).is_ok_and(|partial| partial.len() > 0)
    });
    child
}

#[test]
fn of_two_processes_one_works_and_the_other_is_told_who() {
    let (place, archive) = (Place::new(), archive());
    list(&place, &serve_half_once(archive.clone()), &archive);
    let mut first = holder(&place);
    let told = place.esr(FETCH).fails(2);
    for part in [
        "`data` is in use by another esr",
        "`esr fetch three`",
        &format!("process {}", first.id()),
        "since 2",
    ] {
        assert!(told.contains(part), "{told}");
    }
    // Looking on is allowed, and so is another data folder.
    assert!(place.esr("fetch --manifest list.toml --list").ok().contains("three  missing"));
    assert_eq!(place.esr(&format!("{FETCH} --data other")).ok(), FETCHED);
    // It dies as by `kill -9`: nothing is waited for, and the user is told.
    first.kill().unwrap();
    first.wait().unwrap();
    let next = place.esr(FETCH);
    let note = format!("process {}", first.id());
    assert!(next.stderr.contains(&note) && next.stderr.contains("ended without tidying up"), "{next:?}");
    assert_eq!(next.ok(), FETCHED);
    let again = place.esr(FETCH);
    assert!(!again.stderr.contains("tidying"), "{again:?}");
    assert_eq!(again.ok(), "three  here\n");
}

#[test]
fn who_comes_second_finds_the_work_done_when_the_first_has_ended() {
    let (place, archive) = (Place::new(), archive());
    list(&place, "https://example.org/three.zip", &archive);
    place.write("given/three.zip", &archive);
    // All at once, in whatever order: each does it, finds it done, or is told that somebody is at it.
    let start = |_| {
        let mut command = place.command(BY_HAND.split(' '));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..4).map(start).collect();
    let mut fetched = 0;
    for child in children {
        let ran = Ran::from(child.wait_with_output().unwrap());
        match ran.code {
            0 => {
                fetched += usize::from(ran.stdout == FETCHED);
                assert!(ran.stdout == FETCHED || ran.stdout == "three  here\n", "{ran:?}");
            }
            _ => assert!(ran.code == 2 && ran.stderr.contains("is in use by another esr"), "{ran:?}"),
        }
    }
    assert_eq!(fetched, 1);
    assert_eq!(place.esr(BY_HAND).ok(), "three  here\n");
}

#[test]
fn a_data_folder_that_is_a_file_is_named() {
    let (place, archive) = (Place::new(), archive());
    list(&place, "https://example.org/three.zip", &archive);
    place.write("given/three.zip", &archive);
    place.write("data", b"mine");
    for data in ["data", "data/below"] {
        let told = place.esr(&format!("{BY_HAND} --data {data}")).fails(4);
        assert!(told.contains(&format!("`{data}")) && told.contains("Not a directory"), "{told}");
    }
    assert_eq!(place.bytes("data"), b"mine");
}

/// Runs a script with mounts of its own, where `$1` is the data folder and the rest the program. `None`, and a word on standard error, where the
/// system lets nobody mount.
fn with_mounts(place: &Place, script: &str) -> Option<Output> {
    std::fs::create_dir_all(place.path("data")).unwrap();
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        command
    };
    let allowed = unshare().args(["mount -t tmpfs none \"$1\"", "sh"]).arg(place.path("data")).output();
    if !allowed.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: needs to mount a file system, which this system refuses: {allowed:?}");
        return None;
    }
    let esr = place.command(BY_HAND.split(' '));
    let mut command = unshare();
    command.args([script, "sh"]).arg(place.path("data")).arg(esr.get_program()).args(esr.get_args());
    Some(command.current_dir(place.path("")).output().unwrap())
}

#[test]
fn a_read_only_data_folder_is_named_and_left_alone() {
    let (place, archive) = (Place::new(), archive());
    list(&place, "https://example.org/three.zip", &archive);
    place.write("given/three.zip", &archive);
    place.write("data/other.txt", b"mine");
    let script = r#"mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 97; shift; exec "$@""#;
    let Some(output) = with_mounts(&place, script) else { return };
    let told = Ran::from(output).fails(4);
    for part in ["`data`", "Read-only file system", "must be writable", "another data folder"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(place.tree("data").keys().collect::<Vec<_>>(), ["other.txt"]);
    // What is there already is used all the same.
    assert_eq!(place.esr(BY_HAND).ok(), FETCHED);
    let output = with_mounts(&place, script).unwrap();
    assert_eq!(Ran::from(output).ok(), "three  here\n");
}

#[test]
fn after_a_full_disk_the_same_command_completes() {
    let (place, archive) = (Place::new(), archive());
    list(&place, "https://example.org/three.zip", &archive);
    place.write("given/three.zip", &archive);
    // Four pages are too few for three files, notes and a lock.
    let script = r#"data=$1; shift
        mount -t tmpfs -o size=16k none "$data" || exit 97
        "$@" && exit 98
        test $? = 4 || exit 99
        find "$data" -name "*.png" | grep -q . && exit 96
        mount -o remount,size=1m "$data" || exit 97
        exec "$@""#;
    let Some(output) = with_mounts(&place, script) else { return };
    let ran = Ran::from(output);
    assert!(ran.stderr.contains("no room for `data/") && ran.stderr.contains("bytes free"), "{ran:?}");
    assert!(ran.stderr.contains("the archive is kept: make room and try again"), "{ran:?}");
    assert_eq!(ran.ok(), FETCHED);
    assert_eq!(place.bytes("given/three.zip"), archive);
}
