//! Several URLs, files of this machine, no network, other processes, notes that lie.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::server::{Reply, Server, cut, good, status};
use super::*;

const SIZE: usize = 50_000;

fn fetch(urls: &[String], target: &Path, expected: &Expected) -> Result<Fetched, DownloadError> {
    let downloader = Downloader::new(hasty()).unwrap();
    downloader.fetch(&Request { urls, target, expected }, &Silent)
}

fn right() -> Reply {
    good(&body(SIZE), "\"v1\"")
}

#[test]
fn the_first_url_that_works_is_taken_and_all_failures_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new/folder/a.zip");
    let (gone, wrong, fine) = (
        Server::start(vec![status(404, "")]),
        Server::start(vec![good(&body(7), "\"v1\"")]),
        Server::start(vec![right()]),
    );
    let urls = [gone.url.clone(), wrong.url.clone(), fine.url.clone()];
    let told = Told::default();
    let expected = known(&body(SIZE));
    let request = Request { urls: &urls, target: &target, expected: &expected };
    let fetched = Downloader::new(hasty()).unwrap().fetch(&request, &told).unwrap();
    assert_eq!(fetched.url, fine.url);
    assert_eq!(*told.mirrors.lock().unwrap(), urls);
    let error = fetch(&urls[..2], &folder.path().join("b.zip"), &expected).unwrap_err();
    assert!(!error.is_network(), "one of them has wrong content");
    let expected = format!(
        "none of the 2 sources of `{}` worked:\n  {}: the server answered 404 Not Found: it is not there any more\n  \
         {}: not the right file: its size in bytes is 7, expected 50000 (7 bytes; what was received is removed)",
        folder.path().join("b.zip").display(),
        gone.url,
        wrong.url
    );
    assert_eq!(error.to_string(), expected);
    let none = fetch(&[], &target, &Expected::default()).unwrap_err().to_string();
    assert!(none.starts_with("no URL is known for"), "{none}");
}

#[test]
fn what_one_url_left_is_not_continued_from_another() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.zip");
    interrupted(&target, "http://elsewhere/a.zip", &body(SIZE)[..20_000], "\"v1\"", Some(SIZE));
    let server = Server::start(vec![right()]);
    let fetched = fetch(std::slice::from_ref(&server.url), &target, &known(&body(SIZE))).unwrap();
    assert_eq!((fetched.resumed_bytes, server.asked()[0].header("range")), (0, None));
}

#[test]
fn files_of_this_machine_are_copied_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target) = (folder.path().join("a ü.zip"), folder.path().join("t.zip"));
    fs::write(&from, body(SIZE)).unwrap();
    let url = reqwest::Url::from_file_path(&from).unwrap().to_string();
    let path = from.display().to_string();
    for url in [&url, &path] {
        let fetched = fetch(std::slice::from_ref(url), &target, &known(&body(SIZE))).unwrap();
        assert_eq!(Expected::from(&fetched.found), known(&body(SIZE)));
        assert!(fs::read(&target).unwrap() == body(SIZE) && from.exists());
    }
    fs::write(&target, b"old").unwrap();
    let mut other = body(SIZE);
    other[7] ^= 1;
    for (expected, message) in [
        (known(&other), "not the right file: its SHA-256 is"),
        (known(&body(7)), "not the right file: its size in bytes is 50000, expected 7"),
    ] {
        let error = fetch(std::slice::from_ref(&path), &target, &expected).unwrap_err();
        assert!(error.to_string().contains(message) && !error.is_network(), "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"old", "what was there stays");
    }
    let error = fetch(&["/nowhere/a.zip".to_owned()], &target, &Expected::default()).unwrap_err().to_string();
    assert!(error.starts_with("cannot open `/nowhere/a.zip`: No such file"), "{error}");
    let error = fetch(&[folder.path().display().to_string()], &target, &Expected::default()).unwrap_err();
    assert!(error.to_string().ends_with("cannot be fetched: it is not a regular file"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no litter");
}

#[test]
fn offline_only_copies() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("not/made/t.zip");
    let server = Server::start(vec![right()]);
    let downloader = Downloader::new(Options { offline: true, ..hasty() }).unwrap();
    let expected = known(&body(SIZE));
    let mut urls = vec![server.url.clone()];
    let error = downloader
        .fetch(&Request { urls: &urls, target: &target, expected: &expected }, &Silent)
        .unwrap_err();
    let message =
        format!("`{}` is not here, and --offline forbids to fetch it from {}:", target.display(), server.url);
    assert!(error.to_string().starts_with(&message) && error.is_network(), "{error}");
    assert!(!folder.path().join("not").exists() && server.asked().is_empty());
    let from = folder.path().join("from.zip");
    fs::write(&from, body(SIZE)).unwrap();
    urls.push(from.display().to_string());
    downloader.fetch(&Request { urls: &urls, target: &target, expected: &expected }, &Silent).unwrap();
}

#[test]
fn without_a_hash_there_is_no_way_from_https_to_http() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::start(vec![right()]);
    let urls = [format!("https://127.0.0.1:{port}/"), server.url.clone()];
    let target = folder.path().join("a.zip");
    let size = Expected { bytes: Some(SIZE as u64), ..Expected::default() };
    let error = fetch(&urls, &target, &size).unwrap_err().to_string();
    assert!(
        error.contains("no hash is known that would tell a wrong file") && server.asked().is_empty(),
        "{error}"
    );
    fetch(&urls, &target, &known(&body(SIZE))).unwrap();
}

#[test]
fn a_server_that_is_not_there_is_tried_again_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/a.zip");
    let error = fetch(std::slice::from_ref(&url), &folder.path().join("a.zip"), &known(&body(SIZE)))
        .unwrap_err()
        .to_string();
    assert_eq!(error, format!("{url}: cannot connect: Connection refused (os error 111) (tried 3 times)"));
}

#[test]
fn a_stop_keeps_what_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.zip");
    let server =
        Server::start(vec![cut(&body(SIZE), 30_000, Vec::new), status(503, "\r\nRetry-After: 60"), right()]);
    let told = Told { stop_at: Some(30_000), ..Told::default() };
    let (urls, expected) = ([server.url.clone()], known(&body(SIZE)));
    let request = Request { urls: &urls, target: &target, expected: &expected };
    let downloader =
        Downloader::new(Options { retry_after_cap: Duration::from_secs(60), ..hasty() }).unwrap();
    let start = Instant::now();
    let error = downloader.fetch(&request, &told).unwrap_err();
    assert!(matches!(error, DownloadError::Stopped { held_bytes: 30_000, .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20), "it does not wait for the server");
    let told = Told { stop_at: None, ..Told::default() };
    let downloader = Downloader::new(hasty()).unwrap();
    let fetched = downloader.fetch(&request, &told).unwrap();
    assert_eq!(fetched.resumed_bytes, 30_000);
    assert!(
        told.retries.lock().unwrap()[0].1 >= Duration::from_millis(60),
        "what the server asked for, capped"
    );
}

#[test]
fn one_process_at_a_time_writes_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.zip");
    let held = fs::File::create(folder.path().join("a.zip.partial")).unwrap();
    held.lock().unwrap();
    let server = Server::start(vec![right()]);
    let error = fetch(std::slice::from_ref(&server.url), &target, &known(&body(SIZE))).unwrap_err();
    assert!(matches!(error, DownloadError::Busy { .. }) && server.asked().is_empty(), "{error}");
    drop(held);
    fetch(std::slice::from_ref(&server.url), &target, &known(&body(SIZE))).unwrap();
}

#[test]
fn a_target_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"").unwrap();
    let target = folder.path().join("file/a.zip");
    let error =
        fetch(&["http://127.0.0.1:9/".to_owned()], &target, &Expected::default()).unwrap_err().to_string();
    assert!(error.starts_with("cannot create folder `") && error.contains("/file`: "), "{error}");
}

#[test]
fn notes_that_lie_make_no_wrong_file() {
    let url_at = "URL";
    for note in [
        "",
        "{",
        "[]",
        r#"{"schema":2,"url":"URL","validator":{"etag":"\"v1\""},"total_bytes":50000,"held":[[0,20000]]}"#,
        r#"{"schema":1,"url":"URL","validator":{"etag":"\"v1\""},"total_bytes":50000,"held":[[0,50000]]}"#,
        r#"{"schema":1,"url":"URL","validator":{"etag":"\"v1\""},"total_bytes":50000,"held":[[0,20001]]}"#,
        r#"{"schema":1,"url":"URL","validator":{"etag":"\"v1\""},"total_bytes":10000,"held":[[0,20000]]}"#,
        r#"{"schema":1,"url":"URL","validator":{"etag":"\"v1\""},"total_bytes":50000,"held":[[10,5],[0,7]]}"#,
        r#"{"schema":1,"url":"URL","validator":{"etag":"\"v1\""},"total_bytes":50000,"held":[[18446744073709551615,0]]}"#,
        r#"{"schema":1,"url":"URL","validator":{"etag":"\"v1\""},"total_bytes":49999,"held":[[0,20000]]}"#,
        r#"{"schema":1,"url":"URL","validator":{"etag":"\"v1\""},"total_bytes":null,"held":[[0,20000]]}"#,
        r#"{"schema":1,"url":"URL","validator":{"etag":"a\nb"},"total_bytes":50000,"held":[[0,20000]]}"#,
        r#"{"schema":1,"url":"URL","validator":null,"total_bytes":50000,"held":[[0,20000]]}"#,
        r#"{"schema":1,"url":"URL","validator":{"etag":"\"v1\""},"total_bytes":50000,"held":[[0,20000]],"more":1}"#,
    ] {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.zip");
        let server = Server::start(vec![right()]);
        // What is there is not what the note says either.
        fs::write(folder.path().join("a.zip.partial"), vec![0; 20_000]).unwrap();
        fs::write(folder.path().join("a.zip.partial.json"), note.replace(url_at, &server.url)).unwrap();
        // A version that cannot be sent is an error of this URL; everything else ends with the right file.
        match fetch(std::slice::from_ref(&server.url), &target, &known(&body(SIZE))) {
            Ok(_) => assert!(fs::read(&target).unwrap() == body(SIZE), "{note}"),
            Err(error) => assert!(note.contains("\\n") && !target.exists(), "{note}: {error}"),
        }
    }
}
