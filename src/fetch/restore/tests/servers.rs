//! What servers do, and what the user is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::fetch::http::tests::server::{Act, Asked, cut, proper, raw, status};

const BAD: [&str; 2] = ["0003.png", "0004.png"];

fn damaged() -> Damaged {
    Damaged::new(9, &BAD)
}

/// A proper server, except for what `change` does to the head and the body of its answers to requests from the one of this number on.
fn changed(
    damaged: &Damaged,
    from: usize,
    change: impl Fn(String, &mut Vec<u8>) -> String + Send + Sync + 'static,
) -> Vec<Reply> {
    let zip = damaged.zip.clone();
    let reply: Reply = Arc::new(move |asked: &Asked| {
        let (head, mut body) = proper(asked, &zip, ETAG);
        let head = change(String::from_utf8(head).unwrap(), &mut body);
        vec![Act::Send(head.into_bytes()), Act::Send(body)]
    });
    let mut script = vec![damaged.good(); from];
    script.push(reply);
    script
}

/// A proper server that sends so many bytes of one answer and then does something else, once.
fn breaks_once(
    damaged: &Damaged,
    at: usize,
    bytes: usize,
    then: impl Fn() -> Vec<Act> + Send + Sync + 'static,
) -> Vec<Reply> {
    let mut script = vec![damaged.good(); at];
    script.extend([cut(&damaged.zip, bytes, then), damaged.good()]);
    script
}

#[test]
fn servers_without_reliable_parts_leave_the_whole_archive() {
    let set = damaged();
    let zip = set.zip.clone();
    let size = zip.len();
    let whole: Reply = {
        let zip = zip.clone();
        Arc::new(move |_| {
            let (head, body) = proper(&Asked::default(), &zip, ETAG);
            vec![Act::Send(head), Act::Send(body)]
        })
    };
    let cases: Vec<(&str, Vec<Reply>, String)> = vec![
        ("ignores ranges", vec![whole.clone()], "it sent the whole file instead of a part".into()),
        (
            "ignores ranges later",
            vec![set.good(), set.good(), whole],
            "it sent the whole file instead of a part, so the file changed meanwhile".into(),
        ),
        (
            "the file changed",
            vec![set.good(), good(&zip, "\"v2\"")],
            "it sent the whole file instead of a part, so the file changed meanwhile".into(),
        ),
        (
            "the file changed and the server does not care",
            changed(&set, 1, |head, _| head.replace("v1", "v2")),
            "the file on the server changed since its first part was fetched".into(),
        ),
        (
            "another part",
            changed(&set, 1, |head, _| head.replace("Content-Range: bytes ", "Content-Range: bytes 1")),
            String::new(),
        ),
        (
            "another part at once",
            changed(&set, 0, |head, _| head.replace("bytes 0-0", "bytes 0-1")),
            format!("asked for `bytes 0-0` of ? bytes, it is `bytes 0-1/{size}`"),
        ),
        (
            "another size meanwhile",
            changed(&set, 2, move |head, _| head.replace(&format!("/{size}"), "/1234567")),
            String::new(),
        ),
        (
            "does not say which part",
            changed(&set, 1, |head, _| head.replace("Content-Range", "X-Range")),
            "it is a part (206) that does not say which (no Content-Range)".into(),
        ),
        (
            "encoded",
            changed(&set, 1, |head, _| head.replace("ETag", "Content-Encoding: gzip\r\nETag")),
            "it is encoded as `gzip` although only the plain file was asked for".into(),
        ),
        (
            "no version",
            changed(&set, 0, |head, _| head.replace("ETag", "X-Tag")),
            "it names no version of the file by which parts could be told to belong together".into(),
        ),
        (
            "a weak version",
            changed(&set, 0, |head, _| head.replace("ETag: ", "ETag: W/")),
            "it names no version of the file by which parts could be told to belong together".into(),
        ),
        (
            "416",
            vec![set.good(), status(416, "\r\nContent-Range: bytes */7")],
            "it says that the file ends before the part that was asked for (416)".into(),
        ),
        ("an empty file", vec![good(b"", ETAG)], String::new()),
    ];
    for (name, script, reason) in cases {
        let (outcome, server, url) = set.restore_by(script, &BAD);
        let error = outcome.unwrap_err();
        let told = error.to_string();
        assert!(matches!(*error.problem, Problem::Download(DownloadError::NoParts { .. })), "{name}: {told}");
        assert!(error.problem.archive_may_help() && error.problem.is_network(), "{name}");
        let message = format!("{url}: parts of this file cannot be fetched: {reason}");
        assert!(
            if reason.is_empty() { told.starts_with(&message) } else { told == message },
            "{name}: {told}"
        );
        assert!(server.served_bytes() < 3 * size as u64, "{name}");
        set.assert_right_but_for(&BAD);
    }
}

#[test]
fn other_refusals_leave_the_whole_archive_too() {
    let set = damaged();
    let (outcome, _, url) = set.restore_by(vec![status(403, "")], &BAD);
    let error = outcome.unwrap_err();
    assert!(error.problem.archive_may_help(), "{error}");
    assert!(error.to_string().starts_with(&format!("{url}: the server answered 403 Forbidden")), "{error}");
    let (outcome, server, url) = set.restore_by(vec![good(&set.zip[1..], ETAG)], &BAD);
    let error = outcome.unwrap_err();
    let size = set.zip.len();
    let message = format!("{url}: it has {} bytes, expected {size}: it is another archive", size - 1);
    assert!(error.problem.archive_may_help() && error.to_string() == message, "{error}");
    assert_eq!(server.asked().len(), 1);
    // More than announced, where nothing announces it.
    let endless = changed(&set, 1, |head, body| {
        let length = format!("Content-Length: {}", body.len());
        *body = [format!("{:x}\r\n", body.len() + 5).as_bytes(), body, b"extra\r\n0\r\n\r\n"].concat();
        head.replace(&length, "Transfer-Encoding: chunked")
    });
    let error = set.restore_by(endless, &BAD).0.unwrap_err();
    assert!(matches!(*error.problem, Problem::Download(DownloadError::TooLong { .. })), "{error}");
    assert!(error.problem.archive_may_help());
    set.assert_right_but_for(&BAD);
}

#[test]
fn what_breaks_is_continued() {
    type Script = fn(&Damaged) -> Vec<Reply>;
    let scripts: Vec<(&str, Script, usize)> = vec![
        ("truncated end of the archive", |set| breaks_once(set, 1, 30_000, Vec::new), 1),
        ("truncated member", |set| breaks_once(set, 2, 9_000, Vec::new), 1),
        ("nothing of a member", |set| breaks_once(set, 2, 0, Vec::new), 1),
        (
            "reset within a member",
            |set| {
                breaks_once(set, 3, 9_000, || {
                    vec![Act::Sleep(std::time::Duration::from_millis(30)), Act::Reset]
                })
            },
            1,
        ),
        ("503 at first", |set| vec![status(503, ""), set.good()], 1),
        ("503 twice in between", |set| vec![set.good(), status(503, ""), status(503, ""), set.good()], 2),
        ("429 with Retry-After", |set| vec![set.good(), status(429, "\r\nRetry-After: 1"), set.good()], 1),
        ("no answer at first", |set| vec![cut(&set.zip, 0, || vec![Act::Reset]), set.good()], 0),
    ];
    for (name, script, more) in scripts {
        let set = damaged();
        let (outcome, server, _) = set.restore_by(script(&set), &BAD);
        let restored = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(restored.names, BAD, "{name}");
        set.assert_right_but_for(&[]);
        assert_eq!(server.asked().len(), 1 + 1 + 2 + more, "{name}");
        // What was received is not asked for again.
        assert!(restored.transferred_bytes < 65_557 + 2 * 21_000, "{name}");
    }
}

#[test]
fn a_server_that_stays_broken_is_given_up_and_the_archive_would_not_help() {
    let set = damaged();
    let (outcome, server, url) = set.restore_by(vec![set.good(), set.good(), status(503, "")], &BAD);
    let error = outcome.unwrap_err();
    let message = format!("{url}: the server answered 503 Service Unavailable (tried 3 times)");
    assert_eq!(error.to_string(), message);
    assert!(error.problem.is_network() && !error.problem.archive_may_help());
    assert_eq!(server.asked().len(), 5);
    set.assert_right_but_for(&BAD);
    // What came before it broke stays, and is named.
    let (outcome, _, url) = set.restore_by(vec![set.good(), set.good(), set.good(), status(503, "")], &BAD);
    let error = outcome.unwrap_err();
    assert_eq!(error.restored.names, ["0003.png"]);
    let message = format!(
        "{url}: the server answered 503 Service Unavailable (tried 3 times) (1 restored before: 0003.png)"
    );
    assert_eq!(error.to_string(), message);
    set.assert_right_but_for(&["0004.png"]);
}

#[test]
fn the_next_mirror_brings_what_the_first_could_not() {
    let set = damaged();
    let servers = [
        Server::start(vec![status(404, "")]),
        Server::start(vec![set.good(), set.good(), set.good(), status(500, "")]),
        Server::start(vec![set.good()]),
    ];
    let urls = servers.each_ref().map(|server| server.url.clone());
    assert_eq!(set.restore(&urls, &BAD).unwrap().names, BAD);
    set.assert_right_but_for(&[]);
    assert_eq!(servers[2].asked().len(), 3, "only what was still missing");
    let set = damaged();
    let gone = Server::start(vec![status(404, "")]);
    let no_parts =
        Server::start(vec![raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close", b"x")]);
    let error = set.restore(&[gone.url.clone(), no_parts.url.clone()], &BAD).unwrap_err();
    assert!(matches!(&*error.problem, Problem::Several(problems) if problems.len() == 2), "{error}");
    assert!(error.problem.archive_may_help() && error.to_string().lines().count() == 3, "{error}");
}

#[test]
fn a_stop_ends_it_between_any_two_pieces() {
    struct Stop(AtomicBool, u64, std::sync::atomic::AtomicU64);
    impl Progress for Stop {
        fn advanced(&self, bytes: u64) {
            if self.2.fetch_add(bytes, Ordering::SeqCst) + bytes >= self.1 {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        fn stopped(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }
    for after in [1, 66_000, 90_000] {
        let set = damaged();
        let server = Server::start(vec![set.good()]);
        let urls = [server.url.clone(), server.url.clone()];
        let stop = Stop(AtomicBool::new(false), after, 0.into());
        let archive = Archive { urls: &urls, bytes: None, format: Format::Zip, prefix: "SET/" };
        let error = set.restore_from(&archive, &BAD, &stop).unwrap_err();
        assert!(error.problem.is_stopped() && !error.problem.archive_may_help(), "{after}: {error}");
        assert!(server.asked().len() <= 4, "{after}");
        set.assert_right_but_for(&BAD[error.restored.names.len()..]);
    }
    let offline = Downloader::new(crate::fetch::http::Options { offline: true, ..hasty() }).unwrap();
    let set = damaged();
    let urls = ["http://127.0.0.1:9/a.zip".to_owned()];
    let archive = Archive { urls: &urls, bytes: None, format: Format::Zip, prefix: "SET/" };
    let error = restore(&archive, &set.lost(&BAD), set.path(), &offline, &Silent).unwrap_err();
    assert!(matches!(*error.problem, Problem::Download(DownloadError::Offline { .. })), "{error}");
}
