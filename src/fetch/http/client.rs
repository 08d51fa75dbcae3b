//! One request with its redirects, over reqwest.

use std::error::Error;
use std::io;

use reqwest::blocking::{Client, ClientBuilder, Response};
use reqwest::header::{ACCEPT_ENCODING, IF_RANGE, LOCATION, RANGE};
use reqwest::{Url, redirect};

use super::answer::{self, Answer, Part};
use super::error::DownloadError;
use super::failure::Failure;
use super::options::Options;
use super::redirect::next;
use super::status::{Class, class};
use crate::fetch::Expected;

/// The client, and what it lacks on this machine.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    /// Why no certificate authorities could be loaded, on machines that have none: https does not work there, the rest does.
    no_authorities: Option<String>,
}

impl Http {
    pub(super) fn new(options: &Options) -> Result<Self, DownloadError> {
        // An error only says that another provider is there already, which is just as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |error: reqwest::Error| DownloadError::Client { reason: root_cause(&error) };
        match builder(options).build() {
            Ok(client) => Ok(Self { client, no_authorities: None }),
            Err(first) => {
                let client = builder(options).tls_certs_only([]).build().map_err(failed)?;
                Ok(Self { client, no_authorities: Some(root_cause(&first)) })
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
                return Err(Failure::Fatal(DownloadError::Tls {
                    url: url.to_owned(),
                    reason: reason.clone(),
                }));
            }
            let mut request = self.client.get(at).header(ACCEPT_ENCODING, "identity");
            if let Some(part) = part {
                request = request.header(RANGE, part.header());
                if let Some(validator) = &part.validator {
                    request = request.header(IF_RANGE, validator.value());
                }
            }
            let response = request.send().map_err(|error| classify(url, &error))?;
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

fn builder(options: &Options) -> ClientBuilder {
    // The timeout of the blocking client is that of each single wait (for the head, for the next piece), not of the whole. Proxies
    // are taken from the environment by default. Retries are ours alone.
    Client::builder()
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

/// What a request that got no answer means.
fn classify(url: &str, error: &reqwest::Error) -> Failure {
    if causes(error).any(|cause| cause.is::<rustls::Error>()) {
        return Failure::Fatal(DownloadError::Tls { url: url.to_owned(), reason: root_cause(error) });
    }
    if error.is_builder() {
        let reason = root_cause(error);
        return Failure::NextUrl(DownloadError::BadUrl { url: url.to_owned(), reason });
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
