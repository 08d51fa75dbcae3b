//! Archives that are not what they should be.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::fetch::http::tests::server::{Act, proper};
use crate::fetch::unpack::tests::mutation::{Change, apply, change};

const BAD: [&str; 2] = ["0003.png", "0004.png"];

/// Restores from an archive of these bytes.
fn from(set: &Damaged, zip: &[u8], names: &[&str]) -> Result<Restored, RestoreError> {
    let server = Server::start(vec![good(zip, ETAG)]);
    let archive =
        Archive { urls: std::slice::from_ref(&server.url), bytes: None, format: Format::Zip, prefix: "SET" };
    set.restore_from(&archive, names, &Silent)
}

#[test]
fn a_member_with_the_right_check_sum_and_the_wrong_hash_is_refused_and_the_others_come() {
    let set = Damaged::new(9, &BAD);
    let mut files = set.files.clone();
    files[2].1[17] ^= 1;
    let other = zip_of(&files, 1);
    let error = from(&set, &other, &BAD).unwrap_err();
    assert!(matches!(&*error.problem, Problem::Wrong { file, .. } if file == "0003.png"), "{error}");
    assert!(error.problem.archive_may_help());
    assert!(error.to_string().contains("is not the right file: its SHA-256 is"), "{error}");
    assert!(error.to_string().ends_with("(1 restored before: 0004.png)"), "{error}");
    set.assert_right_but_for(&["0003.png"]);
    // Of several mirrors, one that has it.
    let set = Damaged::new(9, &BAD);
    let servers = [Server::start(vec![good(&other, ETAG)]), Server::start(vec![set.good()])];
    let urls = servers.each_ref().map(|server| server.url.clone());
    assert_eq!(set.restore(&urls, &BAD).unwrap().names, ["0004.png", "0003.png"]);
    set.assert_right_but_for(&[]);
}

#[test]
fn damaged_and_missing_members_are_named() {
    let set = Damaged::new(9, &BAD);
    let mut zip = set.zip.clone();
    let content = &set.files[2].1;
    let at = zip.windows(50).position(|window| window == &content[..50]).unwrap();
    zip[at + 60] ^= 1;
    let error = from(&set, &zip, &BAD).unwrap_err();
    let Problem::Archive { fault: Fault::Crc { member }, .. } = &*error.problem else { panic!("{error}") };
    assert_eq!(member, "SET/0003.png");
    assert_eq!(error.restored.names, ["0004.png"]);
    set.assert_right_but_for(&["0003.png"]);
    let set = Damaged::new(9, &BAD);
    let files: Files = set.files.iter().filter(|(name, _)| !name.contains("0003")).cloned().collect();
    let error = from(&set, &zip_of(&files, 1), &BAD).unwrap_err();
    assert!(
        matches!(&*error.problem, Problem::Missing { member, .. } if member == "SET/0003.png"),
        "{error}"
    );
    assert_eq!(error.restored.names, ["0004.png"]);
    // Something else altogether.
    let error = from(&set, b"<html>Sign in</html>", &BAD).unwrap_err();
    assert!(error.to_string().contains("no zip archive: it looks like a web page"), "{error}");
    let other: Files = vec![("OTHER/0003.png".to_owned(), vec![1; 10])];
    let error = from(&set, &zip_of(&other, 1), &BAD).unwrap_err();
    assert!(matches!(*error.problem, Problem::Archive { fault: Fault::NothingWanted { .. }, .. }), "{error}");
    assert!(error.problem.archive_may_help());
}

#[test]
fn a_member_that_would_not_fit_into_memory_is_refused_before_it_is_fetched() {
    let set = Damaged::new(3, &["0001.png"]);
    let mut zip = set.zip.clone();
    // Where the directory has the two sizes of its first entry.
    let entry = zip.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    for field in [20, 24] {
        zip[entry + field..entry + field + 4].copy_from_slice(&(70u32 << 20).to_le_bytes());
    }
    let error = from(&set, &zip, &["0001.png"]).unwrap_err();
    let Problem::Archive { fault: Fault::Limit { limit, .. }, .. } = &*error.problem else {
        panic!("{error}")
    };
    assert_eq!(*limit, MEMBER_LIMIT_BYTES);
    assert!(error.restored.transferred_bytes < 66_000, "{error:?}");
}

/// What must hold whatever the archive was: right files or old ones, and nothing else.
fn check(set: &Damaged, outcome: &Result<Restored, RestoreError>) {
    let restored = match outcome {
        Ok(restored) => restored,
        Err(error) => &error.restored,
    };
    assert_eq!(outcome.is_ok(), restored.names.len() == BAD.len());
    let bad: Vec<_> =
        BAD.into_iter().filter(|name| !restored.names.iter().any(|restored| restored == name)).collect();
    set.assert_right_but_for(&bad);
}

/// Changes anywhere, and changes at the end, where the directory is.
fn changes() -> impl Strategy<Value = (bool, Vec<Change>)> {
    (any::<bool>(), proptest::collection::vec(change(), 1..5))
}

fn mutated(set: &Damaged, at_end: bool, changes: &[Change]) -> Vec<u8> {
    let mut zip = set.zip.clone();
    let start = if at_end { zip.windows(4).position(|four| four == b"PK\x01\x02").unwrap() } else { 0 };
    let mut end = zip.split_off(start);
    changes.iter().for_each(|change| apply(&mut end, change));
    zip.extend(end);
    zip
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn a_changed_archive_on_a_server_gives_right_files_or_none() {
    // One server for all cases, whose file changes.
    let file = Arc::new(Mutex::new(Vec::new()));
    let served = Arc::clone(&file);
    let server = Server::start(vec![Arc::new(move |asked| {
        let (head, body) = proper(asked, &served.lock().unwrap(), ETAG);
        vec![Act::Send(head), Act::Send(body)]
    })]);
    let urls = [server.url.clone()];
    let archive = Archive { urls: &urls, bytes: None, format: Format::Zip, prefix: "SET" };
    let set = Damaged::new(6, &BAD);
    proptest!(config(150), |((at_end, changes) in changes())| {
        set.spoil(&BAD);
        *file.lock().unwrap() = mutated(&set, at_end, &changes);
        check(&set, &set.restore_from(&archive, &BAD, &Silent));
    });
}

#[test]
fn a_changed_archive_of_this_machine_gives_right_files_or_none() {
    let set = Damaged::new(6, &BAD);
    let elsewhere = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = elsewhere.path().join("a.zip");
    let urls = [path.display().to_string()];
    let archive = Archive { urls: &urls, bytes: None, format: Format::Zip, prefix: "SET" };
    proptest!(config(1000), |((at_end, changes) in changes())| {
        set.spoil(&BAD);
        fs::write(&path, mutated(&set, at_end, &changes)).unwrap();
        check(&set, &set.restore_from(&archive, &BAD, &Silent));
    });
}

#[test]
fn a_member_that_begins_behind_the_directory_is_damaged() {
    let set = Damaged::new(6, &BAD);
    let mut zip = set.zip.clone();
    let entry = zip.windows(12).rposition(|name| name == b"SET/0003.png").unwrap() - 46;
    for place in [zip.len() as u32 - 30, u32::MAX - 1] {
        zip[entry + 42..entry + 46].copy_from_slice(&place.to_le_bytes());
        let error = from(&set, &zip, &BAD).unwrap_err();
        assert!(matches!(&*error.problem, Problem::Archive { fault: Fault::Damaged { .. }, .. }), "{error}");
        set.assert_right_but_for(&BAD[..1]);
    }
}
