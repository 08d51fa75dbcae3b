//! Clocks that are wrong: the server's, ours, and those that stamped the files here.

use std::fs::File;
use std::time::{Duration, Instant, SystemTime};

use super::server::{Server, good, raw, status};
use super::*;

const SIZE: usize = 50_000;

/// Before 1970, its first second, far in the future.
fn times() -> [SystemTime; 3] {
    let years = |count: u64| Duration::from_secs(count * 365 * 86_400);
    let epoch = SystemTime::UNIX_EPOCH;
    [epoch - years(60), epoch, epoch + years(400)]
}

#[test]
fn the_age_of_what_is_held_is_nobodys_business() {
    for time in times() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.zip");
        let server = Server::start(vec![good(&body(SIZE), "\"v1\"")]);
        interrupted(&target, &server.url, &body(SIZE)[..20_000], "\"v1\"", Some(SIZE));
        for suffix in [".partial", ".partial.json"] {
            let path = target.with_file_name(format!("a.zip{suffix}"));
            // Not every file system has room for such times; the nearest it has will do.
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        let (urls, expected) = ([server.url.clone()], known(&body(SIZE)));
        let request = Request { urls: &urls, target: &target, expected: &expected };
        let fetched = Downloader::new(hasty()).unwrap().fetch(&request, &Silent).unwrap();
        assert_eq!(fetched.resumed_bytes, 20_000, "{time:?}");
        assert!(fs::read(&target).unwrap() == body(SIZE));
    }
}

#[test]
fn a_date_to_wait_for_is_taken_by_the_servers_clock_and_never_beyond_the_cap() {
    // What is asked for, what time the server has it, and how long that is, capped at 60 ms.
    for (until, date, waits) in [
        // Its clock is decades behind ours: by ours the date is long past, by its own it is far away.
        ("Sun, 06 Nov 1994 09:49:37 GMT", Some("Sun, 06 Nov 1994 08:49:37 GMT"), true),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some("Sun, 06 Nov 1994 08:49:37 GMT"), false),
        // Centuries ahead: by ours far away, by its own now.
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some("Fri, 31 Dec 9999 23:59:59 GMT"), false),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some("Thu, 01 Jan 1970 00:00:00 GMT"), true),
        ("Thu, 01 Jan 1970 00:00:00 GMT", Some("Fri, 31 Dec 9999 23:59:59 GMT"), false),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None, true),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None, false),
        // Dates that cannot be or that nobody can read.
        ("Wed, 31 Dec 1969 23:59:59 GMT", None, false),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None, false),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some("yesterday"), true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let date = date.map(|date| format!("\r\nDate: {date}")).unwrap_or_default();
        let busy = status(503, &format!("\r\nRetry-After: {until}{date}"));
        let server = Server::start(vec![busy, good(&body(SIZE), "\"v1\"")]);
        let (urls, expected) = ([server.url.clone()], known(&body(SIZE)));
        let request = Request { urls: &urls, target: &folder.path().join("a.zip"), expected: &expected };
        let (told, start) = (Told::default(), Instant::now());
        Downloader::new(hasty()).unwrap().fetch(&request, &told).unwrap();
        assert!(start.elapsed() < Duration::from_secs(20), "{until}");
        let wait = told.retries.lock().unwrap()[0].1;
        let (least, most) = if waits { (60, 60) } else { (0, 2) };
        let expected = Duration::from_millis(least)..=Duration::from_millis(most);
        assert!(expected.contains(&wait), "{until} {date}: {wait:?}");
    }
}

#[test]
fn a_file_from_the_future_has_no_strong_date() {
    // It breaks off once. A modification date that is not well past by the server's own clock does not vouch for the rest.
    let cut = |modified: &str, date: &str| {
        let lines = format!("Last-Modified: {modified}\r\nDate: {date}\r\nAccept-Ranges: bytes");
        raw(&format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n{lines}"), &body(SIZE)[..30_000])
    };
    let now = "Tue, 14 Feb 2017 01:58:09 GMT";
    for (modified, resumes) in [
        ("Mon, 13 Feb 2017 01:58:09 GMT", true),
        (now, false),
        ("Fri, 31 Dec 9999 23:59:59 GMT", false),
        ("Wed, 31 Dec 1969 23:59:59 GMT", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(vec![cut(modified, now), good(&body(SIZE), "\"v1\"")]);
        let (urls, expected) = ([server.url.clone()], known(&body(SIZE)));
        let request = Request { urls: &urls, target: &folder.path().join("a.zip"), expected: &expected };
        Downloader::new(hasty()).unwrap().fetch(&request, &Silent).unwrap();
        assert_eq!(server.asked()[1].header("range").is_some(), resumes, "{modified}");
    }
}
