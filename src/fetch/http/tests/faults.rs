//! Every fault a server can have that we could think of: what the user is told, and that the file is right or absent.

use super::case::{
    Case, HELD, SIZE, chunked, endless, file, hash_only, nothing, part, right, run, sleep, whole,
};
use super::server::{Act, Reply, V1, acts, cut, good, raw, status};
use super::*;

#[test]
fn servers_that_break_off() {
    let drops = |bytes| cut(&file(), bytes, Vec::new);
    run(vec![
        Case::new("nothing wrong", vec![right()]),
        Case::new("truncates once", vec![drops(30_000), right()]),
        Case::new("truncates again and again, but gets on", vec![drops(9_000), drops(9_000), drops(9_000), drops(9_000), drops(9_000), right()]),
        Case::new("always truncates at the same place", vec![cut(&file(), 30_000, Vec::new), cut(&file(), 0, Vec::new)])
            .requests(3)
            .fails("U/a.zip: the connection broke at byte 30000 of 50000: end of file before message length reached (tried 3 times; 30000 bytes are kept, and the same command continues there)")
            .keeps(30_000),
        Case::new("resets in the middle of the body", vec![cut(&file(), 30_000, || vec![sleep(30), Act::Reset]), right()]),
        Case::new("stalls in the middle of the body", vec![cut(&file(), 30_000, || vec![sleep(2200)]), right()]).impatient(),
        Case::new("stalls every time", vec![cut(&file(), 30_000, || vec![sleep(2200)]), acts(|| vec![sleep(2200)])]).impatient()
            .requests(3)
            .fails("U/a.zip: no answer: operation timed out (tried 3 times; 30000 bytes are kept, and the same command continues there)")
            .keeps(30_000),
        Case::new("trickles", vec![cut(&file(), 1_000, || (0..40).flat_map(|_| [sleep(20), Act::Send(vec![0])]).collect()), right()]).impatient().requests(3)
            .expecting(known(&file())),
        Case::new("closes before the head", vec![acts(Vec::new), right()]),
        Case::new("never answers anything", vec![acts(Vec::new)])
            .requests(3)
            .fails("U/a.zip: no answer: connection closed before message completed (tried 3 times)"),
        Case::new("resets before the head", vec![acts(|| vec![Act::Reset]), right()]),
        Case::new("breaks within the head", vec![acts(|| vec![Act::Send(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec())]), right()]),
        Case::new("stalls before the head", vec![acts(|| vec![sleep(2200)]), right()]).impatient(),
        Case::new("truncates without a version to resume from", vec![
            raw(&format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nConnection: close"), &file()[..30_000]),
        ])
        .requests(3)
        .fails("U/a.zip: the connection broke at byte 30000 of 50000: end of file before message length reached (tried 3 times)"),
        Case::new("truncates with a weak version only", vec![
            raw(&format!("HTTP/1.1 200 OK\r\nETag: W/\"v1\"\r\nContent-Length: {SIZE}\r\nConnection: close"), &file()[..30_000]),
            right(),
        ]),
        Case::new("chunked, cut between chunks", vec![chunked(&file()[..21_000], b""), right()]),
        Case::new("no length, closes early", vec![raw("HTTP/1.1 200 OK\r\nConnection: close", &file()[..30_000]), right()]),
    ]);
}

#[test]
fn servers_that_talk_nonsense() {
    run(vec![
        Case::new("garbage instead of a head", vec![raw("\x16\x03\x01 nonsense", b"")])
            .requests(3)
            .fails("U/a.zip: no answer: invalid HTTP version parsed (tried 3 times)"),
        Case::new("garbage once", vec![raw("SSH-2.0-dropbear", b""), right()]),
        Case::new("a head that never ends", vec![acts(|| {
            let line = format!("X-Long: {}\r\n", "y".repeat(10_000)).into_bytes();
            let mut all = vec![Act::Send(b"HTTP/1.1 200 OK\r\n".to_vec())];
            all.extend((0..400).map(|_| Act::Send(line.clone())));
            all
        })])
            .requests(3)
            .fails("U/a.zip: no answer: message head is too large (tried 3 times)"),
        Case::new("a huge header", vec![raw(&format!("HTTP/1.1 200 OK\r\nX-Long: {}", "y".repeat(2 << 20)), b"")])
            .requests(3)
            .fails("U/a.zip: no answer: message head is too large (tried 3 times)"),
        Case::new("more headers than anybody needs", vec![raw(&format!("HTTP/1.1 200 OK{}", "\r\nX-Many: 1".repeat(5000)), b"")])
            .requests(3)
            .fails("U/a.zip: no answer: message head is too large (tried 3 times)"),
        Case::new("a length that is none", vec![whole("\r\nContent-Length: many")])
            .requests(3)
            .fails("U/a.zip: no answer: invalid content-length parsed (tried 3 times)"),
        Case::new("two lengths", vec![whole("\r\nContent-Length: 50000\r\nContent-Length: 7")])
            .requests(3)
            .fails("U/a.zip: no answer: invalid content-length parsed (tried 3 times)"),
        Case::new("chunks that are none", vec![raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", b"zz\r\nabc"), right()]),
        Case::new("encoded although plain was asked for", vec![whole("\r\nContent-Encoding: gzip\r\nContent-Length: 50000")])
            .fails("U/a.zip: the answer cannot be used: it is encoded as `gzip` although only the plain file was asked for"),
        Case::new("says that it is not encoded", vec![whole("\r\nContent-Encoding: identity\r\nContent-Length: 50000")]),
        Case::new("a part although the whole was asked for", vec![part("bytes 20000-49999/50000")])
            .fails("U/a.zip: the answer cannot be used: it is a part (206) although the whole was asked for"),
        Case::new("416 to a request for the whole", vec![status(416, "")])
            .fails("U/a.zip: the server answered 416 Range Not Satisfiable"),
    ]);
}

#[test]
fn servers_with_wrong_content() {
    let other = body(SIZE + 1)[1..].to_vec();
    let longer = body(SIZE + 1);
    let flipped = |at: usize| {
        let mut bytes = file();
        bytes[at] ^= 1;
        bytes
    };
    let short = body(300);
    run(vec![
        Case::new("another file of the same length", vec![good(&other, "\"v1\"")])
            .fails("U/a.zip: not the right file: its SHA-256 is SHA, expected SHA (50000 bytes; what was received is removed)"),
        Case::new("one flipped bit", vec![good(&flipped(40_000), "\"v1\"")])
            .fails("U/a.zip: not the right file: its SHA-256 is SHA, expected SHA (50000 bytes; what was received is removed)"),
        Case::new("only the MD5 is known, and wrong", vec![good(&flipped(0), "\"v1\"")])
            .expecting(Expected { md5: known(&file()).md5, ..nothing() })
            .fails("U/a.zip: not the right file: its MD5 is MD5, expected MD5 (50000 bytes; what was received is removed)"),
        Case::new("announces more than there should be", vec![good(&longer, "\"v1\"")])
            .fails("U/a.zip: not the right file: its size in bytes is 50001, expected 50000 (50001 bytes; what was received is removed)"),
        Case::new("a login page instead", vec![good(&short, "\"v1\"")])
            .fails("U/a.zip: not the right file: its size in bytes is 300, expected 50000 (300 bytes; what was received is removed)"),
        Case::new("a login page of unknown size instead", vec![chunked(&short, b"0\r\n\r\n")])
            .requests(3)
            .fails("U/a.zip: the connection broke at byte 300 of 50000: the body ended early (tried 3 times)"),
        Case::new("more than announced", vec![raw("HTTP/1.1 200 OK\r\nContent-Length: 50000", &longer)]),
        Case::new("endless, without a length", vec![endless("HTTP/1.1 200 OK\r\nConnection: close")])
            .fails("U/a.zip: the body is longer than the 50000 bytes it should have: cut off"),
        Case::new("one byte too many, chunked", vec![chunked(&longer, b"0\r\n\r\n")])
            .fails("U/a.zip: the body is longer than the 50000 bytes it should have: cut off"),
        Case::new("endless, and no size is known", vec![endless("HTTP/1.1 200 OK\r\nConnection: close")])
            .expecting(hash_only())
            .fails("U/a.zip: the body is longer than the 1000000 bytes any file may have: cut off"),
        Case::new("announces more than any file may have", vec![whole("\r\nContent-Length: 99000000")])
            .expecting(hash_only())
            .fails("U/a.zip: the body is longer than the 1000000 bytes any file may have: cut off"),
        Case::new("chunked, as it should be", vec![chunked(&file(), b"0\r\n\r\n")]),
        Case::new("chunked, and nothing is known", vec![chunked(&file(), b"0\r\n\r\n")]).expecting(nothing()),
        Case::new("chunked, cut, and nothing is known", vec![chunked(&file()[..7000], b""), right()]).expecting(nothing()),
        Case::new("no length, as it should be", vec![whole("")]),
        Case::new("no length, cut, and only the hash is known", vec![raw("HTTP/1.1 200 OK", &file()[..30_000])])
            .expecting(hash_only())
            .fails("U/a.zip: not the right file: its SHA-256 is SHA, expected SHA (30000 bytes; what was received is removed)"),
        Case::new("no length, and nothing is known", vec![whole("")])
            .expecting(nothing())
            .fails("U/a.zip: the answer cannot be used: it announces no length, and neither size nor hash of the file is known: a whole file could not be told from a broken one"),
        Case::new("an empty file where there should be one", vec![status(200, "")])
            .fails("U/a.zip: not the right file: its size in bytes is 0, expected 50000 (0 bytes; what was received is removed)"),
    ]);
}

#[test]
fn servers_that_resume_badly() {
    let wrong_range = |range: &'static str, message: &'static str| {
        Case::new(range, vec![part(range)]).after(HELD, "\"v1\"").fails(message).keeps(HELD)
    };
    let changed = body(SIZE + 9)[9..].to_vec();
    let ignores = whole("\r\nContent-Length: 50000\r\nETag: \"v1\"");
    run(vec![
        Case::new("resumes", vec![right()]).after(HELD, "\"v1\""),
        Case::new("resumes, and breaks again", vec![cut(&file(), 5_000, Vec::new), right()]).after(HELD, "\"v1\""),
        Case::new("everything was there already", vec![right()]).after(SIZE, "\"v1\"").requests(0),
        Case::new("ignores Range", vec![ignores.clone()]).after(HELD, "\"v1\""),
        Case::new("ignores Range, and breaks off", vec![
            raw(&format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n{V1}X: y"), &file()[..10_000]),
            ignores,
        ])
        .after(HELD, "\"v1\""),
        Case::new("the file changed since, and is the right one now", vec![good(&file(), "\"v2\"")]).after(HELD, "\"v1\""),
        Case::new("the file changed since, and is another now", vec![good(&changed, "\"v2\"")])
            .after(HELD, "\"v1\"")
            .fails("U/a.zip: not the right file: its SHA-256 is SHA, expected SHA (50000 bytes; what was received is removed)"),
        Case::new("another version within a 206", vec![
            raw(
                "HTTP/1.1 206 Partial Content\r\nETag: \"v2\"\r\nContent-Range: bytes 20000-49999/50000",
                &file()[HELD..],
            ),
            right(),
        ])
        .after(HELD, "\"v1\""),
        Case::new("416, and starts over", vec![status(416, "\r\nContent-Range: bytes */50000"), right()]).after(HELD, "\"v1\""),
        Case::new("416 without a size, and starts over", vec![status(416, ""), right()]).after(HELD, "\"v1\""),
        Case::new("416 for ever", vec![status(416, "")])
            .after(HELD, "\"v1\"")
            .requests(2)
            .fails("U/a.zip: the server answered 416 Range Not Satisfiable"),
        Case::new("the rest, but of another file", vec![good(&changed, "\"v1\"")])
            .after(HELD, "\"v1\"")
            .requests(2)
            .fails("U/a.zip: not the right file: its SHA-256 is SHA, expected SHA (50000 bytes; what was received is removed)"),
        wrong_range("bytes 19999-49999/50000", "U/a.zip: the answer cannot be used: asked for `bytes 20000-` of 50000 bytes, it is `bytes 19999-49999/50000`"),
        wrong_range("bytes 20000-49998/50000", "U/a.zip: the answer cannot be used: asked for `bytes 20000-` of 50000 bytes, it is `bytes 20000-49998/50000`"),
        wrong_range("bytes 20000-50000/50001", "U/a.zip: the answer cannot be used: asked for `bytes 20000-` of 50000 bytes, it is `bytes 20000-50000/50001`"),
        wrong_range("bytes 20000-49999/*", "U/a.zip: the answer cannot be used: asked for `bytes 20000-` of 50000 bytes, it is `bytes 20000-49999/*`"),
        wrong_range("", "U/a.zip: the answer cannot be used: it is a part (206) that does not say which (no Content-Range)"),
        Case::new("206 that is encoded", vec![raw("HTTP/1.1 206 P\r\nContent-Encoding: br\r\nContent-Range: bytes 20000-49999/50000", b"")])
            .after(HELD, "\"v1\"")
            .fails("U/a.zip: the answer cannot be used: it is encoded as `br` although only the plain file was asked for")
            .keeps(HELD),
        Case::new("503 keeps what is held", vec![status(503, "")])
            .after(HELD, "\"v1\"")
            .requests(3)
            .fails("U/a.zip: the server answered 503 Service Unavailable (tried 3 times; 20000 bytes are kept, and the same command continues there)")
            .keeps(HELD),
    ]);
}

#[test]
fn servers_that_refuse_or_send_elsewhere() {
    let to = |code: u16, place: &str| status(code, &format!("\r\nLocation: {place}"));
    let hops: Vec<Reply> = (0..10).map(|hop| to(302, &format!("/{hop}"))).chain([right()]).collect();
    run(vec![
        Case::new("503 once", vec![status(503, ""), right()]),
        Case::new("429 with a wait", vec![status(429, "\r\nRetry-After: 0"), right()]),
        Case::new("429 with a wait of years, which is capped", vec![status(429, "\r\nRetry-After: 99999999"), right()]),
        Case::new("503 with a date", vec![status(503, "\r\nRetry-After: Fri, 01 Jan 2100 00:00:00 GMT"), right()]),
        Case::new("429 for ever", vec![status(429, "")])
            .requests(3)
            .fails("U/a.zip: the server answered 429 Too Many Requests: too many requests from here (tried 3 times)"),
        Case::new("404", vec![status(404, "")]).fails("U/a.zip: the server answered 404 Not Found: it is not there any more"),
        Case::new("403", vec![status(403, "")])
            .fails("U/a.zip: the server answered 403 Forbidden: it may have to be fetched by hand after accepting its terms"),
        Case::new("204", vec![raw("HTTP/1.1 204 No Content\r\nConnection: close", b"")]).fails("U/a.zip: the server answered 204 No Content"),
        Case::new("304", vec![raw("HTTP/1.1 304 Not Modified\r\nConnection: close", b"")]).fails("U/a.zip: the server answered 304 Not Modified"),
        Case::new("ten redirects", hops.clone()),
        Case::new("eleven redirects", [vec![to(301, "/first")], hops].concat())
            .requests(11)
            .fails("U/a.zip: more than 10 redirects, the last to U/9"),
        Case::new("a redirect to itself", vec![to(307, "/a.zip")]).fails("U/a.zip: redirects in a circle, back to U/a.zip"),
        Case::new("a circle of two", vec![to(302, "/b"), to(302, "/a.zip")]).fails("U/a.zip: redirects in a circle, back to U/a.zip"),
        Case::new("a redirect to nowhere", vec![status(302, "")]).fails("U/a.zip: redirect from U/a.zip without a Location"),
        Case::new("a redirect to a file of this machine", vec![to(302, "file:///etc/passwd")])
            .fails("U/a.zip: redirect to file:///etc/passwd is not followed: only http and https are"),
        Case::new("a redirect while resuming", vec![to(308, "/elsewhere"), right()]).after(HELD, "\"v1\""),
    ]);
}
