//! Several ranges at once: the same file, whatever happens to some of the streams.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::server::{Act, Asked, Reply, Server, good, proper};
use super::*;

const SIZE: usize = 90_000;

fn options() -> Options {
    Options { ranges: 3, ..hasty() }
}

/// Fetches from a server with one reply; the outcome, what was asked, what was told.
fn fetch(reply: Reply, options: Options) -> (Result<Fetched, DownloadError>, Vec<Asked>, Told) {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.zip");
    let server = Server::start(vec![reply]);
    let (urls, expected, told) = ([format!("{}/a", server.url)], known(&body(SIZE)), Told::default());
    let request = Request { urls: &urls, target: &target, expected: &expected };
    let outcome = Downloader::new(options).unwrap().fetch(&request, &told);
    if outcome.is_ok() {
        assert!(fs::read(&target).unwrap() == body(SIZE));
        assert_eq!(*told.count.lock().unwrap(), (SIZE as u64, Some(SIZE as u64)));
    } else {
        assert!(!target.exists());
    }
    (outcome, server.asked(), told)
}

#[test]
fn ranges_make_the_same_file() {
    let (outcome, asked, _) = fetch(faulty(|_, _| None), options());
    assert_eq!(outcome.unwrap().resumed_bytes, 0);
    assert!(asked.len() > 1 && asked.len() <= 1 + SIZE.div_ceil(8_000), "{}", asked.len());
    assert_eq!(asked.iter().filter(|asked| asked.header("range").is_none()).count(), 1);
    assert!(asked.iter().all(|asked| asked.header("range").is_some() == asked.header("if-range").is_some()));
}

#[test]
fn streams_are_added_only_after_it_is_measured_whether_they_help() {
    // Every connection gets so much and no more: some 100 kB a second.
    let slow: Reply = Arc::new(|asked| {
        let (head, body) = proper(asked, &body(SIZE), "\"v1\"");
        let pieces = body
            .chunks(1_000)
            .flat_map(|piece| [Act::Send(piece.to_vec()), Act::Sleep(std::time::Duration::from_millis(10))]);
        [Act::Send(head)].into_iter().chain(pieces).collect()
    });
    let trial = |ms| Options { ranges_trial: std::time::Duration::from_millis(ms), ..options() };
    let (outcome, asked, _) = fetch(Arc::clone(&slow), trial(40));
    assert!(outcome.is_ok() && asked.len() > 1, "{}", asked.len());
    // All is here before anything is known.
    let (outcome, asked, _) = fetch(slow, trial(60_000));
    assert!(outcome.is_ok());
    assert_eq!(asked.len(), 1);
}

#[test]
fn without_a_strong_validator_there_is_one_stream() {
    let (outcome, asked, _) = fetch(good(&body(SIZE), "W/\"v1\""), options());
    assert!(outcome.is_ok());
    assert_eq!(asked.len(), 1);
}

/// A proper server, except that requests with a range get what `fault` makes of them.
fn faulty(fault: impl Fn(usize, &Asked) -> Option<Vec<Act>> + Send + Sync + 'static) -> Reply {
    let ranges = AtomicUsize::new(0);
    Arc::new(move |asked| {
        if asked.header("range").is_some()
            && let Some(acts) = fault(ranges.fetch_add(1, Ordering::SeqCst), asked)
        {
            return acts;
        }
        let (head, mut body) = proper(asked, &body(SIZE), "\"v1\"");
        let rest = body.split_off(body.len().min(7_000));
        // Without this pause the first stream may be through before another one has started.
        let pause = if asked.header("range").is_none() { Duration::from_millis(300) } else { Duration::ZERO };
        vec![Act::Send(head), Act::Send(body), Act::Sleep(pause), Act::Send(rest)]
    })
}

fn status(line: &str) -> Option<Vec<Act>> {
    Some(vec![Act::Send(
        format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes(),
    )])
}

#[test]
fn a_server_that_does_not_keep_its_word_is_asked_for_one_stream() {
    // It ignores ranges.
    let (outcome, _, _) = fetch(
        faulty(|_, _| {
            let (head, body) = proper(&Asked::default(), &body(SIZE), "\"v1\"");
            Some(vec![Act::Send(head), Act::Send(body)])
        }),
        options(),
    );
    outcome.unwrap();
    // It refuses them, or some of them, or sends another one.
    fetch(faulty(|_, _| status("403 Forbidden")), options()).0.unwrap();
    fetch(faulty(|number, _| if number < 2 { status("403 Forbidden") } else { None }), options()).0.unwrap();
    fetch(faulty(|number, _| if number % 2 == 0 { status("503 Busy") } else { None }), options()).0.unwrap();
    let other = faulty(|number, _| {
        let shifted = Asked { headers: vec![("range".to_owned(), "bytes=1-8000".to_owned())] };
        let (head, body) = proper(&shifted, &body(SIZE), "\"v1\"");
        (number < 2).then(|| vec![Act::Send(head), Act::Send(body)])
    });
    fetch(other, options()).0.unwrap();
}

#[test]
fn broken_ranges_are_fetched_again() {
    let reply = faulty(|number, asked| {
        let (head, mut body) = proper(asked, &body(SIZE), "\"v1\"");
        body.truncate(3_000);
        (number % 2 == 0).then(|| vec![Act::Send(head), Act::Send(body)])
    });
    let (outcome, _, told) = fetch(reply, options());
    outcome.unwrap();
    assert!(told.retries.lock().unwrap().iter().all(|(reason, _)| !reason.is_empty()));
}

#[test]
fn one_wrong_range_is_found_and_the_file_fetched_once_more_as_one() {
    let reply = faulty(|number, asked| {
        let (head, mut body) = proper(asked, &body(SIZE), "\"v1\"");
        body[17] ^= 1;
        (number == 1).then(|| vec![Act::Send(head), Act::Send(body)])
    });
    let (outcome, asked, told) = fetch(reply, options());
    outcome.unwrap();
    assert_eq!(asked.iter().filter(|asked| asked.header("range").is_none()).count(), 2);
    assert!(told.retries.lock().unwrap().iter().any(|(reason, _)| reason.contains("its SHA-256 is")));
}

#[test]
fn gaps_that_an_interrupted_run_left_are_filled() {
    for ranges in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.zip");
        let server = Server::start(vec![good(&body(SIZE), "\"v1\"")]);
        let urls = [format!("{}/a", server.url)];
        let mut bytes = body(SIZE);
        bytes[10_000..30_000].fill(0);
        bytes[50_000..60_000].fill(0);
        bytes.truncate(70_000);
        fs::write(folder.path().join("a.zip.partial"), &bytes).unwrap();
        let note = serde_json::json!({
            "schema": 1, "url": urls[0], "validator": { "etag": "\"v1\"" }, "total_bytes": SIZE,
            "held": [[0, 10_000], [30_000, 50_000], [60_000, 70_000]],
        });
        fs::write(folder.path().join("a.zip.partial.json"), note.to_string()).unwrap();
        let expected = known(&body(SIZE));
        let request = Request { urls: &urls, target: &target, expected: &expected };
        let fetched =
            Downloader::new(Options { ranges, ..options() }).unwrap().fetch(&request, &Silent).unwrap();
        assert_eq!(fetched.resumed_bytes, 40_000);
        assert!(fs::read(&target).unwrap() == body(SIZE));
        let asked: usize = server
            .asked()
            .iter()
            .map(|asked| asked.range(SIZE).unwrap())
            .map(|(start, end)| end - start)
            .sum();
        assert!(ranges > 1 || asked == SIZE - 40_000, "{asked}");
    }
}

#[test]
fn many_files_at_once_do_not_mix() {
    let server = Server::start(vec![good(&body(SIZE), "\"v1\"")]);
    let folder = tempfile::tempdir().unwrap();
    let downloader = Downloader::new(options()).unwrap();
    thread::scope(|scope| {
        for number in 0..6 {
            let (server, downloader) = (&server, &downloader);
            let target = folder.path().join(format!("{number}.zip"));
            scope.spawn(move || {
                let (urls, expected) = ([format!("{}/{number}", server.url)], known(&body(SIZE)));
                let request = Request { urls: &urls, target: &target, expected: &expected };
                downloader.fetch(&request, &Silent).unwrap();
                assert!(fs::read(&target).unwrap() == body(SIZE));
            });
        }
    });
}
