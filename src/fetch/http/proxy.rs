//! Which proxy a request goes through, by the environment. One decision for the client and for what is said when it fails.
//!
//! `http_proxy` and `https_proxy` are for URLs of their scheme, `all_proxy` for both, `no_proxy` for exceptions; each also in capitals, as curl has
//! it. What cannot be understood is an error: to go on without a proxy where one is demanded could be what nobody wants.

use std::net::IpAddr;

use reqwest::Url;

use super::error::DownloadError;

/// The proxies of this environment.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    exceptions: Vec<Exception>,
}

/// Where no proxy is used.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    /// An address, and how many of its first bits count.
    Network(IpAddr, u32),
    /// A domain and all below it.
    Domain(String),
}

impl Proxies {
    /// Reads the variables by `get`, which is [`std::env::var`] outside tests.
    ///
    /// # Errors
    /// [`DownloadError::Client`] with the variable's name, but never its value: that may hold a password.
    pub(super) fn of(get: impl Fn(&str) -> Option<String>) -> Result<Self, DownloadError> {
        let first = |names: &[&'static str]| {
            let mut found = names.iter().filter_map(|name| Some((*name, get(name)?)));
            found.find(|(_, value)| !value.trim().is_empty())
        };
        let all = first(&["all_proxy", "ALL_PROXY"]);
        // A web server hands the header `Proxy` of its clients to scripts as HTTP_PROXY.
        let plain: &[_] =
            if get("REQUEST_METHOD").is_some() { &["http_proxy"] } else { &["http_proxy", "HTTP_PROXY"] };
        let parsed = |found: Option<(&'static str, String)>| match found {
            Some((name, value)) => parse(name, value.trim()).map(Some),
            None => Ok(None),
        };
        let exceptions = first(&["no_proxy", "NO_PROXY"]).map(|(_, value)| value).unwrap_or_default();
        Ok(Self {
            http: parsed(first(plain).or_else(|| all.clone()))?,
            https: parsed(first(&["https_proxy", "HTTPS_PROXY"]).or(all))?,
            exceptions: exceptions.split([',', ' ']).filter_map(Exception::parse).collect(),
        })
    }

    /// The proxy for a URL, if it goes through one.
    pub(super) fn for_url(&self, url: &Url) -> Option<&Url> {
        let proxy = match url.scheme() {
            "http" => self.http.as_ref(),
            "https" => self.https.as_ref(),
            _ => None,
        }?;
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
        (!self.exceptions.iter().any(|exception| exception.covers(host))).then_some(proxy)
    }

    /// How people call the proxy for a URL: without name and password.
    pub(super) fn shown(&self, url: &Url) -> Option<String> {
        let proxy = self.for_url(url)?;
        let port = proxy.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}://{}{port}", proxy.scheme(), proxy.host_str().unwrap_or_default()))
    }
}

fn parse(name: &str, value: &str) -> Result<Url, DownloadError> {
    let wrong = |what: &str| DownloadError::Client {
        reason: format!("the variable {name} {what}; it should be like http://proxy.example.org:3128"),
    };
    // Many write only host and port.
    let full = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = Url::parse(&full).map_err(|error| wrong(&format!("holds no URL ({error})")))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(wrong(&format!("names a `{other}` proxy, which is not supported"))),
    }
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('.').trim_end_matches('.');
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Self::Everything);
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, bits.parse().ok()),
            None => (text, Some(u32::MAX)),
        };
        match (address.parse(), bits) {
            (Ok(address), Some(bits)) => Some(Self::Network(address, bits)),
            // A network of nonsense covers nothing.
            (Ok(_), None) => None,
            (Err(_), _) => Some(Self::Domain(text.to_ascii_lowercase())),
        }
    }

    /// Whether it covers a host as URLs have it: in lower case, an IPv6 address without brackets.
    fn covers(&self, host: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Domain(domain) => {
                host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Self::Network(network, bits) => match (network, host.parse()) {
                (IpAddr::V4(network), Ok(IpAddr::V4(host))) => {
                    same(network.to_bits().into(), host.to_bits().into(), 32, *bits)
                }
                (IpAddr::V6(network), Ok(IpAddr::V6(host))) => {
                    same(network.to_bits(), host.to_bits(), 128, *bits)
                }
                _ => false,
            },
        }
    }
}

/// Whether the first `bits` of two addresses of `length` bits are the same.
fn same(a: u128, b: u128, length: u32, bits: u32) -> bool {
    let ignored = length.saturating_sub(bits);
    (a ^ b).checked_shr(ignored).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, DownloadError> {
        Proxies::of(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[track_caller]
    fn proxy(variables: &[(&str, &str)], url: &str) -> Option<String> {
        proxies(variables).unwrap().shown(&url.parse().unwrap())
    }

    #[test]
    fn variables_are_for_their_schemes() {
        let both =
            [("http_proxy", "http://a:1"), ("HTTPS_PROXY", "https://b:2"), ("all_proxy", "http://c:3")];
        assert_eq!(proxy(&both, "http://x/").as_deref(), Some("http://a:1"));
        assert_eq!(proxy(&both, "https://x/").as_deref(), Some("https://b:2"));
        assert_eq!(proxy(&both[2..], "http://x/").as_deref(), Some("http://c:3"));
        assert_eq!(proxy(&both[2..], "https://x/").as_deref(), Some("http://c:3"));
        assert_eq!(proxy(&both[..1], "https://x/"), None);
        assert_eq!(
            proxy(&[("http_proxy", ""), ("HTTP_PROXY", "d:4")], "http://x/").as_deref(),
            Some("http://d:4")
        );
        assert_eq!(proxy(&[], "http://x/"), None);
        let script = [("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "http://attacker")];
        assert_eq!(proxy(&script, "http://x/"), None);
    }

    #[test]
    fn exceptions_are_domains_addresses_and_networks() {
        let reached = |exceptions: &str, url: &str| {
            proxy(&[("all_proxy", "http://p:1"), ("no_proxy", exceptions)], url).is_none()
        };
        for (exceptions, url) in [
            ("*", "http://anything/"),
            ("example.org", "https://EXAMPLE.org/"),
            (".example.org", "https://a.b.example.org:8443/"),
            ("a, example.org ,b", "http://example.org/"),
            ("127.0.0.1", "http://127.0.0.1:99/"),
            ("10.1.0.0/16", "http://10.1.255.9/"),
            ("0.0.0.0/0", "http://1.2.3.4/"),
            ("::1", "http://[::1]:8/"),
            ("fd00::/8", "http://[fd12::1]/"),
        ] {
            assert!(reached(exceptions, url), "{exceptions}: {url}");
        }
        for (exceptions, url) in [
            ("", "http://a/"),
            ("example.org", "http://notexample.org/"),
            ("example.org", "http://example.org.evil.net/"),
            ("10.1.0.0/16", "http://10.2.0.0/"),
            ("10.1.0.0/x", "http://10.1.0.0/"),
            ("127.0.0.1", "http://127.0.0.2/"),
            ("::1", "http://127.0.0.1/"),
        ] {
            assert!(!reached(exceptions, url), "{exceptions}: {url}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_that_keeps_the_secret() {
        for (value, told) in
            [("http://user:secret@:x", "holds no URL"), ("socks5://user:secret@h", "`socks5` proxy")]
        {
            let message = proxies(&[("https_proxy", value)]).unwrap_err().to_string();
            assert!(message.contains("https_proxy") && message.contains(told), "{message}");
            assert!(!message.contains("secret") && !message.contains("user"), "{message}");
        }
        let shown = proxy(&[("http_proxy", "http://user:secret@h:1/x")], "http://a/");
        assert_eq!(shown.as_deref(), Some("http://h:1"));
    }
}
