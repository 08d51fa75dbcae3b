//! An HTTP/1.1 server on loopback that misbehaves on purpose, as its script says, request by request.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What one request asked for.
#[derive(Clone, Debug, Default)]
pub(in crate::fetch) struct Asked {
    /// The headers, names in lower case.
    pub(in crate::fetch) headers: Vec<(String, String)>,
}

impl Asked {
    pub(in crate::fetch) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The range asked for in a file of this many bytes, as first and one past the last position.
    pub(in crate::fetch) fn range(&self, total: usize) -> Option<(usize, usize)> {
        let (start, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let end = if last.is_empty() { total } else { last.parse::<usize>().unwrap() + 1 };
        Some((start.parse().unwrap(), end))
    }
}

/// What the server does next on the connection.
pub(in crate::fetch) enum Act {
    Send(Vec<u8>),
    Sleep(Duration),
    /// Drops the connection with a reset instead of a proper end.
    Reset,
}

/// An answer to a request.
pub(in crate::fetch) type Reply = Arc<dyn Fn(&Asked) -> Vec<Act> + Send + Sync>;

pub(in crate::fetch) struct Server {
    /// `http://127.0.0.1:port`
    pub(in crate::fetch) url: String,
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    served_bytes: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Server {
    /// Answers the first request by the first reply and so on; the last reply is for all that follow.
    pub(in crate::fetch) fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let served_bytes = Arc::new(AtomicU64::new(0));
        let (log, end, served) = (Arc::clone(&asked), Arc::clone(&ended), Arc::clone(&served_bytes));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (script, log, served) = (script.clone(), Arc::clone(&log), Arc::clone(&served));
                // A client that leaves early is part of the game, so errors end the connection and nothing else.
                thread::spawn(move || serve(stream.unwrap(), &script, &log, &served));
            }
        });
        Self { url: format!("http://127.0.0.1:{port}"), port, asked, served_bytes, ended }
    }

    /// How many bytes it sent so far, heads and all.
    pub(in crate::fetch) fn served_bytes(&self) -> u64 {
        self.served_bytes.load(Ordering::SeqCst)
    }

    /// Every request so far.
    pub(in crate::fetch) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(mut stream: TcpStream, script: &[Reply], log: &Mutex<Vec<Asked>>, served: &AtomicU64) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    // The request line: there is but one file.
    lines.next()?.ok()?;
    let mut asked = Asked::default();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        asked.headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let number = {
        let mut log = log.lock().unwrap();
        log.push(asked.clone());
        log.len() - 1
    };
    let reply = &script[number.min(script.len() - 1)];
    for act in reply(&asked) {
        match act {
            Act::Send(bytes) => {
                // Counted first: once the client has it, a test may ask.
                served.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                stream.write_all(&bytes).ok()?;
            }
            Act::Sleep(wait) => thread::sleep(wait),
            Act::Reset => {
                let linger = libc::linger { l_onoff: 1, l_linger: 0 };
                // SAFETY: the pointer and the length are those of one live `linger`, and the descriptor is open.
                unsafe {
                    libc::setsockopt(
                        stream.as_raw_fd(),
                        libc::SOL_SOCKET,
                        libc::SO_LINGER,
                        (&raw const linger).cast(),
                        size_of::<libc::linger>() as libc::socklen_t,
                    );
                }
                // What was sent before has to arrive before the reset does.
                thread::sleep(Duration::from_millis(30));
                return None;
            }
        }
    }
    Some(())
}

/// The headers of a file in its first version.
pub(in crate::fetch) const V1: &str = "ETag: \"v1\"\r\nAccept-Ranges: bytes\r\nConnection: close\r\n";

/// Some acts, whatever is asked.
pub(in crate::fetch) fn acts(acts: impl Fn() -> Vec<Act> + Send + Sync + 'static) -> Reply {
    Arc::new(move |_| acts())
}

/// A head (its lines separated by `\r\n`, without the empty one) and a body, exactly as given.
pub(in crate::fetch) fn raw(head: &str, body: &[u8]) -> Reply {
    let bytes = [head.as_bytes(), b"\r\n\r\n", body].concat();
    acts(move || vec![Act::Send(bytes.clone())])
}

/// A status with extra header lines and no body.
pub(in crate::fetch) fn status(status: u16, extra: &str) -> Reply {
    raw(&format!("HTTP/1.1 {status} Some Words\r\nContent-Length: 0\r\nConnection: close{extra}"), b"")
}

/// What a proper server would send for this file: the bytes of head and body.
pub(in crate::fetch) fn proper(asked: &Asked, body: &[u8], etag: &str) -> (Vec<u8>, Vec<u8>) {
    let fresh = asked.header("if-range").is_none_or(|condition| condition == etag);
    let common = format!("ETag: {etag}\r\nAccept-Ranges: bytes\r\nConnection: close\r\n\r\n");
    match asked.range(body.len()).filter(|_| fresh) {
        Some((start, end)) if start < body.len() => {
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\n{common}",
                end - start,
                end - 1,
                body.len()
            );
            (head.into_bytes(), body[start..end].to_vec())
        }
        Some(_) => {
            let head = format!(
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nContent-Range: bytes */{}\r\n{common}",
                body.len()
            );
            (head.into_bytes(), Vec::new())
        }
        None => (
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{common}", body.len()).into_bytes(),
            body.to_vec(),
        ),
    }
}

/// A server as it should be.
pub(in crate::fetch) fn good(body: &[u8], etag: &'static str) -> Reply {
    let body = body.to_vec();
    Arc::new(move |asked| {
        let (head, body) = proper(asked, &body, etag);
        vec![Act::Send(head), Act::Send(body)]
    })
}

/// A server as it should be, that sends only the first `bytes` of each body and then does something else.
pub(in crate::fetch) fn cut(
    body: &[u8],
    bytes: usize,
    then: impl Fn() -> Vec<Act> + Send + Sync + 'static,
) -> Reply {
    let body = body.to_vec();
    Arc::new(move |asked| {
        let (head, mut body) = proper(asked, &body, "\"v1\"");
        body.truncate(bytes);
        let mut acts = vec![Act::Send(head), Act::Send(body)];
        acts.extend(then());
        acts
    })
}
