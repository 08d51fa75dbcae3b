//! A disk that is really full, and larger afterwards.

use super::process::{ends, prepare};
use super::server::{Server, good};
use super::*;
use crate::fetch::small_disk::run_twice;
use crate::fsio;

/// More than a note needs room for, so that something is left to be kept.
const SIZE: usize = 5 << 20;

#[test]
fn what_a_full_disk_held_is_continued_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.zip");
    let server = Server::start(vec![good(&body(SIZE), "\"v1\"")]);
    let program = std::env::current_exe().unwrap();
    let Some(output) = run_twice(folder.path(), (3 << 20, 8 << 20), &program, |command| {
        prepare(command, &[&server.url], &target);
        command.env("FETCH_TEST_SIZE", SIZE.to_string());
    }) else {
        return;
    };
    let ended = ends(&output);
    let [first, second] = ended.as_slice() else { panic!("{output:?}") };
    let begins =
        format!("no room for `{}.partial`: No space left on device (os error 28); ", target.display());
    let rest = first.strip_prefix(&begins).unwrap_or_else(|| panic!("{first}"));
    let numbers: Vec<u64> = rest.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [kept, missing, free] = numbers[..] else { panic!("{first}") };
    assert!(kept >= 1 << 20 && kept + missing == SIZE as u64 && free < missing, "{first}");
    assert!(rest.ends_with("make room and run the same command again"), "{first}");
    assert_eq!(*second, format!("from {}", server.url));
    let asked = server.asked();
    assert_eq!((asked.len(), asked[1].header("range")), (2, Some(&*format!("bytes={kept}-"))));
    // Nothing but the file is there, and it is right.
    let told = String::from_utf8_lossy(&output.stdout);
    let listed = format!("{}  {}", fsio::sha256_hex(&body(SIZE)), target.display());
    assert_eq!(told.lines().filter(|line| line.contains("  /")).collect::<Vec<_>>(), [listed]);
}

#[test]
fn a_disk_without_any_room_is_named_and_left_empty() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.zip");
    let server = Server::start(vec![good(&body(SIZE), "\"v1\"")]);
    let program = std::env::current_exe().unwrap();
    // One page: too little even for the note.
    let Some(output) = run_twice(folder.path(), (4096, 8 << 20), &program, |command| {
        prepare(command, &[&server.url], &target);
        command.env("FETCH_TEST_SIZE", SIZE.to_string());
    }) else {
        return;
    };
    let ended = ends(&output);
    assert!(ended.len() == 2 && ended[0].starts_with("no room for `"), "{ended:?}");
    assert_eq!(ended[1], format!("from {}", server.url));
}
