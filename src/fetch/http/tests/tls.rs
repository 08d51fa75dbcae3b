//! Servers that cannot prove who they are. The certificates are made here; the other process trusts our authority alone.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::process::{SIZE, assert_holds, fetch};
use super::server::{Server, good};
use super::*;

/// An authority, and a file with its certificate.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server whose certificate is for `name`, changed at will.
    fn server(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> TlsServer {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        TlsServer::start(certificate.der().clone(), &key)
    }
}

/// An https server as it should be, but for its certificate.
struct TlsServer {
    url: String,
    connections: Arc<AtomicUsize>,
}

impl TlsServer {
    fn start(certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let config = Arc::new(config);
        Self::with(move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            answer(StreamOwned::new(connection, stream));
        })
    }

    /// Whatever is connected is answered by `serve`, and counted.
    fn with(serve: impl Fn(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/a.zip", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        // Ends with the process of the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                serve(stream);
            }
        });
        Self { url, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Sends the file to whoever gets as far as asking. Who leaves early is none of our business.
fn answer(mut stream: impl Read + Write) {
    let mut asked: Vec<u8> = Vec::new();
    let mut piece = [0; 1024];
    while !asked.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(count @ 1..) => asked.extend(&piece[..count]),
            _ => return,
        }
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(&[head.as_bytes(), &body(SIZE)].concat()).and_then(|()| stream.flush());
}

#[test]
fn who_cannot_prove_its_name_is_asked_once_and_nobody_else_is() {
    let ours = Authority::new("ours");
    let trust = tempfile::NamedTempFile::new().unwrap();
    fs::write(trust.path(), &ours.pem).unwrap();
    let variables = [("SSL_CERT_FILE", trust.path().to_str().unwrap()), ("SSL_CERT_DIR", "/nonexistent")];
    let self_signed = || {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        TlsServer::start(params.self_signed(&key).unwrap().der().clone(), &key)
    };
    let plain = TlsServer::with(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        // Leaving at once would be a broken connection, which is something else.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let cases = [
        (self_signed(), "UnknownIssuer"),
        (Authority::new("stranger").server("127.0.0.1", |_| ()), "UnknownIssuer"),
        (ours.server("127.0.0.1", |params| params.not_after = date_time_ymd(2001, 1, 1)), "expired"),
        (ours.server("127.0.0.1", |params| params.not_before = date_time_ymd(4000, 1, 1)), "not valid yet"),
        (ours.server("data.example.org", |_| ()), "not valid for name"),
        (plain, "does not speak TLS"),
    ];
    std::thread::scope(|scope| {
        for (server, reason) in cases {
            scope.spawn(move || {
                let folder = tempfile::tempdir().unwrap();
                let target = folder.path().join("a.zip");
                let told = fetch(&[&server.url], &target, &variables);
                let begins = format!("{}: no secure connection: ", server.url);
                assert!(told.starts_with(&begins) && told.contains(reason), "{reason}: {told}");
                assert!(told.contains("check this machine's clock, certificates and proxy"), "{told}");
                assert_eq!(server.connections(), 1, "{reason}: it is not tried again");
                assert_holds(folder.path(), None);
                let next = Server::start(vec![good(&body(SIZE), "\"v1\"")]);
                let told = fetch(&[&server.url, &next.url], &target, &variables);
                assert!(told.starts_with(&begins) && told.contains("Nothing else is tried"), "{told}");
                assert!(next.asked().is_empty(), "{reason}");
                assert_holds(folder.path(), None);
            });
        }
    });
}

#[test]
fn who_proves_its_name_is_believed() {
    let ours = Authority::new("ours");
    let trust = tempfile::NamedTempFile::new().unwrap();
    fs::write(trust.path(), &ours.pem).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let server = ours.server("127.0.0.1", |_| ());
    let variables = [("SSL_CERT_FILE", trust.path().to_str().unwrap()), ("FETCH_TEST_NO_HASH", "1")];
    let told = fetch(&[&server.url], &folder.path().join("a.zip"), &variables);
    assert_eq!(told, format!("from {}", server.url));
    assert_holds(folder.path(), Some("a.zip"));
}

#[test]
fn a_machine_without_authorities_still_has_plain_mirrors() {
    let server = Authority::new("stranger").server("127.0.0.1", |_| ());
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.zip");
    let variables = [("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")];
    let told = fetch(&[&server.url], &target, &variables);
    assert!(told.contains("no secure connection: "), "{told}");
    let next = Server::start(vec![good(&body(SIZE), "\"v1\"")]);
    assert_eq!(fetch(&[&next.url], &target, &variables), format!("from {}", next.url));
    assert_holds(folder.path(), Some("a.zip"));
}
