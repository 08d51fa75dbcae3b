//! One request with its redirects, over reqwest.

use std::error::Error;
use std::io;

use reqwest::blocking::{Client, ClientBuilder, Response};
use reqwest::header::{ACCEPT_ENCODING, IF_RANGE, LOCATION, RANGE};
use reqwest::{Proxy, StatusCode, Url, redirect};

use super::answer::{self, Answer, Part};
use super::error::DownloadError;
use super::failure::Failure;
use super::options::Options;
use super::proxy::Proxies;
use super::redirect::next;
use super::status::{Class, class};
use crate::fetch::Expected;

/// The client, and what it lacks on this machine.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    proxies: Proxies,
    /// Why no certificate authorities could be loaded, on machines that have none: https does not work there, the rest does.
    no_authorities: Option<String>,
}

impl Http {
    pub(super) fn new(options: &Options) -> Result<Self, DownloadError> {
        // An error only says that another provider is there already, which is just as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |error: reqwest::Error| DownloadError::Client { reason: root_cause(&error) };
        let proxies = Proxies::of(|name| std::env::var(name).ok())?;
        match builder(options, &proxies).build() {
            Ok(client) => Ok(Self { client, proxies, no_authorities: None }),
            Err(first) => {
                let client = builder(options, &proxies).tls_certs_only([]).build().map_err(failed)?;
                Ok(Self { client, proxies, no_authorities: Some(root_cause(&first)) })
            }
        }
    }

    /// Asks for a part, or for the whole, and judges the answer.
    pub(super) fn ask(
        &self,
        url: &str,
        part: Option<&Part>,
        expected: &Expected,
        options: &Options,
    ) -> Result<(Response, Answer), Failure> {
        let response = self.get(url, part, options)?;
        let answer =
            answer::judge(url, response.status().as_u16(), response.headers(), part, expected, options)?;
        Ok((response, answer))
    }

    /// Redirects are followed here rather than by reqwest, so that every hop is judged and named.
    fn get(&self, url: &str, part: Option<&Part>, options: &Options) -> Result<Response, Failure> {
        let invalid = |error: url_error::ParseError| {
            Failure::NextUrl(DownloadError::BadUrl { url: url.to_owned(), reason: error.to_string() })
        };
        let mut chain = vec![Url::parse(url).map_err(invalid)?];
        loop {
            let at =
                chain.last().cloned().ok_or_else(|| Failure::NextUrl(no_answer(url, "no URL".to_owned())))?;
            if let (Some(reason), "https") = (&self.no_authorities, at.scheme()) {
                let (url, reason) = (url.to_owned(), reason.clone());
                return Err(Failure::Fatal(DownloadError::Tls { url, reason }));
            }
            let proxy = self.proxies.shown(&at);
            let mut request = self.client.get(at).header(ACCEPT_ENCODING, "identity");
            if let Some(part) = part {
                request = request.header(RANGE, part.header());
                if let Some(validator) = &part.validator {
                    request = request.header(IF_RANGE, validator.value());
                }
            }
            let response = request.send().map_err(|error| classify(url, proxy.as_deref(), &error))?;
            if let (Some(proxy), StatusCode::PROXY_AUTHENTICATION_REQUIRED) = (&proxy, response.status()) {
                return Err(Failure::NextUrl(wants_a_login(url, proxy)));
            }
            if class(response.status().as_u16()) != Class::Redirect {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let hop = next(&chain, location, options.redirects).map_err(|reason| {
                Failure::NextUrl(DownloadError::Redirect { url: url.to_owned(), reason })
            })?;
            chain.push(hop);
        }
    }
}

/// reqwest names the type of its URL errors only through its URLs.
mod url_error {
    pub(super) type ParseError = <reqwest::Url as std::str::FromStr>::Err;
}

fn builder(options: &Options, proxies: &Proxies) -> ClientBuilder {
    let proxies = proxies.clone();
    // The timeout of the blocking client is that of each single wait (for the head, for the next piece), not of the whole. Retries
    // are ours alone, and so is the choice of a proxy: a custom one switches the client's own off.
    Client::builder()
        .proxy(Proxy::custom(move |url| proxies.for_url(url).cloned()))
        .user_agent(options.user_agent.as_str())
        .connect_timeout(options.connect_timeout)
        .timeout(options.read_timeout)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
}

fn no_answer(url: &str, reason: String) -> DownloadError {
    DownloadError::Transport { url: url.to_owned(), what: "no answer".to_owned(), reason }
}

/// RFC 9110 section 15.5.8. Asking again would be answered in the same way.
fn wants_a_login(url: &str, proxy: &str) -> DownloadError {
    let reason = "asks for a name and a password, or refuses those it was given (407)".to_owned();
    DownloadError::Proxy { url: url.to_owned(), proxy: proxy.to_owned(), reason }
}

/// What a request that got no answer means; `proxy` is the one it went through.
fn classify(url: &str, proxy: Option<&str>, error: &reqwest::Error) -> Failure {
    let tls = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
    if let Some(tls) = tls {
        let reason = match tls {
            rustls::Error::InvalidMessage(_) => format!("the server does not speak TLS at this port ({tls})"),
            _ => tls.to_string(),
        };
        return Failure::Fatal(DownloadError::Tls { url: url.to_owned(), reason });
    }
    if error.is_builder() {
        let reason = root_cause(error);
        return Failure::NextUrl(DownloadError::BadUrl { url: url.to_owned(), reason });
    }
    if let (Some(proxy), true) = (proxy, error.is_connect()) {
        // The client has no type for this; a test holds it to the words.
        if causes(error).any(|cause| cause.to_string().contains("proxy authorization required")) {
            return Failure::NextUrl(wants_a_login(url, proxy));
        }
        let reason = format!("gives no connection ({})", root_cause(error));
        return Failure::transient(DownloadError::Proxy {
            url: url.to_owned(),
            proxy: proxy.to_owned(),
            reason,
        });
    }
    let what = if error.is_connect() { "cannot connect" } else { "no answer" };
    Failure::transient(DownloadError::Transport {
        url: url.to_owned(),
        what: what.to_owned(),
        reason: root_cause(error),
    })
}

/// The innermost cause in words: the layers around it only repeat that something failed, and the URL.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// An error and its causes. What an I/O error wraps is not among its sources, so it is looked for by itself.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}
