//! What the fault tables are made of.

use std::fs;
use std::thread;

use super::server::{Act, Reply, Server, acts, good, raw};
use super::*;

/// One fault.
pub(super) struct Case {
    name: &'static str,
    script: Vec<Reply>,
    expected: Expected,
    /// What an earlier run left: so many of the right bytes, and the version they are of.
    held: Option<(usize, &'static str)>,
    /// The whole message where the server's address is `U`, the partial file `P`; or nothing if the file arrives.
    message: Option<&'static str>,
    /// How many requests that takes.
    requests: usize,
    /// Whether the case is about waiting, and time limits are short.
    impatient: bool,
    /// How many bytes can be resumed afterwards.
    kept: Option<usize>,
}

pub(super) const SIZE: usize = 50_000;
pub(super) const HELD: usize = 20_000;

pub(super) fn file() -> Vec<u8> {
    body(SIZE)
}

pub(super) fn sleep(ms: u64) -> Act {
    Act::Sleep(std::time::Duration::from_millis(ms))
}

/// `HTTP/1.1 200 OK`, these lines, and the right body.
pub(super) fn whole(lines: &str) -> Reply {
    raw(&format!("HTTP/1.1 200 OK\r\nConnection: close{lines}"), &file())
}

/// A 206 with this Content-Range, and what would be right after the held bytes.
pub(super) fn part(range: &str) -> Reply {
    let range = if range.is_empty() { String::new() } else { format!("\r\nContent-Range: {range}") };
    let head = format!("HTTP/1.1 206 Partial Content\r\nETag: \"v1\"\r\nConnection: close{range}");
    raw(&head, &file()[HELD..])
}

pub(super) fn chunked(bytes: &[u8], end: &[u8]) -> Reply {
    let mut coded = Vec::new();
    for chunk in bytes.chunks(7000) {
        coded.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
        coded.extend(chunk);
        coded.extend(b"\r\n");
    }
    coded.extend(end);
    raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close", &coded)
}

/// Sends this again and again until the client has enough.
pub(super) fn endless(head: &str) -> Reply {
    let head = format!("{head}\r\n\r\n");
    acts(move || {
        let mut all = vec![Act::Send(head.clone().into_bytes())];
        all.extend((0..400).map(|_| Act::Send(body(10_000))));
        all
    })
}

/// Puts `SHA` and `MD5` for hashes: which ones is for other tests.
fn masked(message: &str) -> String {
    let words = message.split(' ').map(|word| {
        let digits = word.trim_end_matches(',');
        match (digits.bytes().all(|byte| byte.is_ascii_hexdigit()), digits.len()) {
            (true, 64) => word.replace(digits, "SHA"),
            (true, 32) => word.replace(digits, "MD5"),
            _ => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

impl Case {
    pub(super) fn new(name: &'static str, script: Vec<Reply>) -> Self {
        let requests = script.len();
        Self {
            name,
            script,
            expected: known(&file()),
            held: None,
            message: None,
            requests,
            impatient: false,
            kept: None,
        }
    }

    pub(super) fn fails(mut self, message: &'static str) -> Self {
        self.message = Some(message);
        self
    }

    pub(super) fn after(mut self, held: usize, etag: &'static str) -> Self {
        self.held = Some((held, etag));
        self
    }

    pub(super) fn expecting(mut self, expected: Expected) -> Self {
        self.expected = expected;
        self
    }

    pub(super) fn impatient(mut self) -> Self {
        self.impatient = true;
        self
    }

    pub(super) fn requests(mut self, requests: usize) -> Self {
        self.requests = requests;
        self
    }

    pub(super) fn keeps(mut self, bytes: usize) -> Self {
        self.kept = Some(bytes);
        self
    }

    fn run(self) {
        let name = self.name;
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a b.zip");
        let server = Server::start(self.script);
        let url = format!("{}/a.zip", server.url);
        if let Some((held, etag)) = self.held {
            interrupted(&target, &url, &file()[..held], etag, Some(SIZE));
        }
        let downloader = Downloader::new(if self.impatient { impatient() } else { hasty() }).unwrap();
        let urls = [url];
        let request = Request { urls: &urls, target: &target, expected: &self.expected };
        let outcome = downloader.fetch(&request, &Silent);
        let partial = target.with_file_name("a b.zip.partial");
        match (outcome, self.message) {
            (Ok(fetched), None) => {
                assert!(fs::read(&target).unwrap() == file(), "{name}: wrong file");
                assert_eq!(known(&file()), Expected::from(&fetched.found), "{name}");
                assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name}: litter");
            }
            (Err(error), Some(message)) => {
                let told =
                    error.to_string().replace(&server.url, "U").replace(&*partial.to_string_lossy(), "P");
                assert_eq!(masked(&told), message, "{name}");
                assert!(!target.exists(), "{name}: a file although it failed");
                assert!(
                    self.kept.is_some() || fs::read_dir(folder.path()).unwrap().count() == 0,
                    "{name}: litter"
                );
            }
            (outcome, message) => panic!("{name}: {outcome:?}, expected {message:?}"),
        }
        if let Some(kept) = self.kept {
            assert!(
                fs::read(&partial).unwrap()[..kept] == file()[..kept],
                "{name}: what is kept is not right"
            );
            let note = fs::read_to_string(target.with_file_name("a b.zip.partial.json")).unwrap();
            let note: serde_json::Value = serde_json::from_str(&note).unwrap();
            assert_eq!(note["held"], serde_json::json!([[0, kept]]), "{name}");
        }
        assert_eq!(server.asked().len(), self.requests, "{name}: {:?}", server.asked());
        for asked in server.asked() {
            assert_eq!(asked.header("accept-encoding"), Some("identity"), "{name}");
            assert_eq!(asked.header("range").is_some(), asked.header("if-range").is_some(), "{name}");
        }
    }
}

pub(super) fn run(cases: Vec<Case>) {
    // Most of them wait most of the time.
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| case.run());
        }
    });
}

pub(super) fn right() -> Reply {
    good(&file(), "\"v1\"")
}

pub(super) fn nothing() -> Expected {
    Expected::default()
}

pub(super) fn hash_only() -> Expected {
    Expected { bytes: None, md5: None, ..known(&file()) }
}
