//! Where a redirect leads, and which ones are not followed.

use reqwest::Url;

/// The next URL of a chain, or why it ends here. `chain` has every URL so far, the last one being the one that redirected.
pub(super) fn next(chain: &[Url], location: Option<&str>, limit: usize) -> Result<Url, String> {
    let at = chain.last().ok_or("nowhere to be redirected from")?;
    let location = location.ok_or_else(|| format!("redirect from {at} without a Location"))?;
    let to =
        at.join(location).map_err(|error| format!("redirect to `{location}`, which is no URL ({error})"))?;
    if !matches!(to.scheme(), "http" | "https") {
        return Err(format!("redirect to {to} is not followed: only http and https are"));
    }
    if at.scheme() == "https" && to.scheme() == "http" {
        return Err(format!("redirect from https to {to} is not followed: it would not be secure any more"));
    }
    // A fragment is never sent, so it makes no difference to the server.
    let same = |url: &&Url| without_fragment(url) == without_fragment(&to);
    if chain.iter().find(same).is_some() {
        return Err(format!("redirects in a circle, back to {to}"));
    }
    if chain.len() > limit {
        return Err(format!("more than {limit} redirects, the last to {to}"));
    }
    Ok(to)
}

fn without_fragment(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(urls: &[&str]) -> Vec<Url> {
        urls.iter().map(|url| url.parse().unwrap()).collect()
    }

    #[test]
    fn redirects_are_followed_where_that_is_safe() {
        let from = |at: &str, location: &str| next(&chain(&[at]), Some(location), 10).map(String::from);
        assert_eq!(from("http://a/x/y", "../z?q").as_deref(), Ok("http://a/z?q"));
        assert_eq!(from("http://a/x", "https://b/").as_deref(), Ok("https://b/"));
        assert_eq!(from("https://a/x", "//b/c").as_deref(), Ok("https://b/c"));
        let refused = |at, location| from(at, location).unwrap_err();
        assert!(refused("https://a/x", "http://a/x").contains("not be secure any more"));
        assert!(refused("http://a/x", "file:///etc/passwd").contains("only http and https"));
        assert!(refused("http://a/x", "ftp://b/").contains("only http and https"));
        assert!(refused("http://a/x", "#same").contains("in a circle"));
        assert!(refused("http://a/x", "http://[").contains("no URL"));
        assert!(next(&chain(&["http://a/"]), None, 10).unwrap_err().contains("without a Location"));
    }

    #[test]
    fn chains_end() {
        let urls = chain(&["http://a/1", "http://a/2", "http://a/3"]);
        assert!(next(&urls, Some("/4"), 3).is_ok());
        assert!(next(&urls, Some("/4"), 2).unwrap_err().starts_with("more than 2 redirects"));
        assert!(next(&urls, Some("/1"), 9).unwrap_err().contains("in a circle"));
    }
}
