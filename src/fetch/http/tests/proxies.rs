//! Proxies named by the environment: used, bypassed, down, or asking for a login.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::process::{SIZE, assert_holds, fetch};
use super::server::{Server, good};
use super::*;

/// What a proxy does with those who come.
#[derive(Clone, Copy)]
enum Manner {
    /// Sends the file itself, whatever host is asked for.
    Serves,
    /// 407.
    WantsLogin,
    /// Refuses what is asked, as a proxy does that may not go there.
    Refuses,
}

struct Proxy {
    url: String,
    /// First line and headers of every request.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        // Ends with the process of the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let head = head_of(&stream);
                log.lock().unwrap().push(head);
                answer(stream, manner);
            }
        });
        Self { url: format!("http://user:secret@{address}"), asked }
    }

    fn shown(&self) -> String {
        self.url.replace("user:secret@", "")
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn head_of(stream: &TcpStream) -> String {
    let mut head = String::new();
    let mut lines = BufReader::new(stream);
    while lines.read_line(&mut head).is_ok_and(|count| count > 2) {}
    head
}

fn answer(mut stream: TcpStream, manner: Manner) {
    let (head, content) = match manner {
        Manner::Serves => ("HTTP/1.1 200 OK", body(SIZE)),
        Manner::WantsLogin => (
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"",
            Vec::new(),
        ),
        Manner::Refuses => ("HTTP/1.1 502 Bad Gateway", Vec::new()),
    };
    let head = format!("{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
    let _ = stream.write_all(&[head.as_bytes(), &content].concat());
}

/// A host that is not there, so that only a proxy can know it.
const HTTP: &str = "http://data.invalid/a.zip";
const HTTPS: &str = "https://data.invalid/a.zip";

#[test]
fn http_goes_through_its_proxy_with_the_whole_address() {
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        let (proxy, folder) = (Proxy::start(Manner::Serves), tempfile::tempdir().unwrap());
        let told = fetch(&[HTTP], &folder.path().join("a.zip"), &[(variable, &proxy.url)]);
        assert_eq!(told, format!("from {HTTP}"), "{variable}");
        assert_holds(folder.path(), Some("a.zip"));
        let asked = proxy.asked();
        assert_eq!(asked.len(), 1, "{variable}");
        assert!(asked[0].starts_with("GET http://data.invalid/a.zip HTTP/1.1\r\n"), "{}", asked[0]);
        // RFC 7617: `user:secret` in base 64.
        assert!(
            asked[0].to_lowercase().contains("proxy-authorization: basic dxnlcjpzzwnyzxq="),
            "{}",
            asked[0]
        );
    }
}

#[test]
fn https_asks_its_proxy_for_a_tunnel() {
    for variable in ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        // A tunnel that is refused is as good as a tunnel here: what is asked for is what counts.
        let (proxy, folder) = (Proxy::start(Manner::Refuses), tempfile::tempdir().unwrap());
        let told = fetch(&[HTTPS], &folder.path().join("a.zip"), &[(variable, &proxy.url)]);
        let begins = format!("{HTTPS}: the proxy {} gives no connection (", proxy.shown());
        assert!(told.starts_with(&begins) && told.contains("tried 3 times"), "{told}");
        assert!(!told.contains("secret") && !told.contains("user"), "{told}");
        let asked = proxy.asked();
        assert!(asked[0].starts_with("CONNECT data.invalid:443 HTTP/1.1\r\n"), "{}", asked[0]);
        assert_holds(folder.path(), None);
    }
}

#[test]
fn a_proxy_that_wants_a_login_is_named_and_not_asked_again() {
    for (url, variable) in [(HTTP, "http_proxy"), (HTTPS, "https_proxy")] {
        let (proxy, folder) = (Proxy::start(Manner::WantsLogin), tempfile::tempdir().unwrap());
        let told = fetch(&[url], &folder.path().join("a.zip"), &[(variable, &proxy.url)]);
        let expected = format!(
            "{url}: the proxy {} asks for a name and a password, or refuses those it was given (407): \
             check http_proxy, https_proxy, all_proxy and no_proxy",
            proxy.shown()
        );
        assert_eq!(told, expected);
        assert_eq!(proxy.asked().len(), 1, "{url}");
        assert_holds(folder.path(), None);
    }
}

#[test]
fn a_proxy_that_is_down_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let proxy = format!("http://user:secret@127.0.0.1:{port}");
    for url in [HTTP, HTTPS] {
        let folder = tempfile::tempdir().unwrap();
        let told = fetch(&[url], &folder.path().join("a.zip"), &[("all_proxy", &proxy)]);
        let begins =
            format!("{url}: the proxy http://127.0.0.1:{port} gives no connection (Connection refused");
        assert!(told.starts_with(&begins) && !told.contains("secret"), "{told}");
        assert_holds(folder.path(), None);
    }
}

#[test]
fn exceptions_go_past_the_proxy() {
    let (proxy, folder) = (Proxy::start(Manner::WantsLogin), tempfile::tempdir().unwrap());
    let server = Server::start(vec![good(&body(SIZE), "\"v1\"")]);
    for exceptions in ["127.0.0.1", "127.0.0.0/8", "*", "example.org, 127.0.0.1"] {
        let variables = [("http_proxy", proxy.url.as_str()), ("no_proxy", exceptions)];
        let told = fetch(&[&server.url], &folder.path().join("a.zip"), &variables);
        assert_eq!(told, format!("from {}", server.url), "{exceptions}");
    }
    assert!(proxy.asked().is_empty());
    assert_holds(folder.path(), Some("a.zip"));
}

#[test]
fn a_proxy_that_makes_no_sense_stops_everything() {
    let (server, folder) = (Server::start(vec![good(&body(SIZE), "\"v1\"")]), tempfile::tempdir().unwrap());
    let variables = [("http_proxy", "socks5://user:secret@127.0.0.1:1")];
    let told = fetch(&[&server.url], &folder.path().join("a.zip"), &variables);
    assert!(told.contains("http_proxy names a `socks5` proxy") && !told.contains("secret"), "{told}");
    assert!(server.asked().is_empty(), "not fetched in another way than was asked for");
    assert_holds(folder.path(), None);
}
